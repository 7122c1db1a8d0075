"""Signed webhooks: the headers of a delivery, and what a receiver makes of them.

Two schemes stand side by side. *Standard Webhooks* (specification 1.0.0) signs
``{id}.{timestamp}.{body}``: ``v1`` is HMAC-SHA256, ``v1a`` ed25519. *AMP* is the scheme of CrewAI's
platform: ``X-A2A-Signature: sha256=<hex>`` is the HMAC-SHA256 of ``{timestamp}.{body}``.

The signature of Standard Webhooks covers the id of the delivery, which is the same in every
attempt: a receiver that remembers ids takes a delivery once. The signature of AMP covers no id.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from msgspec import Struct

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"
AMP_SIGNATURE = "X-A2A-Signature"
AMP_TIMESTAMP = "X-A2A-Signature-Timestamp"
TOKEN = "X-A2A-Notification-Token"
DELIVERY = "greenroom-delivery"
"""For people: the attempt, and the generation of the task."""

CONTENT_TYPE = "application/a2a+json"
"""Of a ``StreamResponse`` (1.0); a ``Task`` of 0.3 is ``application/json``."""
TOLERANCE = 300.0
"""Seconds that a timestamp may be away from the receiver's clock, in both directions."""

_PREFIX = "whsec_"
_PUBLIC_PREFIX = "whpk_"
_MOST_SIGNATURES = 16


class WebhookError(ValueError):
    """A delivery is not what it says it is; the text names no secret."""


class Secret(Struct, frozen=True, repr_omit_defaults=True):
    """A shared secret: ``whsec_`` and base64, or any other text, whose UTF-8 is the key."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise WebhookError("a webhook secret may not be empty")
        if self.text.startswith(_PREFIX):
            _decoded(self.text.removeprefix(_PREFIX), "a webhook secret (whsec_...)")

    @property
    def standard(self) -> bytes:
        """The key of ``v1``."""
        if self.text.startswith(_PREFIX):
            return _decoded(self.text.removeprefix(_PREFIX), "a webhook secret (whsec_...)")
        return self.text.encode()

    @property
    def amp(self) -> bytes:
        """The key of AMP's signature: the text as it is written."""
        return self.text.encode()

    def __repr__(self) -> str:
        return "Secret(...)"


class PrivateKey(Protocol):
    """An ed25519 private key, as ``cryptography`` has it."""

    def sign(self, data: bytes, /) -> bytes: ...


class PublicKey(Protocol):
    """An ed25519 public key, as ``cryptography`` has it: ``verify`` raises for a bad signature."""

    def verify(self, signature: bytes, data: bytes, /) -> Any: ...


class Verified(Struct, frozen=True):
    """What is known of a delivery whose signature holds."""

    id: str
    """The delivery, the same in every attempt; of AMP alone, the attempt."""
    timestamp: float
    scheme: str
    """``v1``, ``v1a`` or ``amp``."""


def standard_headers(
    delivery_id: str,
    timestamp: int,
    body: bytes,
    secrets: Sequence[Secret] = (),
    keys: Sequence[PrivateKey] = (),
) -> dict[str, str]:
    """Return the three headers of Standard Webhooks; two secrets sign during a rotation.

    Without a secret and a key there are only the id and the timestamp.
    """
    headers = {ID: delivery_id, TIMESTAMP: str(timestamp)}
    signed = _standard_content(delivery_id, str(timestamp), body)
    signatures = [f"v1,{_b64(_mac(secret.standard, signed))}" for secret in secrets]
    signatures += [f"v1a,{_b64(key.sign(signed))}" for key in keys]
    if signatures:
        headers[SIGNATURE] = " ".join(signatures)
    return headers


def amp_headers(timestamp: int, body: bytes, secret: Secret) -> dict[str, str]:
    """Return the two headers of AMP's signature."""
    digest = _mac(secret.amp, b"%d.%b" % (timestamp, body)).hex()
    return {AMP_TIMESTAMP: str(timestamp), AMP_SIGNATURE: f"sha256={digest}"}


