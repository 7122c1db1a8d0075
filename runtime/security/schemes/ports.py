"""What the gate needs from authentication, and authentication from the world."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

from ....protocol.errors import UnauthenticatedError, UnavailableError
from ....protocol.jose import Key
from ....protocol.types import SecurityRequirement, SecurityScheme
from ...call import Call, Principal

log = logging.getLogger("greenroom.security")

MAX_NAME = 512
"""Characters in a tenant, an issuer or a subject."""


class InvalidCredential(Exception):
    """A scheme or a verifier raises it for a credential that is no good.

    The caller is told the text, so it must hold nothing of the credential.
    """


class UnknownCredential(InvalidCredential):
    """The credential belongs to nobody that this scheme knows; another scheme may know it."""


class Authenticator(Protocol):
    """Credentials in, a principal or a challenge out. Write your own, or combine schemes."""

    @property
    def schemes(self) -> Mapping[str, SecurityScheme]:
        """What the card says under ``securitySchemes``."""
        ...

    @property
    def requirements(self) -> Sequence[SecurityRequirement]:
        """What the card says under ``securityRequirements``: any one of them suffices."""
        ...

    def known(self, call: Call, now: float) -> Principal | None:
        """Return the principal if these credentials were verified before. Never waits."""
        ...

    def held(self, call: Call, now: float) -> bool:
        """Whether these very credentials, all of them, held not long ago: who shows them guesses
        nothing, and does not wait for those who do. ``False`` where that is not remembered."""
        ...

    async def authenticate(self, call: Call, now: float) -> Principal:
        """Return the principal. Raises UnauthenticatedError with its challenge,
        PermissionDeniedError for scopes that are missing, UnavailableError if it cannot tell.

        ``call.refused`` is set to what was refused nonetheless, for that may be a guess."""
        ...


class Scheme(Protocol):
    """One entry of ``securitySchemes``."""

    @property
    def name(self) -> str: ...

    @property
    def card(self) -> SecurityScheme: ...

    def known(self, call: Call, now: float) -> Principal | None:
        """Return the principal of a credential verified before. Never waits."""
        ...

    def credential(self, call: Call) -> bytes | None:
        """Return a digest of the credential of this scheme that the call has, if it has one."""
        ...

    async def verify(self, call: Call, now: float) -> Principal | None:
        """Return the principal, or ``None`` where the call has no credential of this scheme.

        Raises InvalidCredential, and UnavailableError if it cannot tell.
        """
        ...

    def challenge(self, error: str | None) -> str:
        """Return the ``WWW-Authenticate`` challenge; ``error``: why a credential was refused."""
        ...


class TokenVerifier(Protocol):
    """What tells a bearer token's claims: keys, an introspection endpoint, a platform's own API."""

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        """Return the claims (``sub``, ``exp``, ``scope`` …).

        Raises InvalidCredential for a token that is no good, UnavailableError if it cannot tell.
        """
        ...


@runtime_checkable
class PeerVerifier(TokenVerifier, Protocol):
    """One that asks elsewhere, a few at once, and lets each network have its turn."""

    async def verify_of(self, peer: str, token: str, now: float) -> Mapping[str, Any]:
        """``verify`` a token that came from the address ``peer``."""
        ...


class KeySource(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None, now: float) -> Iterable[Key]:
        """Return the keys that may have signed; none if there is no such ``kid``.

        Raises UnavailableError if the keys cannot be had.
        """
        ...


@runtime_checkable
class RenewableKeys(KeySource, Protocol):
    """Keys that their issuer may have changed meanwhile."""

    async def renew(self, now: float) -> bool:
        """Ask for them again, unless that was done a moment ago; return whether it was done."""
        ...

    def watch(self, now: float) -> None:
        """Have them renewed in the background if they are due. Never waits."""


def identify(
    *,
    scheme: str,
    issuer: str,
    subject: str,
    tenant: str = "",
    scopes: Iterable[str] = (),
    claims: Mapping[str, Any] | None = None,
    expires: float | None = None,
    claimed: bool = False,
) -> Principal:
    """Return the principal of one subject of an issuer. Raises InvalidCredential.

    ``issuer`` is the name of the scheme itself, where the scheme knows its callers, or the issuer
    that the operator configured. ``claimed`` is an issuer that only the credential, or who vouches
    for it, named. The three never give the same ``owner``, whatever their names are: no scheme can
    speak for the callers of another one.
    """
    for text in (issuer, subject, tenant):
        if len(text) > MAX_NAME or not text.isprintable():
            raise InvalidCredential(
                "the credential names a tenant, issuer or subject that cannot be used"
            )
    return Principal(
        owner=f"{_issuer_in_owner(scheme, issuer, claimed)}#{subject}",
        tenant=tenant,
        scheme=scheme,
        issuer=issuer,
        subject=subject,
        scopes=(held := frozenset(scopes)),
        claims=claims or {},
        expires=expires,
        proven={scheme: held},
    )


def _issuer_in_owner(scheme: str, issuer: str, claimed: bool) -> str:
    """Return the part of an owner in front of ``#``: no two issuers give the same one.

    A scheme's own name has neither ``:`` nor ``!``. A configured issuer has a ``:``, in front where
    there is no other. Only a claimed issuer has a ``!``, behind the name of its scheme. None has a
    ``#``.
    """
    if claimed:
        return f"{quote(scheme, safe=_IN_NAME)}!{quote(issuer, safe=_IN_ISSUER)}"
    if issuer == scheme:
        return quote(issuer, safe=_IN_NAME)
    mark = ":" if ":" not in issuer or issuer.startswith(":") else ""
    return mark + quote(issuer, safe=_IN_ISSUER)


_IN_NAME = "@.,=+ "
_IN_ISSUER = _IN_NAME + ":/"


def challenge(kind: str, realm: str, error: str | None, **extra: str) -> str:
    """Return one challenge of ``WWW-Authenticate`` (RFC 9110 section 11.6.1, RFC 6750)."""
    fields = {"realm": realm, **extra}
    if error is not None:
        fields |= {"error": "invalid_token", "error_description": error}
    quoted = (f'{name}="{_plain(value)}"' for name, value in fields.items())
    return f"{kind} {', '.join(quoted)}"


def _plain(text: str) -> str:
    return "".join(sign for sign in text if " " <= sign <= "~" and sign not in '"\\')


def unexpected(error: Exception, who: str) -> InvalidCredential | UnavailableError:
    """Return what to answer where ``who`` raised what no scheme may raise, and log what to raise.

    Neither the log nor the answer has the text of ``error``, which may hold the credential.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, (InvalidCredential, UnavailableError)):
        return error
    where = traceback.extract_tb(error.__traceback__)[-1]
    log.error(
        "%s raised %s (%s, line %d): raise greenroom.auth.InvalidCredential for a credential that "
        "is no good, and greenroom.auth.UnavailableError if you cannot tell; the caller is refused",
        who, type(error).__qualname__, where.filename, where.lineno or 0,
        extra={"event": "verifier_failed"},
    )  # fmt: skip
    return InvalidCredential("the credential could not be verified")


def refuse(message: str, challenges: Iterable[str]) -> UnauthenticatedError:
    """Return the error that asks for credentials."""
    return UnauthenticatedError(message, headers={"WWW-Authenticate": ", ".join(challenges)})
