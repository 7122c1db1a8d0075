"""Bearer tokens (RFC 6750), whatever tells their claims."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ...protocol.types import HTTPAuthSecurityScheme, SecurityScheme
from ..call import Call, Principal
from .ports import Claims, Rejected, TokenVerifier, challenge
from .seen import Seen, digest

MAX_TOKEN = 16 * 1024
REALM = "greenroom"
FAILED_FOR = 10.0
"""Seconds for which a refused token is refused again without asking (``remember_failures``)."""


class Bearer:
    """``Authorization: Bearer …``, verified once and then known until it expires, or for ``keep``
    seconds if that is less. ``card`` is what the agent card says of the scheme.
    """

    def __init__(
        self,
        name: str,
        verifier: TokenVerifier,
        *,
        card: SecurityScheme | None = None,
        claims: Claims | None = None,
        issuer: str | None = None,
        authorization_server: str | None = None,
        keep: float | None = None,
        remember_failures: bool = False,
        cache: int = 10_000,
    ) -> None:
        """``issuer`` is the owner's issuer where tokens name none; ``iss`` of the claims else.
        ``authorization_server`` is the issuer whose metadata say how to get a token (RFC 8414)."""
        self.name = name
        self.card = card or SecurityScheme(
            http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer")
        )
        self.verifier = verifier
        self.authorization_server = authorization_server
        self._claims = claims or Claims()
        self._issuer = issuer
        self._keep = float("inf") if keep is None else keep
        self._seen: Seen[Principal] = Seen(cache)
        self._refused: Seen[str] | None = Seen(1000) if remember_failures else None
        self.background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
        """What is to run as long as the server does."""

    def known(self, call: Call, now: float) -> Principal | None:
        header = call.headers.get("authorization")
        return None if header is None else self._seen.get(digest(header), now)

    async def verify(self, call: Call, now: float) -> Principal | None:
        header = call.headers.get("authorization")
        if header is None:
            return None
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer":
            return None
        token = token.strip()
        if not token or len(token) > MAX_TOKEN or "," in token:
            raise Rejected("not one bearer token")
        key = digest(header)
        found = self._seen.get(key, now)
        if found is not None:
            return found
        if self._refused is not None and (why := self._refused.get(key, now)) is not None:
            raise Rejected(why)
        try:
            claims = await self.verifier.verify(token, now)
            issuer = self._issuer or claims.get("iss") or self.name
            found = self._claims.principal(claims, scheme=self.name, issuer=str(issuer))
        except Rejected as rejected:
            if self._refused is not None:
                self._refused.put(key, str(rejected), now + FAILED_FOR)
            raise
        until = min(now + self._keep, found.expires or float("inf"))
        if until > now:
            self._seen.put(key, found, until)
        return found

    def forget(self) -> None:
        """Verify every token anew: keys changed."""
        self._seen.clear()

    def challenge(self, error: str | None) -> str:
        return challenge("Bearer", REALM, error)
