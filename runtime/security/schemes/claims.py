"""The claims of tokens: who they speak of, when they hold, and what they are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ...call import Principal
from .ports import InvalidCredential, identify

NO_ACCESS = "it is no access token"
_OTHERS = frozenset({"id", "refresh", "offline", "logout"})
"""What Keycloak (``typ``) and others say of tokens that open nothing."""


class Claims(Struct, frozen=True, kw_only=True):
    """Which claim says what; dots reach into objects (``realm_access.roles``)."""

    subject: str = "sub"
    tenant: str | None = None
    """Without it every caller has the tenant ``""``."""
    tenantless: bool = False
    """Whether those without that claim are let in too, with the tenant ``""``."""
    scopes: str = "scope"
    """Text with spaces, or a list; ``scp`` is looked at too."""

    def principal(
        self, claims: Mapping[str, Any], *, scheme: str, issuer: str, claimed: bool = False
    ) -> Principal:
        """Return who the claims speak of; ``claimed`` is that of ``identify``. Scopes of a shape
        that nobody defined are none. Raises InvalidCredential."""
        subject = claim(claims, self.subject)
        if not isinstance(subject, str) or not subject:
            raise InvalidCredential(f"the token has no {self.subject}")
        tenant = claim(claims, self.tenant) if self.tenant else ""
        if tenant is None and self.tenantless:
            tenant = ""
        if not isinstance(tenant, str) or not (tenant or self.tenantless or self.tenant is None):
            raise InvalidCredential(f"the token has no {self.tenant}")
        scopes = claim(claims, self.scopes) or claims.get("scp")
        if isinstance(scopes, str):
            scopes = scopes.split()
        return identify(
            scheme=scheme,
            issuer=issuer,
            subject=subject,
            tenant=tenant,
            scopes=[one for one in scopes if isinstance(one, str)]
            if isinstance(scopes, (list, tuple, set, frozenset))
            else (),
            claims=claims,
            expires=time_of(claims, "exp"),
            claimed=claimed,
        )


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a path with dots."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def time_of(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a claim that is a time (seconds of the epoch), ``None`` where there is none.

    Raises InvalidCredential.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise InvalidCredential(f"its {name} is no time")
    return float(value)


def check_times(claims: Mapping[str, Any], now: float, *, early: float, late: float = 0.0) -> None:
    """Raise InvalidCredential before ``nbf`` and ``iat``, less ``early`` seconds, and from ``exp``
    on, plus ``late`` seconds."""
    expires = time_of(claims, "exp")
    if expires is not None and now >= expires + late:
        raise InvalidCredential("it has expired")
    for name in ("nbf", "iat"):
        if (begins := time_of(claims, name)) is not None and begins - early > now:
            raise InvalidCredential(f"its time has not come ({name})")


def check_purpose(claims: Mapping[str, Any]) -> None:
    """Raise InvalidCredential for what an issuer made for other ends: refresh tokens, where they
    can be told, ID tokens and security events, by what only they carry."""
    named = [claims.get(name) for name in ("typ", "token_type", "token_use")]
    kinds = {one.lower().removesuffix("_token") for one in named if isinstance(one, str)}
    if kinds & _OTHERS or claims.keys() & {"at_hash", "c_hash", "events"}:
        raise InvalidCredential(NO_ACCESS)


def same_issuer(one: object, other: str) -> bool:
    """Whether two names of issuers are the same, with or without one slash at the end."""
    return isinstance(one, str) and one.removesuffix("/") == other.removesuffix("/")
