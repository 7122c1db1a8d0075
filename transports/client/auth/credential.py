"""The port of credentials, and who gets them.

A credential is what a user configured. Bound to a connection it becomes a ``Prover``, which puts
the proof into requests. Secrets are never part of a repr, an error or a log line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from ....protocol.types import SecurityScheme
from ..http import HttpClient
from ..requests import Outgoing


class Binding(Struct, frozen=True, kw_only=True):
    """To what a credential is bound."""

    origin: str
    """The agent's, as the user configured it: tokens are kept for it."""
    http: HttpClient
    """For requests to token endpoints."""
    trusted: Callable[[str], bool]
    """Whether a URL is of an origin that the user configured."""
    scheme: SecurityScheme | None = None
    """What the card says of the scheme; ``None`` where the card names none that fits."""
    scopes: tuple[str, ...] = ()
    """Scopes that the card requires."""


class Prover(Protocol):
    """A credential in use."""

    async def apply(self, request: Outgoing) -> None:
        """Put the proof into ``request``. Raises AuthError and HttpError."""
        ...

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        """Take note of a 401 or 403; return whether another proof is at hand."""
        ...


class Credential(Protocol):
    """What a user configured."""

    def fits(self, scheme: SecurityScheme) -> bool:
        """Whether this is a credential for ``scheme``."""
        ...

    def bind(self, binding: Binding) -> Prover:
        """Return what puts the proof into requests."""
        ...


class Hidden:
    """Base of what holds secrets: its repr shows none."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
