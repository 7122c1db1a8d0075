"""What the gate needs from authentication, and authentication from the world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from msgspec import Struct

from ...protocol.errors import UnauthenticatedError
from ...protocol.jose import Key
from ...protocol.types import SecurityRequirement, SecurityScheme
from ..call import Call, Principal

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

    async def authenticate(self, call: Call, now: float) -> Principal:
        """Return the principal. Raises UnauthenticatedError with its challenge,
        PermissionDeniedError for scopes that are missing, UnavailableError if it cannot tell."""


class Scheme(Protocol):
    """One entry of ``securitySchemes``."""

    @property
    def name(self) -> str: ...

    @property
    def card(self) -> SecurityScheme: ...

    def known(self, call: Call, now: float) -> Principal | None:
        """Return the principal of a credential verified before. Never waits."""

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


class KeySource(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None, now: float) -> Iterable[Key]:
        """Return the keys that may have signed; none if there is no such ``kid``.

        Raises UnavailableError if the keys cannot be had.
        """


class Claims(Struct, frozen=True, kw_only=True):
    """Which claim says what; dots reach into objects (``realm_access.roles``)."""

    subject: str = "sub"
    tenant: str | None = None
    """Without it every caller has the tenant ``""``."""
    scopes: str = "scope"
    """Text with spaces, or a list; ``scp`` is looked at too."""

    def principal(self, claims: Mapping[str, Any], *, scheme: str, issuer: str) -> Principal:
        """Return who the claims speak of. Raises Rejected."""
        subject = claim(claims, self.subject)
        if not isinstance(subject, str) or not subject:
            raise Rejected(f"the token has no {self.subject}")
        tenant = claim(claims, self.tenant) if self.tenant else ""
        if not isinstance(tenant, str) or (self.tenant and not tenant):
            raise Rejected(f"the token has no {self.tenant}")
        found = claim(claims, self.scopes) or claims.get("scp") or ()
        scopes = found.split() if isinstance(found, str) else found
        expires = claims.get("exp")
        return identify(
            scheme=scheme,
            issuer=issuer,
            subject=subject,
            tenant=tenant,
            scopes=[one for one in scopes if isinstance(one, str)],
            claims=claims,
            expires=float(expires) if isinstance(expires, (int, float)) else None,
        )


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a path with dots."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


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
        scopes=frozenset(scopes),
        claims=claims or {},
        expires=expires,
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
