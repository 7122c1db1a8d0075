"""JSON Web Tokens (RFC 7519, RFC 8725): signature, issuer, audience and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from ...protocol import jose
from .ports import KeySource, Rejected

DEFAULT_ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
REQUIRED = ("exp", "iss", "sub")


class JwtVerifier:
    """Claims of signed tokens of one issuer.

    ``algorithms`` are fixed here, never taken from a token; ``issuer`` matches with and without a
    trailing slash; ``audience`` is one name or several, one of which the token must have (``None``
    takes any audience: only for issuers that serve nobody else). ``leeway`` in seconds.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str | Sequence[str] | None,
        algorithms: Collection[str] = DEFAULT_ALGORITHMS,
        leeway: float = 30.0,
        required: Sequence[str] = REQUIRED,
    ) -> None:
        unknown = set(algorithms) - jose.ALGORITHMS
        if unknown or not algorithms:
            raise ValueError(
                f"algorithms {sorted(unknown)} cannot be used for tokens; choose from "
                f"{sorted(jose.ALGORITHMS)}"
            )
        self._keys = keys
        self._issuer = issuer.rstrip("/")
        self._audience = {audience} if isinstance(audience, str) else set(audience or ())
        self._any_audience = audience is None
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway
        self._required = tuple(required)

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        """See ``TokenVerifier.verify``. ``exp`` of the answer has the leeway added."""
        try:
            parsed = jose.parse(token)
            if parsed.algorithm not in self._algorithms:
                raise Rejected("its algorithm is not accepted")
            # The issuer is compared before its keys are looked for: keys are per issuer.
            claims = self._read(parsed.payload)
            self._check(claims, now)
            jose.verify(parsed, await self._keys.find(parsed.kid, now), self._algorithms)
        except jose.JoseError as error:
            raise Rejected(str(error)) from None
        return {**claims, "iss": self._issuer, "exp": float(claims["exp"]) + self._leeway}

    def _read(self, payload: bytes) -> dict[str, Any]:
        try:
            claims = msgspec.json.decode(payload)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            raise Rejected("its claims are no JSON") from None
        if not isinstance(claims, dict):
            raise Rejected("its claims are no object")
        return claims

    def _check(self, claims: dict[str, Any], now: float) -> None:
        for name in ("exp", *self._required):
            if claims.get(name) in (None, ""):
                raise Rejected(f"it has no {name}")
        if str(claims.get("iss")).rstrip("/") != self._issuer:
            raise Rejected("it is of another issuer")
        audience = claims.get("aud")
        named = {audience} if isinstance(audience, str) else set(_texts(audience))
        if not self._any_audience and not named & self._audience:
            raise Rejected("it is for another audience")
        if now >= _time(claims, "exp") + self._leeway:
            raise Rejected("it has expired")
        for name in ("nbf", "iat"):
            if name in claims and _time(claims, name) - self._leeway > now:
                raise Rejected(f"its time has not come ({name})")


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise Rejected(f"its {name} is no time")
    return float(value)
