"""Static bearer tokens: a few named ones, kept as hashes, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct

from ....protocol.types import HTTPAuthSecurityScheme, SecurityScheme
from .bearer import Bearer
from .claims import Claims
from .ports import UnknownCredential

PREFIX = "sha256:"
MIN_TOKEN = 16
"""Characters that a token has at least."""


class StaticToken(Struct, frozen=True, kw_only=True):
    """``digest`` is the SHA-256 of the token; ``name`` identifies its holder."""

    name: str
    digest: bytes
    tenant: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, name: str, token: str, *, tenant: str = "", scopes: Sequence[str] = ()
    ) -> StaticToken:
        """``token`` is the token itself or ``sha256:<hex>``.

        Raises ValueError, which does not show ``name``: it may be the token, in the wrong place.
        """
        if token.startswith(PREFIX):
            try:
                hashed = bytes.fromhex(token.removeprefix(PREFIX))
            except ValueError:
                hashed = b""
            if len(hashed) != 32:
                raise ValueError("a token: sha256: is followed by 64 hexadecimal digits")
        else:
            if len(token) < MIN_TOKEN:
                raise ValueError(
                    f"a token is shorter than {MIN_TOKEN} characters: it can be guessed"
                )
            hashed = sha256(token.encode()).digest()
        return cls(name=name, digest=hashed, tenant=tenant, scopes=tuple(scopes))


class _Tokens:
    def __init__(self, tokens: Sequence[StaticToken]) -> None:
        self._tokens = list(tokens)

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        asked = sha256(token.encode("utf-8", "surrogatepass")).digest()
        match: StaticToken | None = None
        for one in self._tokens:  # all of them, whichever it is
            if hmac.compare_digest(one.digest, asked):
                match = one
        if match is None:
            raise UnknownCredential("it is not known here")
        return {"sub": match.name, "tenant": match.tenant, "scope": list(match.scopes)}


def static_tokens(
    tokens: Mapping[str, str] | Sequence[StaticToken] | str, *, name: str = "token"
) -> Bearer:
    """Bearer tokens that you hand out: one, or several by the name of their holder.

    A token is at least 16 characters, or given as ``sha256:<hex digest>``.
    """
    if isinstance(tokens, str):
        tokens = {"token": tokens}
    if isinstance(tokens, Mapping):
        tokens = [StaticToken.of(holder, token) for holder, token in tokens.items()]
    if not tokens:
        raise ValueError("name at least one token")
    return Bearer(
        name,
        _Tokens(tokens),
        card=SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer")),
        claims=Claims(tenant="tenant", tenantless=True),
        issuer=name,
    )
