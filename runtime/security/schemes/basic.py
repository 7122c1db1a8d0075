"""HTTP Basic (RFC 7617), for small set-ups: passwords kept as scrypt hashes."""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import scrypt

import anyio
import anyio.to_thread

from ....protocol.types import HTTPAuthSecurityScheme, SecurityScheme
from ...call import Call, Principal
from .bearer import REALM
from .credential_cache import CredentialCache, digest
from .fair_queue import FairQueue
from .ports import InvalidCredential, UnknownCredential, challenge, identify

_COST = {"n": 2**14, "r": 8, "p": 1}
_KEEP = 300.0
_AT_ONCE = 2
"""Hashes that the server makes at once. Without the limit wrong passwords would take every core."""
PREFIX = "scrypt:"


def hash_password(password: str) -> str:
    """Return ``scrypt:<salt>:<hash>`` for a configuration file."""
    salt = os.urandom(16)
    return f"{PREFIX}{b64encode(salt).decode()}:{b64encode(_scrypt(password, salt)).decode()}"


def _scrypt(password: str, salt: bytes) -> bytes:
    return scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, dklen=32, **_COST)


class Basic:
    """``users`` maps a name to its password, or better to what ``hash_password`` returned, and
    ``tenants`` and ``scopes`` map names to theirs.

    The scheme remembers the digest of a right password for five minutes: scrypt is slow on purpose.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        tenants: Mapping[str, str] | None = None,
        scopes: Mapping[str, Sequence[str]] | None = None,
        name: str = "basic",
    ) -> None:
        self.name = name
        self.card = SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="basic"))
        if not users:
            raise ValueError("name at least one user")
        self._tenants, self._scopes = dict(tenants or {}), dict(scopes or {})
        self._users: dict[str, tuple[bytes, bytes]] = {}
        for number, (user, secret) in enumerate(users.items(), 1):
            if not secret:
                raise ValueError(f"user {user!r} has no password")
            text = secret if secret.startswith(PREFIX) else hash_password(secret)
            try:
                salt, hashed = text.removeprefix(PREFIX).split(":")
                self._users[user] = (b64decode(salt), b64decode(hashed))
            except ValueError:
                raise ValueError(f"the password of user {number} is not a scrypt hash") from None
        # A name that nobody has costs as much as a wrong password.
        self._nobody = (os.urandom(16), b"\0" * 32)
        self._cache: CredentialCache[Principal] = CredentialCache(1000)
        self._limiter: anyio.CapacityLimiter | None = None
        self._queue = FairQueue(_AT_ONCE)

    def known(self, call: Call, now: float) -> Principal | None:
        pair = _pair(call)
        return None if pair is None else self._cache.get(digest(pair), now)

    def credential(self, call: Call) -> bytes | None:
        pair = _pair(call)
        return None if pair is None else digest(pair)

    async def verify(self, call: Call, now: float) -> Principal | None:
        pair = _pair(call)
        if pair is None:
            return None
        principal = self._cache.get(digest(pair), now)
        if principal is not None:
            return principal
        try:
            user, colon, password = b64decode(pair, validate=True).decode().partition(":")
        except ValueError:
            raise InvalidCredential("not Basic credentials") from None
        if not colon:
            raise InvalidCredential("not Basic credentials")
        salt, expected = self._users.get(user, self._nobody)
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with self._queue.of(call.peer):
            hashed = await anyio.to_thread.run_sync(_scrypt, password, salt, limiter=self._limiter)
        if not hmac.compare_digest(hashed, expected):
            raise UnknownCredential("user and password do not match")
        principal = identify(
            scheme=self.name,
            issuer=self.name,
            subject=user,
            tenant=self._tenants.get(user, ""),
            scopes=self._scopes.get(user, ()),
        )
        self._cache.put(digest(pair), principal, now + _KEEP)
        return principal

    def challenge(self, error: str | None) -> str:
        return challenge("Basic", REALM, None, charset="UTF-8")


def _pair(call: Call) -> str | None:
    kind, _, pair = call.headers.get("authorization", "").partition(" ")
    return pair if kind.lower() == "basic" else None
