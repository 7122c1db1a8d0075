"""What the gate needs from authentication, and authentication from the world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

from msgspec import Struct

from ....protocol.errors import UnauthenticatedError
from ....protocol.jose import Key
from ....protocol.types import SecurityRequirement, SecurityScheme
from ...call import Call, Principal

NO_ACCESS = "it is no access token"
_OTHERS = frozenset({"id", "refresh", "offline", "logout"})
"""What Keycloak (``typ``) and others say of tokens that open nothing."""
MAX_NAME = 512
"""Characters in a tenant, an issuer or a subject."""


class Rejected(Exception):
    """A credential is no good. The text may be told to the caller: it holds nothing of theirs."""


class Unknown(Rejected):
    """A credential that belongs to nobody here; another scheme may know it."""


class Authenticator(Protocol):
    """Credentials in, a principal or a challenge out. Write your own, or combine schemes."""

    @property
    def schemes(self) -> Mapping[str, SecurityScheme]:
        """What the card says under ``securitySchemes``."""

    @property
    def requirements(self) -> Sequence[SecurityRequirement]:
        """What the card says under ``securityRequirements``: any one of them suffices."""

    def known(self, call: Call, now: float) -> Principal | None:
        """Return the principal if these credentials were verified before. Never waits."""

    def held(self, call: Call, now: float) -> bool:
        """Whether these very credentials, all of them, held not long ago: who shows them guesses
        nothing, and does not wait for those who do. ``False`` where that is not remembered."""

    async def authenticate(self, call: Call, now: float) -> Principal:
        """Return the principal. Raises UnauthenticatedError with its challenge,
        PermissionDeniedError for scopes that are missing, UnavailableError if it cannot tell.

        ``call.refused`` is set to what was refused nonetheless, for that may be a guess."""


class Scheme(Protocol):
    """One entry of ``securitySchemes``."""

    @property
    def name(self) -> str: ...

    @property
    def card(self) -> SecurityScheme: ...

    def known(self, call: Call, now: float) -> Principal | None:
        """Return the principal of a credential verified before. Never waits."""

    def credential(self, call: Call) -> bytes | None:
        """Return a digest of the credential of this scheme that the call has, if it has one."""

    async def verify(self, call: Call, now: float) -> Principal | None:
        """Return the principal, or ``None`` where the call has no credential of this scheme.

        Raises Rejected, and UnavailableError if it cannot tell.
        """

    def challenge(self, error: str | None) -> str:
        """Return the ``WWW-Authenticate`` challenge; ``error``: why a credential was refused."""


class TokenVerifier(Protocol):
    """What tells a bearer token's claims: keys, an introspection endpoint, a platform's own API."""

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        """Return the claims (``sub``, ``exp``, ``scope`` …). Raises Rejected, UnavailableError."""


@runtime_checkable
class PeerVerifier(TokenVerifier, Protocol):
    """One that asks elsewhere, a few at once, and lets each network have its turn."""

    async def verify_of(self, peer: str, token: str, now: float) -> Mapping[str, Any]:
        """``verify`` a token that came from the address ``peer``."""


class KeySource(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None, now: float) -> Iterable[Key]:
        """Return the keys that may have signed; none if there is no such ``kid``.

        Raises UnavailableError if the keys cannot be had.
        """


@runtime_checkable
class RenewableKeys(KeySource, Protocol):
    """Keys that their issuer may have changed meanwhile."""

    async def renew(self, now: float) -> bool:
        """Ask for them again, unless that was done a moment ago; return whether it was done."""

    def watch(self, now: float) -> None:
        """Have them renewed in the background if they are due. Never waits."""


class Claims(Struct, frozen=True, kw_only=True):
    """Which claim says what; dots reach into objects (``realm_access.roles``)."""

    subject: str = "sub"
    tenant: str | None = None
    """Without it every caller has the tenant ``""``."""
    tenantless: bool = False
    """Whether those without that claim are let in too, with the tenant ``""``."""
    scopes: str = "scope"
    """Text with spaces, or a list; ``scp`` is looked at too."""

    def principal(self, claims: Mapping[str, Any], *, scheme: str, issuer: str) -> Principal:
        """Return who the claims speak of; scopes of a shape that nobody defined are none. Raises
        Rejected."""
        subject = claim(claims, self.subject)
        if not isinstance(subject, str) or not subject:
            raise Rejected(f"the token has no {self.subject}")
        tenant = claim(claims, self.tenant) if self.tenant else ""
        if tenant is None and self.tenantless:
            tenant = ""
        if not isinstance(tenant, str) or not (tenant or self.tenantless or self.tenant is None):
            raise Rejected(f"the token has no {self.tenant}")
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
        )


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a path with dots."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def time_of(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a claim that is a time (epoch); ``None`` where there is none. Raises Rejected."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise Rejected(f"its {name} is no time")
    return float(value)


def check_times(claims: Mapping[str, Any], now: float, *, early: float, late: float = 0.0) -> None:
    """Raise Rejected before ``nbf`` and ``iat`` (less ``early``) and from ``exp`` (and ``late``)
    on."""
    expires = time_of(claims, "exp")
    if expires is not None and now >= expires + late:
        raise Rejected("it has expired")
    for name in ("nbf", "iat"):
        if (begins := time_of(claims, name)) is not None and begins - early > now:
            raise Rejected(f"its time has not come ({name})")


def check_purpose(claims: Mapping[str, Any]) -> None:
    """Raise Rejected for what an issuer made for other ends: refresh tokens, where they can be
    told, ID tokens and security events, by what only they carry."""
    named = [claims.get(name) for name in ("typ", "token_type", "token_use")]
    kinds = {one.lower().removesuffix("_token") for one in named if isinstance(one, str)}
    if kinds & _OTHERS or claims.keys() & {"at_hash", "c_hash", "events"}:
        raise Rejected(NO_ACCESS)


def same_issuer(one: object, other: str) -> bool:
    """Whether two names of issuers are the same, with or without one slash at the end."""
    return isinstance(one, str) and one.removesuffix("/") == other.removesuffix("/")


def identify(
    *,
    scheme: str,
    issuer: str,
    subject: str,
    tenant: str = "",
    scopes: Iterable[str] = (),
    claims: Mapping[str, Any] | None = None,
    expires: float | None = None,
) -> Principal:
    """Return the principal of one (issuer, subject): its ``owner`` names exactly that pair."""
    for text in (issuer, subject, tenant):
        if len(text) > MAX_NAME or not text.isprintable():
            raise Rejected("the credential names a tenant, issuer or subject that cannot be used")
    return Principal(
        # "#" is not left in a quoted issuer, so no two pairs give one owner.
        owner=f"{quote(issuer, safe=':/@.,=+ ')}#{subject}",
        tenant=tenant,
        scheme=scheme,
        issuer=issuer,
        subject=subject,
        scopes=(held := frozenset(scopes)),
        claims=claims or {},
        expires=expires,
        proven={scheme: held},
    )


def challenge(kind: str, realm: str, error: str | None, **extra: str) -> str:
    """Return one challenge of ``WWW-Authenticate`` (RFC 9110 section 11.6.1, RFC 6750)."""
    fields = {"realm": realm, **extra}
    if error is not None:
        fields |= {"error": "invalid_token", "error_description": error}
    quoted = (f'{name}="{_plain(value)}"' for name, value in fields.items())
    return f"{kind} {', '.join(quoted)}"


def _plain(text: str) -> str:
    return "".join(sign for sign in text if " " <= sign <= "~" and sign not in '"\\')


def refuse(message: str, challenges: Iterable[str]) -> UnauthenticatedError:
    """Return the error that asks for credentials."""
    return UnauthenticatedError(message, headers={"WWW-Authenticate": ", ".join(challenges)})
