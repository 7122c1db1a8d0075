"""JSON Web Tokens (RFC 7519, RFC 8725): signature, issuer, audience and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from ....protocol import jose
from .claims import NO_ACCESS, check_purpose, check_times, same_issuer
from .ports import InvalidCredential, KeySource, RenewableKeys, UnknownCredential

DEFAULT_ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
REQUIRED = ("exp", "iss", "sub")
DEFAULT_TYPES = ("", "JWT", "at+jwt", "JOSE")
"""Values of ``typ`` in the header (RFC 9068, RFC 7519); ``""`` is a token that names none."""


class JwtVerifier:
    """Claims of signed tokens of one issuer.

    ``algorithms`` are fixed here, never taken from a token; ``issuer`` matches with and without a
    slash at its end; ``audience`` is one name or several, one of which the token must have
    (``None`` takes any audience: only for issuers that serve nobody else). ``leeway`` in seconds.
    ``types`` are the media types that are taken: ``("at+jwt",)`` for issuers that keep to RFC 9068.
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
        types: Collection[str] = DEFAULT_TYPES,
    ) -> None:
        jose.required()
        unknown = set(algorithms) - jose.ALGORITHMS
        if unknown or not algorithms:
            raise ValueError(
                f"algorithms {sorted(unknown)} cannot be used for tokens; choose from "
                f"{sorted(jose.ALGORITHMS)}"
            )
        self._keys = keys
        self.renewable = keys if isinstance(keys, RenewableKeys) else None
        self.issuer = issuer.removesuffix("/")
        self._audience = {audience} if isinstance(audience, str) else set(audience or ())
        self._any_audience = audience is None
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway
        self._required = tuple(required)
        self._types = frozenset(map(_plain_type, types))

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        """See ``TokenVerifier.verify``. ``exp`` of the answer has the leeway added."""
        try:
            parsed = jose.parse(token)
        except jose.JoseError as error:
            raise UnknownCredential(str(error)) from None
        # The issuer is compared before its keys are looked for: keys are per issuer.
        claims = self._read(parsed.payload)
        if not same_issuer(claims.get("iss"), self.issuer):
            raise UnknownCredential("it is of another issuer")
        if parsed.algorithm not in self._algorithms:
            raise InvalidCredential("its algorithm is not accepted")
        self._check(claims, now)
        self._check_type(parsed.header, claims)
        await self._prove(parsed, now)
        return {**claims, "iss": self.issuer, "exp": float(claims["exp"]) + self._leeway}

    async def _prove(self, token: jose.Token, now: float) -> None:
        """Verify the signature. An issuer may have a new key under a name that was another's, or
        under none: where the keys at hand do not fit, those of now are asked for."""
        try:
            keys = await self._keys.find(token.kid, now)
            try:
                jose.verify(token, keys, self._algorithms)
            except jose.JoseError:
                if self.renewable is None or not await self.renewable.renew(now):
                    raise
                jose.verify(token, await self._keys.find(token.kid, now), self._algorithms)
        except jose.JoseError as error:
            raise InvalidCredential(str(error)) from None

    def _read(self, payload: bytes) -> dict[str, Any]:
        try:
            claims = msgspec.json.decode(payload)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            raise UnknownCredential("its claims are no JSON") from None
        if not isinstance(claims, dict):
            raise UnknownCredential("its claims are no object")
        return claims

    def _check(self, claims: dict[str, Any], now: float) -> None:
        for name in ("exp", *self._required):
            if claims.get(name) in (None, ""):
                raise InvalidCredential(f"it has no {name}")
        audience = claims.get("aud")
        named = {audience} if isinstance(audience, str) else set(_texts(audience))
        if not self._any_audience and not named & self._audience:
            raise InvalidCredential("it is for another audience")
        check_times(claims, now, early=self._leeway, late=self._leeway)

    def _check_type(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
        """Refuse what the same keys sign for other ends (RFC 8725 section 3.11): by the type that
        the header says or does not say, and by what its claims tell."""
        named = header.get("typ", "")
        if not isinstance(named, str) or _plain_type(named) not in self._types:
            raise InvalidCredential(NO_ACCESS)
        check_purpose(claims)


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _plain_type(name: str) -> str:
    return name.lower().removeprefix("application/")
