"""The schemes that ask others over HTTP, each with its entry on the card."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Mapping, Sequence

from ...protocol.types import (
    AuthorizationCodeOAuthFlow,
    ClientCredentialsOAuthFlow,
    OAuth2SecurityScheme,
    OAuthFlows,
    OpenIdConnectSecurityScheme,
    SecurityScheme,
)
from ...runtime.security.schemes.bearer import Bearer
from ...runtime.security.schemes.claims import Claims
from ...runtime.security.schemes.jwt import DEFAULT_ALGORITHMS, DEFAULT_TYPES, JwtVerifier
from ...runtime.security.schemes.ports import TokenVerifier
from .introspection import Introspection
from .key_sets import RemoteKeys

KEEP = 60.0
"""Seconds for which an introspected token is believed; revoking it takes that long at most."""


def open_id_connect(
    issuer: str,
    *,
    audience: str | Sequence[str],
    name: str = "oidc",
    algorithms: Collection[str] = DEFAULT_ALGORITHMS,
    types: Collection[str] = DEFAULT_TYPES,
    leeway: float = 30.0,
    claims: Claims | None = None,
    jwks_url: str | None = None,
    max_age: float = 3600.0,
    refetch_every: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> Bearer:
    """Tokens of an OpenID Connect provider, verified with the keys that it publishes.

    ``audience`` is what the provider calls this server; a token for another is refused.
    """
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    card = SecurityScheme(
        open_id_connect_security_scheme=OpenIdConnectSecurityScheme(open_id_connect_url=url)
    )
    keys = RemoteKeys(
        issuer=issuer, jwks_url=jwks_url, max_age=max_age, refetch_every=refetch_every, tls=tls
    )
    verifier = JwtVerifier(
        keys, issuer=issuer, audience=audience, algorithms=algorithms, types=types, leeway=leeway
    )
    scheme = Bearer(
        name, verifier, card=card, claims=claims, authorization_server=issuer, keep=max_age
    )
    keys.on_change = scheme.forget
    scheme.background = (keys.run,)
    return scheme


def oauth2(
    *,
    token_url: str,
    scopes: Mapping[str, str],
    authorization_url: str | None = None,
    refresh_url: str | None = None,
    metadata_url: str | None = None,
    issuer: str | None = None,
    audience: str | Sequence[str] | None = None,
    jwks_url: str | None = None,
    introspection: Introspection | None = None,
    name: str = "oauth2",
    algorithms: Collection[str] = DEFAULT_ALGORITHMS,
    types: Collection[str] = DEFAULT_TYPES,
    leeway: float = 30.0,
    claims: Claims | None = None,
    keep: float = KEEP,
    max_age: float = 3600.0,
    refetch_every: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> Bearer:
    """OAuth 2 access tokens: signed ones (``issuer`` and ``audience``, with ``jwks_url`` where the
    issuer has no discovery document), or opaque ones by ``introspection``.

    ``scopes`` are shown on the card with their descriptions. With ``authorization_url`` the card
    offers the authorization code flow (PKCE required), else client credentials.
    """
    shown = dict(scopes)
    if authorization_url is not None:
        flows = OAuthFlows(
            authorization_code=AuthorizationCodeOAuthFlow(
                authorization_url=authorization_url,
                token_url=token_url,
                refresh_url=refresh_url,
                scopes=shown,
                pkce_required=True,
            )
        )
    else:
        flows = OAuthFlows(
            client_credentials=ClientCredentialsOAuthFlow(
                token_url=token_url, refresh_url=refresh_url, scopes=shown
            )
        )
    card = SecurityScheme(
        oauth2_security_scheme=OAuth2SecurityScheme(flows=flows, oauth2_metadata_url=metadata_url)
    )
    if introspection is not None:
        return Bearer(
            name, introspection, card=card, claims=claims, issuer=issuer, platform=token_url,
            authorization_server=issuer, keep=keep, remember_failures=True,
        )  # fmt: skip
    if issuer is None or audience is None:
        raise ValueError("OAuth 2 needs issuer and audience to verify tokens, or introspection")
    keys = RemoteKeys(
        issuer=issuer, jwks_url=jwks_url, max_age=max_age, refetch_every=refetch_every, tls=tls
    )
    verifier = JwtVerifier(
        keys, issuer=issuer, audience=audience, algorithms=algorithms, types=types, leeway=leeway
    )
    scheme = Bearer(
        name, verifier, card=card, claims=claims, authorization_server=issuer, keep=max_age
    )
    keys.on_change = scheme.forget
    scheme.background = (keys.run,)
    return scheme


def enterprise_tokens(
    verifier: TokenVerifier,
    *,
    issuer: str | None = None,
    platform: str | None = None,
    name: str = "enterprise",
    claims: Claims | None = None,
    keep: float = KEEP,
) -> Bearer:
    """Tokens that a platform vouches for: ``Introspection(…)``, or a verifier of your own.

    ``issuer`` is the issuer in the owner of tasks, whatever a token says: for a platform that knows
    tokens of one issuer only. Without it that is the token's ``iss``, or ``platform`` where it
    names none. Do not change either: whose tasks are whose depends on it.
    """
    return Bearer(
        name, verifier, claims=claims, issuer=issuer, platform=platform, keep=keep,
        remember_failures=True,
    )  # fmt: skip
