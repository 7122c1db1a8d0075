"""Bearer tokens (RFC 6750). A ``TokenVerifier`` says what the claims of a token are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from ....protocol import jose
from ....protocol.types import HTTPAuthSecurityScheme, SecurityScheme
from ...call import Call, Principal
from .claims import Claims, same_issuer
from .credential_cache import CredentialCache, digest
from .jwt import JwtVerifier
from .ports import InvalidCredential, PeerVerifier, RenewableKeys, TokenVerifier, challenge

MAX_TOKEN = 16 * 1024
REALM = "greenroom"
FAILED_FOR = 10.0
"""Seconds for which a refused token is refused again without asking (``remember_failures``)."""


class Bearer:
    """``Authorization: Bearer …``. The scheme verifies a token once and then knows the token until
    it expires, or for ``keep`` seconds if that is less. ``card`` is what the agent card says.
    """

    def __init__(
        self,
        name: str,
        verifier: TokenVerifier,
        *,
        card: SecurityScheme | None = None,
        claims: Claims | None = None,
        issuer: str | None = None,
        platform: str | None = None,
        authorization_server: str | None = None,
        keep: float | None = None,
        remember_failures: bool = False,
        cache: int = 10_000,
    ) -> None:
        """``issuer`` is the owner's issuer whatever a token says; without it ``iss`` of the claims
        is, and ``platform`` (or ``name``) that of tokens that name none.
        ``authorization_server`` is the issuer whose metadata say how to get a token (RFC 8414).
        """
        self.name = name
        self.card = card or SecurityScheme(
            http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer")
        )
        self.verifier = verifier
        self.authorization_server = authorization_server
        self._claims = claims or Claims()
        self._issuer = issuer
        self._platform = platform or name
        self._issuers = {issuer, platform, authorization_server}
        # A verifier of signed tokens compares the issuer; any other may name whom it likes.
        self._claimed = issuer is None and not isinstance(verifier, JwtVerifier)
        self._keys: RenewableKeys | None = None
        if isinstance(verifier, JwtVerifier):
            self._issuers.add(verifier.issuer)
            self._keys = verifier.renewable
        self._keep = float("inf") if keep is None else keep
        self._cache: CredentialCache[Principal] = CredentialCache(cache)
        self._refused: CredentialCache[InvalidCredential] | None = (
            CredentialCache(1000) if remember_failures else None
        )
        self.background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
        """What is to run as long as the server does."""

    def known(self, call: Call, now: float) -> Principal | None:
        token = _token(call)
        if token is None:
            return None
        if self._keys is not None:
            self._keys.watch(now)  # or a key that is gone would never be missed
        principal = self._cache.get(digest(token), now)
        return None if principal is None or not _confirmed(principal.claims, call) else principal

    def credential(self, call: Call) -> bytes | None:
        token = _token(call)
        if token is None:
            return None
        # One that is bound to a certificate may hold beside that one only.
        return digest(token) + sha256(call.certificate or b"").digest()

    def recognises(self, call: Call) -> bool:
        """Whether the token says that it is of this scheme's issuer. Nothing is verified here."""
        token = _token(call)
        if not token or len(token) > MAX_TOKEN:
            return False
        try:
            claims = msgspec.json.decode(jose.parse(token).payload)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return False
        named = claims.get("iss") if isinstance(claims, dict) else None
        return any(one and same_issuer(named, one) for one in self._issuers)

    async def verify(self, call: Call, now: float) -> Principal | None:
        token = _token(call)
        if token is None:
            return None
        if not token or len(token) > MAX_TOKEN or "," in token:
            raise InvalidCredential("not one bearer token")
        key = digest(token)  # and not of the header, which may be spelt in many ways
        principal = self._cache.get(key, now)
        if principal is not None:
            return _confirm(principal, call)
        if self._refused is not None and (why := self._refused.get(key, now)) is not None:
            raise type(why)(str(why))
        try:
            if isinstance(self.verifier, PeerVerifier):
                claims = await self.verifier.verify_of(call.peer, token, now)
            else:
                claims = await self.verifier.verify(token, now)
            issuer = self._issuer or claims.get("iss") or self._platform
            if not isinstance(issuer, str):
                raise InvalidCredential("its issuer is no text")
            principal = self._claims.principal(
                claims, scheme=self.name, issuer=issuer, claimed=self._claimed
            )
        except InvalidCredential as rejected:
            if self._refused is not None:
                self._refused.put(key, rejected, now + FAILED_FOR)
            raise
        end = float("inf") if principal.expires is None else principal.expires
        if end <= now:
            raise InvalidCredential("it has expired")
        self._cache.put(key, principal, min(now + self._keep, end))
        return _confirm(principal, call)

    def forget(self) -> None:
        """Forget all verified tokens, because keys changed: each is verified again."""
        self._cache.clear()

    def challenge(self, error: str | None) -> str:
        return challenge("Bearer", REALM, error)


def _token(call: Call) -> str | None:
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _confirm(principal: Principal, call: Call) -> Principal:
    # A bearer token is whoever's has it; one that is bound to a key is not to become one.
    if not _confirmed(principal.claims, call):
        raise InvalidCredential("it is bound to a key, which was not proven")
    return principal


def _confirmed(claims: Mapping[str, Any], call: Call) -> bool:
    """Whether a token is bound to nothing, or to the certificate of this very connection (RFC 8705
    section 3.1). What a proxy tells of one will not do: the token itself says what to tell."""
    bound = claims.get("cnf")
    if bound is None:
        return True
    named = bound.get("x5t#S256") if isinstance(bound, dict) and len(bound) == 1 else None
    shown = None if call.forwarded_certificate is not None else call.certificate
    return shown is not None and named == jose.b64(sha256(shown).digest())
