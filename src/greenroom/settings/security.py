"""The factory of ``Security``: the settings of ``[greenroom.auth]``, for the gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..protocol.jose import SigningKey
from ..runtime.security.policy import Policy, Security
from ..runtime.security.schemes.combination import Requirement
from ..runtime.security.schemes.mutual_tls import MutualTls
from ..runtime.security.schemes.ports import Scheme
from ..stores.audit_file import FileAudit
from .auth import AuthSettings
from .auth_checks import check
from .settings import Settings


def secure(settings: AuthSettings, public_url: str | None = None) -> Security:
    """Return what the settings ask for. Raises ValueError, which says what to change."""
    check(settings)
    schemes: list[Scheme] = []
    if settings != AuthSettings():
        # The schemes that ask others need an HTTP client, which takes most of the time of a start
        # (0.6 s of 1.1 s were measured): a server without a scheme does not import it.
        from .schemes import schemes_of

        schemes = schemes_of(settings)
    if settings.anonymous is False and not schemes:
        raise ValueError("auth.anonymous is false, but no security scheme is set up")
    if settings.anonymous and schemes:
        raise ValueError(
            f"auth.anonymous is true, but {schemes[0].name} is set up: choose one of them"
        )
    return Security(
        *schemes,
        require=[_requirement(one) for one in settings.require] or None,
        policy=Policy(agents=settings.agents, operations=settings.operations),
        audit=_audit(settings.audit_file) if settings.audit_file else None,
        signing=[_signing_key(entry, settings, public_url) for entry in settings.signing_keys],
    )


def _audit(path: str) -> FileAudit:
    try:
        return FileAudit(path)
    except OSError as error:
        raise ValueError(f"auth.audit_file: {path} cannot be opened: {error.strerror}") from None


def _signing_key(entry: str, settings: AuthSettings, public_url: str | None) -> SigningKey:
    path, _, kid = entry.partition("=")
    jku = f"{public_url.rstrip('/')}/.well-known/jwks.json" if public_url else None
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"auth.signing_keys: {path} cannot be read: {error.strerror}") from None
    return SigningKey(pem, kid=kid, jku=jku, sdk_form=settings.signing_sdk_form)


def _requirement(text: str) -> Requirement:
    scopes_of: dict[str, Sequence[str]] = {}
    for one in text.split("+"):
        name, _, scopes = one.partition("=")
        if (name := name.strip()) in scopes_of:
            raise ValueError(f"auth.require: {text!r} names {name!r} twice: write its scopes once")
        scopes_of[name] = tuple(scopes.split())
    return scopes_of


def check_transport(security: Security, settings: Settings) -> None:
    """Raise ValueError where a scheme could never be met as this server listens."""
    for scheme in security.schemes:
        if not isinstance(scheme, MutualTls):
            continue
        proxies = [one for one in settings.http.trusted_proxies if one != "*"]
        if scheme.forwarded and not proxies:
            raise ValueError(
                "mutual TLS behind a proxy needs http.trusted_proxies: the addresses of the "
                "proxies that may say who the client is (* is nobody in particular)"
            )
        if settings.client_ca is None and not scheme.forwarded:
            raise ValueError(
                "mutual TLS needs client_ca: the certificate authorities of the clients"
            )