def verify(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[Secret] = (),
    keys: Sequence[PublicKey] = (),
    now: float,
    tolerance: float = TOLERANCE,
) -> Verified:
    """Return what a delivery is, if a signature by one of ``secrets`` or ``keys`` holds.

    ``headers`` may be written in any case. ``now`` is seconds since the epoch. A signature of
    Standard Webhooks is looked at first. Raises WebhookError.
    """
    if not (secrets or keys):
        raise WebhookError("no secret and no key was given to verify with")
    fields = {name.lower(): value for name, value in headers.items()}
    if SIGNATURE in fields:
        return _verify_standard(fields, body, secrets, keys, now, tolerance)
    if AMP_SIGNATURE.lower() in fields and secrets:
        return _verify_amp(fields, body, secrets, now, tolerance)
    raise WebhookError("the delivery has no signature")


def _verify_standard(
    fields: Mapping[str, str],
    body: bytes,
    secrets: Sequence[Secret],
    keys: Sequence[PublicKey],
    now: float,
    tolerance: float,
) -> Verified:
    delivery_id, moment = fields.get(ID, ""), fields.get(TIMESTAMP, "")
    if not delivery_id:
        raise WebhookError(f"the delivery has no {ID}")
    timestamp = _fresh(moment, now, tolerance)
    signed = _standard_content(delivery_id, moment, body)
    expected = [_mac(secret.standard, signed) for secret in secrets]
    for entry in fields[SIGNATURE].split(" ")[:_MOST_SIGNATURES]:
        version, _, text = entry.partition(",")
        if version == "v1" and any(_same(text, mac) for mac in expected):
            return Verified(delivery_id, timestamp, "v1")
        if version == "v1a" and any(_signed_by(key, text, signed) for key in keys):
            return Verified(delivery_id, timestamp, "v1a")
    raise WebhookError("no signature of the delivery holds")


def _verify_amp(
    fields: Mapping[str, str],
    body: bytes,
    secrets: Sequence[Secret],
    now: float,
    tolerance: float,
) -> Verified:
    moment = fields.get(AMP_TIMESTAMP.lower(), "")
    timestamp = _fresh(moment, now, tolerance)
    given = fields[AMP_SIGNATURE.lower()]
    for secret in secrets:
        expected = "sha256=" + _mac(secret.amp, moment.encode() + b"." + body).hex()
        if hmac.compare_digest(given.encode(), expected.encode()):
            return Verified(f"amp_{expected.removeprefix('sha256=')}", timestamp, "amp")
    raise WebhookError("the signature of the delivery does not hold")


def public_key_bytes(text: str) -> bytes:
    """Return the 32 bytes of a public key as Standard Webhooks writes it (``whpk_...``)."""
    return _decoded(text.removeprefix(_PUBLIC_PREFIX), "a public key (whpk_...)")


def _fresh(moment: str, now: float, tolerance: float) -> float:
    if not (moment.isascii() and moment.isdecimal() and len(moment) <= 15):
        raise WebhookError("the delivery has no timestamp")
    if abs(now - int(moment)) > tolerance:
        raise WebhookError(
            f"the timestamp of the delivery is more than {tolerance:g} s away from this clock"
        )
    return float(moment)


def _standard_content(delivery_id: str, timestamp: str, body: bytes) -> bytes:
    return b"%b.%b.%b" % (delivery_id.encode(), timestamp.encode(), body)


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, sha256)


def _same(text: str, expected: bytes) -> bool:
    return hmac.compare_digest(text.encode(), _b64(expected).encode())


def _signed_by(key: PublicKey, text: str, signed: bytes) -> bool:
    try:
        key.verify(b64decode(text, validate=True), signed)
    except Exception:  # of the library that verifies; the text may be no base64 either
        return False
    return True


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


def _decoded(text: str, what: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise WebhookError(f"{what} is not base64") from None
