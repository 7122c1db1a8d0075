"""The security schemes that the settings ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import auth
from ..auth import Claims, Scheme, StaticToken
from ..loading import load_object
from .auth import AuthSettings
from .auth_checks import named, shown_name, static_tokens_of


def schemes_of(settings: AuthSettings) -> list[Scheme]:
    """Return the schemes in the order of preference. Raises ValueError."""
    s, schemes = settings, list[auth.Scheme]()
    claims = auth.Claims(subject=s.subject_claim, tenant=s.tenant_claim, scopes=s.scopes_claim)
    if tokens := list(_tokens(s)):
        schemes.append(auth.static_tokens(tokens))
    if s.keys_file:
        schemes.append(auth.ApiKeys(Path(s.keys_file), field=s.key_name, location=s.key_in))
    if s.users:
        with named("auth.users"):
            schemes.append(auth.Basic(s.users, tenants=s.user_tenants, scopes=s.user_scopes))
    if s.oidc_issuer:
        if not s.oidc_audience:
            raise ValueError("auth.oidc_audience: say what the issuer calls this server")
        with named("auth.oidc_issuer"):
            schemes.append(
                auth.open_id_connect(
                    s.oidc_issuer, audience=s.oidc_audience, algorithms=s.algorithms,
                    leeway=s.leeway, types=_types(s), claims=claims, jwks_url=s.oidc_jwks_url,
                )
            )  # fmt: skip
    if s.oauth_token_url:
        if not (s.oauth_introspection_url or (s.oauth_issuer and s.oauth_audience)):
            raise ValueError(
                "auth.oauth_token_url: say with auth.oauth_issuer and auth.oauth_audience whose "
                "tokens are taken, or with auth.oauth_introspection_url who knows them"
            )
        with named("auth.oauth_token_url"):
            schemes.append(_oauth2(s, claims))
    if s.introspection_url or s.verifier:
        with named("auth.introspection_url" if s.introspection_url else "auth.verifier"):
            schemes.append(_enterprise(s, claims))
    if s.mtls != "off":
        schemes.append(
            auth.MutualTls(
                identity=s.mtls_identity,
                allow=s.mtls_allow or None,
                tenants=s.mtls_tenants,
                scopes=s.mtls_scopes,
                forwarded=s.mtls == "forwarded",
            )
        )
    return schemes


def _tokens(s: AuthSettings) -> Iterator[StaticToken]:
    known: dict[bytes, str] = {}
    for holder, text, tenant, scopes in static_tokens_of(s):
        with named(f"auth.token{'s' if holder in s.tokens else ''}"):
            token = StaticToken.of(holder, text, tenant=tenant, scopes=scopes)
        if (other := known.setdefault(token.digest, holder)) != holder:
            pair = f"{shown_name(other)} and {shown_name(holder)}"
            raise ValueError(f"auth.tokens: {pair} hold the same token")
        yield token


def _types(s: AuthSettings) -> list[str]:
    return ["" if one == "none" else one for one in s.token_types]


def _oauth2(s: AuthSettings, claims: Claims) -> Scheme:
    assert s.oauth_token_url is not None
    introspection = None
    if s.oauth_introspection_url:
        introspection = auth.Introspection(
            s.oauth_introspection_url, client_id=s.oauth_client_id,
            client_secret=s.oauth_client_secret, method=s.oauth_client_auth,
            audience=s.oauth_audience or None, issuer=s.oauth_issuer,
        )  # fmt: skip
    return auth.oauth2(
        token_url=s.oauth_token_url, authorization_url=s.oauth_authorization_url,
        scopes=s.oauth_scopes, issuer=s.oauth_issuer, audience=s.oauth_audience or None,
        jwks_url=s.oauth_jwks_url, introspection=introspection, algorithms=s.algorithms,
        types=_types(s), leeway=s.leeway, claims=claims,
    )  # fmt: skip


def _enterprise(s: AuthSettings, claims: Claims) -> Scheme:
    if s.verifier:
        verifier: Any = load_object(s.verifier)
        return auth.enterprise_tokens(
            verifier, issuer=s.introspection_issuer, platform=s.verifier, claims=claims
        )
    assert s.introspection_url is not None
    verifier = auth.Introspection(
        s.introspection_url, client_id=s.introspection_client_id,
        client_secret=s.introspection_client_secret, method=s.introspection_client_auth,
        audience=s.introspection_audience or None,
        issuer=s.introspection_issuer,
    )  # fmt: skip
    return auth.enterprise_tokens(
        verifier, issuer=s.introspection_issuer, platform=s.introspection_url, claims=claims
    )
