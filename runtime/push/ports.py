"""What push notifications need from outside: somebody who delivers, and somebody who encrypts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from ...protocol.webhooks import PrivateKey, Secret
from ..settings.push import PushSettings


class WebhookRefusedError(ValueError):
    """The server does not deliver to this address. The text tells nothing of what is there."""


class Answer(Struct, frozen=True):
    """What became of one attempt."""

    status: int = 0
    """Of HTTP; 0: no answer came."""
    retry_after: float | None = None
    """Seconds that the receiver asks for."""
    error: str = ""
    """Why no answer came, or the answer is no good, for operators."""


class Deliverer(Protocol):
    """Delivers over HTTP. It keeps to the policy of addresses at each attempt."""

    async def check(self, url: str) -> None:
        """Raise WebhookRefusedError if ``url`` may not be delivered to."""
        ...

    async def deliver(
        self, url: str, headers: Mapping[str, str], body: bytes, *, now: float
    ) -> Answer:
        """Make one attempt; raises nothing but what cancels it. ``now``: seconds since the epoch,
        for a ``Retry-After`` that is a date."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class SealError(ValueError):
    """What was encrypted cannot be decrypted: its key is not in the key ring, or it is damaged."""


class Vault(Protocol):
    """Encrypts what is kept in the store. ``bound`` says what it belongs to: moved elsewhere it
    cannot be decrypted."""

    def seal(self, plain: bytes, bound: bytes) -> bytes: ...

    def unseal(self, sealed: bytes, bound: bytes) -> bytes:
        """Raises SealError."""
        ...


_PLAIN = b"\0"


class NoVault:
    """Keeps configurations as they are: there is no key ring."""

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        return _PLAIN + plain

    def unseal(self, sealed: bytes, bound: bytes) -> bytes:
        if not sealed.startswith(_PLAIN):
            raise SealError("the configuration is encrypted, and push.keys names no key")
        return sealed[1:]


class Webhooks(Struct, frozen=True, kw_only=True):
    """All that a runtime needs to deliver push notifications: hand it to ``Runtime(push=…)``."""

    deliverer: Deliverer
    settings: PushSettings = PushSettings()
    vault: Vault = NoVault()
    secrets: Mapping[str, Sequence[Secret]] = {}
    """By slug of the agent; ``*`` stands for all others."""
    keys: Sequence[PrivateKey] = ()
    """ed25519."""
    public_keys: Sequence[Mapping[str, Any]] = ()
    """Their public halves, as the key set of the server shows them (JWK)."""
