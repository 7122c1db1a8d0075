"""Agent cards in every shape: written for servers, read for clients.

Shapes: ``"1.0"`` (and ``"1.1"``, the same) pure; ``"0.3"`` and ``"0.2"`` pure; ``"both"``, the
members of 1.0 and of 0.3 in one object, for clients that fetch the card without saying a version;
``"0.3+proto"``, the card at ``/v1/card``, whose readers expect either form of security schemes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import protojson
from ..errors import (
    InvalidAgentResponseError,
    InvalidParamsError,
    ParseError,
    VersionNotSupportedError,
)
from ..types import AgentCard, AgentInterface, SecurityScheme
from .legacy import from_legacy, schemes, to_legacy

SHAPES = ("1.0", "1.1", "0.3", "0.3+proto", "0.2", "both")

_OPTIONAL_TEXTS = (("documentationUrl", "documentation_url"), ("iconUrl", "icon_url"))
_NO_SCHEME = SecurityScheme()
_FLOWS = ("authorizationCode", "clientCredentials", "deviceCode", "implicit", "password")


def card_json(card: AgentCard, shape: str) -> bytes:
    """Return the card's JSON in ``shape``.

    Raises VersionNotSupportedError when a pure 0.3 or 0.2 card is asked of a card without an
    interface of that version; ``"both"`` is then the pure 1.0 card.
    """
    if shape in ("1.0", "1.1"):
        return protojson.encode(_current(card))
    if shape not in SHAPES:
        raise ValueError(f"No shape of agent cards is called {shape!r}; choose from {SHAPES}")
    legacy = [one for one in card.supported_interfaces if is_legacy(one)]
    if shape == "both":
        if not legacy:
            return protojson.encode(_current(card))
        return protojson.encode(_merge(_current(card), to_legacy(card, legacy, "0.3")))
    if not legacy:
        raise VersionNotSupportedError(f"{card.name} has no interface of A2A {shape[:3]}")
    if shape == "0.2":
        return protojson.encode(to_legacy(card, legacy, "0.2"))
    written = to_legacy(card, legacy, "0.3")
    if shape == "0.3+proto" and "securitySchemes" in written:
        # Python reads the schema's form here, JavaScript the proto's: each ignores the other.
        written["securitySchemes"] = _merge(
            written["securitySchemes"], _current(card)["securitySchemes"]
        )
    return protojson.encode(written)


def parse_card(body: protojson.Body, *, strict: bool = False) -> AgentCard:
    """Return the card that ``body`` holds, of whatever version and shape, member by member.

    What is not understood is left out, and ``null`` is absent. Interfaces of 0.3 cards say so in
    ``protocol_version``. Raises InvalidAgentResponseError where ``body`` is no JSON object, has no
    name, or has neither ``supportedInterfaces`` nor ``url``. ``strict`` is for a card's author:
    the first member of 1.0 that is not understood raises InvalidAgentResponseError, too.
    """
    try:
        plain = protojson.plain(protojson.tolerated(bytes(body)))
    except (InvalidParamsError, ParseError) as error:
        raise InvalidAgentResponseError(f"Not an agent card: {error.message}") from error
    if not isinstance(plain, dict):
        raise InvalidAgentResponseError("Not an agent card: no JSON object")
    plain = {name: value for name, value in plain.items() if value is not None}
    current = _in_current_form(plain)
    if strict:
        try:
            protojson.read({"capabilities": {}, **current}, AgentCard)
        except InvalidParamsError as error:
            raise InvalidAgentResponseError(f"Not an agent card: {error.message}") from error
    card = protojson.read_forgiving(current, AgentCard)
    if not card.name:
        raise InvalidAgentResponseError("Not an agent card: name is required")
    # ``optional`` in the proto, so "" is a value, and one that signatures cover (8.4.1).
    said: dict[str, Any] = {field: "" for name, field in _OPTIONAL_TEXTS if plain.get(name) == ""}
    if card.security_schemes is not None and any(map(_unknown, card.security_schemes.values())):
        said["security_schemes"] = {
            name: one for name, one in card.security_schemes.items() if not _unknown(one)
        }
    return msgspec.structs.replace(card, **said) if said else card


def _in_current_form(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a card of any version as one of 1.0; raises InvalidAgentResponseError."""
    interfaces = plain.get("supportedInterfaces", plain.get("supported_interfaces"))
    usable = isinstance(interfaces, list) and any(isinstance(one, dict) for one in interfaces)
    if not usable and isinstance(plain.get("url"), str):
        return from_legacy(plain)
    if interfaces is None:
        raise InvalidAgentResponseError(
            "Not an agent card: it has neither supportedInterfaces (1.0) nor url (0.3)"
        )
    if "securitySchemes" in plain:  # some 1.0 cards keep the form of 0.3 here
        return {**plain, "securitySchemes": schemes(plain)}
    return plain


def _unknown(scheme: SecurityScheme) -> bool:
    """Whether a scheme is of a kind that this version does not know."""
    return scheme == _NO_SCHEME


def is_legacy(interface: AgentInterface) -> bool:
    """Whether an interface speaks 0.3 or older."""
    return interface.protocol_version.startswith("0.")


def _current(card: AgentCard) -> dict[str, Any]:
    """Return the pure 1.0 card: bare gRPC addresses, one flow in each OAuth 2 scheme."""
    plain: dict[str, Any] = msgspec.to_builtins(card)
    for interface in plain["supportedInterfaces"]:
        legacy = interface["protocolVersion"].startswith("0.")
        if interface["protocolBinding"] == "GRPC" and not legacy:
            # 1.0 clients hand it to gRPC as it is, which wants host:port
            interface["url"] = interface["url"].partition("://")[2].rstrip("/") or interface["url"]
    for scheme in plain.get("securitySchemes", {}).values():
        flows = scheme.get("oauth2SecurityScheme", {}).get("flows", {})
        for extra in [name for name in _FLOWS if name in flows][1:]:
            del flows[extra]
    return plain


def _merge(one: Any, other: Any) -> Any:
    """Return ``one`` with the members of ``other`` added at every level; ``one`` wins."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = {**other, **one}
        return {
            name: _merge(one[name], other[name]) if name in one and name in other else value
            for name, value in both.items()
        }
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [_merge(left, right) for left, right in zip(one, other, strict=True)]
    return one
