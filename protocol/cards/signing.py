"""Signed agent cards (section 8.4): a detached JWS over the canonical JSON of the 1.0 card.

What is signed is the card as published in its pure 1.0 form, so that a card which also carries
0.3 members verifies for whoever reads the 1.0 ones.

There are two canonical forms in the field. The specification's follows the presence rules of the
proto file (``""`` and ``[]`` in required fields stay). The official SDK drops every empty text,
list and object, however deep, so that its form does not protect them: the bytes of a card with the
security requirement ``{"schemes": {"token": {}}}`` are those of the same card without it, which in
the specification's form has exactly these bytes. So a card is signed in the specification's form
only, unless its key says otherwise; a signature of ours in the SDK's form says so in its protected
header, and is never taken for one in the specification's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct, structs

from .. import jose
from .. import types as t
from ..jose import ALGORITHMS, JoseError, Key, SigningKey
from .canonical import canonical
from .shapes import card_json, parse_card

OPTIONAL = frozenset(
    {
        (t.AgentCard, "documentation_url"),
        (t.AgentCard, "icon_url"),
        (t.AgentCapabilities, "streaming"),
        (t.AgentCapabilities, "push_notifications"),
        (t.AgentCapabilities, "extended_agent_card"),
        (t.AgentExtension, "params"),  # a message, so its presence counts
    }
)
"""``optional`` in the proto: kept when set, even to the default."""

FORM = "greenroom_form"
"""Private member of a protected header: ``sdk`` for a signature in the SDK's form."""
MAX_SIGNATURES = 32
"""Signatures on a card; one with more is not looked at, for each takes its time."""


class SignatureError(ValueError):
    """The card's signature cannot be believed; the message says why."""


class SdkFormError(SignatureError):
    """Only a signature over the official SDK's form holds: ``accept_sdk_form`` would take it."""


class Verified(Struct, frozen=True):
    """Which signature held: ``form`` is ``spec`` or ``sdk``."""

    kid: str
    algorithm: str
    form: str


def payload(card: t.AgentCard) -> bytes:
    """Return the bytes that a signature covers (section 8.4.1)."""
    return canonical(_plain(_published(card)))


def sign(card: t.AgentCard, keys: Sequence[SigningKey]) -> t.AgentCard:
    """Return the card as published in its pure 1.0 form, with the signatures of ``keys`` added to
    those it has: one of each over the specification's form, and of those with ``sdk_form`` one over
    the SDK's where that differs."""
    card = _published(card)
    forms = _payloads(card)
    made = list(card.signatures or ())
    for key in keys:
        texts = [key.sign(forms["spec"])]
        if key.sdk_form and forms["sdk"] != forms["spec"]:
            texts.append(key.sign(forms["sdk"], extra={FORM: "sdk"}))
        for text in texts:
            protected, _, signature = text.split(".")
            made.append(t.AgentCardSignature(protected=protected, signature=signature))
    return structs.replace(card, signatures=made)


def verify(
    card: t.AgentCard,
    keys: Iterable[Key],
    *,
    algorithms: Collection[str] = ALGORITHMS,
    accept_sdk_form: bool = False,
) -> Verified:
    """Return the first signature that one of ``keys`` made over the specification's form.

    What is verified is the card as it was read (``parse_card``), not as it should have been
    published: a second flow, or another way to write an address, was signed or is a forgery.
    ``keys`` are the verifier's own trust: nothing on the card adds to them. ``accept_sdk_form``
    also believes signatures over the official SDK's form, where no better one holds: whoever
    carries such a card may remove or add empty members, of which a security requirement without
    scopes is one. Raises SignatureError, of which SdkFormError says that this would help.
    """
    if not card.signatures:
        raise SignatureError("The card is not signed")
    if len(card.signatures) > MAX_SIGNATURES:
        raise SignatureError(f"The card has more than {MAX_SIGNATURES} signatures")
    trusted = list(keys)
    forms = _payloads(card)
    why = "no key is trusted"
    lesser: Verified | None = None
    for one in card.signatures:
        try:
            header = jose.header_of(one.protected)
        except JoseError as error:
            why = str(error)
            continue
        kid = header.get("kid")
        named = [key for key in trusted if key.kid == kid]
        if not named:
            why = f"there is no trusted key {kid!r}"
            continue
        for form, signed in forms.items():
            if form == "spec" and FORM in header:
                continue
            text = f"{one.protected}.{jose.b64(signed)}.{one.signature}"
            try:
                key = jose.verify(jose.Token(text, header, signed), named, algorithms)
            except JoseError as error:
                why = f"key {kid!r}: {error}"
                continue
            verified = Verified(key.kid, str(header["alg"]), form)
            if form == "spec":
                return verified
            lesser = lesser or verified
    if lesser is None:
        raise SignatureError(f"No signature of the card can be believed: {why}")
    if accept_sdk_form:
        return lesser
    raise SdkFormError(
        f"Key {lesser.kid!r} signed the official SDK's canonical form only, which does not protect "
        "empty members of the card"
    )


def key_addresses(card: t.AgentCard) -> list[str]:
    """Return the ``jku`` addresses that the signatures name, not to be followed on their word."""
    addresses = []
    for one in card.signatures or ():
        try:
            address = jose.header_of(one.protected).get("jku")
        except JoseError:
            continue
        if isinstance(address, str):
            addresses.append(address)
    return list(dict.fromkeys(addresses))


def key_names(card: t.AgentCard) -> list[str]:
    """Return the ``kid`` of every signature that can be read."""
    names = []
    for one in card.signatures or ():
        with suppress(JoseError):
            names.append(str(jose.header_of(one.protected).get("kid") or ""))
    return list(dict.fromkeys(names))


def _published(card: t.AgentCard) -> t.AgentCard:
    return parse_card(card_json(card, "1.0"))


def _plain(card: t.AgentCard) -> Any:
    return _present(structs.replace(card, signatures=None))


def _payloads(card: t.AgentCard) -> dict[str, bytes]:
    try:
        plain = _plain(card)
        return {"spec": canonical(plain), "sdk": canonical(_without_empty(plain))}
    except ValueError as error:
        raise SignatureError(f"The card has no canonical form: {error}") from None


def _present(value: Any) -> Any:
    """Apply the presence rules of sections 5.7 and 8.4.1."""
    if isinstance(value, t.Wire):
        kind = type(value)
        members: dict[str, Any] = {}
        for field in structs.fields(kind):
            member = getattr(value, field.name)
            if member is None or member is msgspec.UNSET:
                continue
            if not field.required and (kind, field.name) not in OPTIONAL and _default(member):
                continue
            own = (kind, field.name) == (t.AgentExtension, "params")
            members[field.encode_name] = member if own else _present(member)
        return members
    if isinstance(value, dict):
        return {key: _present(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_present(member) for member in value]
    return value


def _default(value: Any) -> bool:
    return value is False or (isinstance(value, (str, list, dict)) and not value)


def _without_empty(value: Any) -> Any:
    """What the official SDK leaves of a card."""
    if isinstance(value, dict):
        kept = {key: _without_empty(member) for key, member in value.items()}
        return {key: member for key, member in kept.items() if not _empty(member)}
    if isinstance(value, list):
        return [one for member in value if not _empty(one := _without_empty(member))]
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, dict)) and not value)
