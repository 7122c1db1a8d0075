"""Settings of who may call that cannot be meant so: each is refused by its name, before anybody is
let in, or kept out, by mistake."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager

from ..runtime.security.schemes.basic import PREFIX
from ..runtime.security.schemes.ports import MAX_NAME
from ..runtime.security.schemes.static_tokens import MIN_TOKEN
from ..runtime.settings.bounds import check_scopes
from .auth import AuthSettings

_CLAIMS = ("subject_claim", "tenant_claim", "scopes_claim")
_JWT = ("algorithms", "token_types", "leeway")
# What means something only where one of the settings on the left says that it is wanted.
_BELONGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("token", "tokens"), ("token_tenants", "token_scopes")),
    (("keys_file",), ("key_name", "key_in")),
    (("users",), ("user_tenants", "user_scopes")),
    (("oidc_issuer",), ("oidc_audience", "oidc_jwks_url")),
    (
        ("oauth_token_url",),
        (
            "oauth_authorization_url", "oauth_scopes", "oauth_issuer", "oauth_audience",
            "oauth_jwks_url", "oauth_introspection_url",
        ),
    ),
    (
        ("oauth_introspection_url",),
        ("oauth_client_id", "oauth_client_secret", "oauth_client_auth"),
    ),
    (
        ("introspection_url",),
        (
            "introspection_client_id", "introspection_client_secret", "introspection_client_auth",
            "introspection_audience",
        ),
    ),
    (("introspection_url", "verifier"), ("introspection_issuer",)),
    (("mtls",), ("mtls_identity", "mtls_allow", "mtls_tenants", "mtls_scopes")),
    (("oidc_issuer", "oauth_issuer"), _JWT),
    (("oidc_issuer", "oauth_token_url", "introspection_url", "verifier"), _CLAIMS),
    (("signing_keys",), ("signing_sdk_form",)),
)  # fmt: skip
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r"[0-9A-Za-z._~-]+")


def check(settings: AuthSettings) -> None:
    """Raise ValueError, which names the setting and says what to write."""
    defaults = type(settings)()
    given = [
        name
        for name in settings.__struct_fields__
        if getattr(settings, name) != getattr(defaults, name)
    ]
    for name in given:
        refuse_empty(name, getattr(settings, name))
    for mains, others in _BELONGS:
        for name in others:
            if name in given and not any(main in given for main in mains):
                raise ValueError(
                    f"auth.{name} is set, but without auth.{' or auth.'.join(mains)} it means "
                    "nothing: set that too, or leave it out"
                )
    if settings.introspection_url and settings.verifier:
        raise ValueError("auth.verifier and auth.introspection_url: choose one of them")
    _check_keys(settings)
    _check_users(settings.users)
    _check_holders("user", settings.users, settings.user_tenants, settings.user_scopes)
    for pattern, scopes in settings.mtls_scopes.items():
        check_scopes(scopes, f"auth.mtls_scopes: {pattern!r}")


def refuse_empty(name: str, value: object) -> None:
    """Raise ValueError for a setting that is there and says nothing: whoever wrote it believes that
    the server asks callers for something."""
    empty = not value.strip() if isinstance(value, str) else value in ({}, [], ())
    if empty:
        raise ValueError(f"auth.{name} is empty: give it a value, or leave it out")


def static_tokens_of(settings: AuthSettings) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Return holder, token, tenant and scopes of every static token. Raises ValueError."""
    tokens = dict(settings.tokens)
    if settings.token is not None:
        if "token" in tokens:
            raise ValueError("auth.token and the one of auth.tokens called 'token' are one holder")
        tokens["token"] = settings.token
    _check_holders("token", tokens, settings.token_tenants, settings.token_scopes)
    for holder, token in tokens.items():
        tenant, scopes = settings.token_tenants.get(holder, ""), settings.token_scopes.get(holder)
        yield holder, token, tenant, scopes or ()


@contextmanager
def named(setting: str) -> Generator[None, None, None]:
    """Say of a ValueError which setting it is about."""
    try:
        yield
    except ValueError as error:
        detail = str(error)
        raise ValueError(detail if "auth." in detail else f"{setting}: {detail}") from None


def check_name(text: str, what: str) -> None:
    """Raise ValueError for the name of an owner or a tenant that no credential may have."""
    if not is_name(text):
        raise ValueError(
            f"{what} {text!r} cannot be used: write up to {MAX_NAME} printable characters"
        )


def shown_name(name: str) -> str:
    """Return the name of a holder or a user as an error may show it. A token or a password may
    stand in the place of the name: what is as long as a token or holds a colon is not shown."""
    secret = len(name) >= MIN_TOKEN or (":" in name and len(name) > 4)
    return f"{name[:2]!r}..." if secret else repr(name)


def is_name(text: str) -> bool:
    """Whether an owner or a tenant can have this name."""
    return bool(text.strip()) and text.isprintable() and len(text) <= MAX_NAME


def _check_keys(settings: AuthSettings) -> None:
    allowed = _PARAMETER if settings.key_in == "query" else _FIELD
    if not allowed.fullmatch(settings.key_name):
        raise ValueError(
            f"auth.key_name: {settings.key_name!r} cannot be the name of a "
            + {"header": "header field", "cookie": "cookie"}.get(settings.key_in, "query parameter")
        )


def _check_users(users: Mapping[str, str]) -> None:
    for name, password in users.items():
        if not name or ":" in name:
            raise ValueError(
                f"auth.users: {shown_name(name)} cannot be the name of a user: a name has no colon "
                "and is not empty (RFC 7617)"
            )
        if not password.startswith(PREFIX):
            raise ValueError(
                f"auth.users: the password of {shown_name(name)} is not hashed: write what "
                "`greenroom keys hash` prints for it"
            )


def _check_holders(
    kind: str,
    holders: Iterable[str],
    tenants: Mapping[str, str],
    scopes: Mapping[str, tuple[str, ...]],
) -> None:
    known = set(holders)
    for setting, given in ((f"{kind}_tenants", tenants), (f"{kind}_scopes", scopes)):
        if unknown := set(given) - known:
            raise ValueError(
                f"auth.{setting}: there is no {kind} of {shown_name(sorted(unknown)[0])}; there "
                f"are: {', '.join(map(shown_name, sorted(known))) or 'none'}"
            )
    for holder in known:
        if not is_name(holder):
            raise ValueError(
                f"auth.{kind}s: the name {shown_name(holder)} cannot be used: write up to "
                f"{MAX_NAME} printable characters"
            )
    for holder, tenant in tenants.items():
        check_name(tenant, f"auth.{kind}_tenants: the tenant of {holder!r},")
    for holder, asked in scopes.items():
        check_scopes(asked, f"auth.{kind}_scopes: {holder!r}")
