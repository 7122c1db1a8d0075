"""Who may call, as settings say it: the ``[greenroom.auth]`` table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..runtime.settings.bounds import NotNegative
from ..runtime.settings.described import described

SECRET = frozenset(
    {"token", "tokens", "users", "oauth_client_secret", "introspection_client_secret"}
)


@described
class AuthSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each scheme is on when what it cannot do without is set. Names of schemes: ``token``,
    ``apiKey``, ``basic``, ``oidc``, ``oauth2``, ``enterprise``, ``mtls``.
    """

    require: Annotated[
        tuple[str, ...],
        Meta(
            description="Alternatives, each ``scheme`` or ``scheme+scheme``, scopes behind ``=`` "
            "(``oauth2=chat:read chat:write+mtls``). Without it any scheme that is on "
            "suffices."
        ),
    ] = ()
    anonymous: Annotated[
        bool | None,
        Meta(
            description="``False`` refuses to start without a scheme; ``True`` refuses to start "
            "with "
            "one."
        ),
    ] = None
    token: Annotated[
        str | None,
        Meta(description="A static bearer token (also ``AUTH_TOKEN``), or ``sha256:<hex>`` of it."),
    ] = None
    tokens: Annotated[
        Mapping[str, str],
        Meta(description="Several, by the name of their holder."),
    ] = {}
    token_tenants: Annotated[
        Mapping[str, str],
        Meta(
            description="The tenants of their holders; that of ``auth.token`` is called ``token``."
        ),
    ] = {}
    token_scopes: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="The scopes of their holders."),
    ] = {}
    keys_file: Annotated[
        str | None,
        Meta(description="API keys, made by ``greenroom keys create OWNER``."),
    ] = None
    key_name: Annotated[
        str,
        Meta(description="The header field, query parameter or cookie that has the key."),
    ] = "X-API-Key"
    key_in: Annotated[
        Literal["header", "query", "cookie"],
        Meta(description="``header``, ``query`` or ``cookie``: where the key is."),
    ] = "header"
    users: Annotated[
        Mapping[str, str],
        Meta(
            description="HTTP Basic: what ``greenroom keys hash`` prints for a password, by user "
            "name."
        ),
    ] = {}
    user_tenants: Annotated[
        Mapping[str, str],
        Meta(description="Their tenants."),
    ] = {}
    user_scopes: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Their scopes."),
    ] = {}
    oidc_issuer: Annotated[
        str | None,
        Meta(description="OpenID Connect: the issuer's address, as its tokens have it in ``iss``."),
    ] = None
    oidc_audience: Annotated[
        tuple[str, ...],
        Meta(description="What the issuer calls this server: one of them must be in ``aud``."),
    ] = ()
    oidc_jwks_url: Annotated[
        str | None,
        Meta(description="Only for issuers without a discovery document."),
    ] = None
    oauth_token_url: Annotated[
        str | None,
        Meta(description="OAuth 2: where clients get tokens, for the card."),
    ] = None
    oauth_authorization_url: Annotated[
        str | None,
        Meta(description="Where users consent (the authorization code flow), for the card."),
    ] = None
    oauth_scopes: Annotated[
        Mapping[str, str],
        Meta(description="Scopes and their descriptions, for the card."),
    ] = {}
    oauth_issuer: Annotated[
        str | None,
        Meta(description="The issuer of tokens, as they have it in ``iss``."),
    ] = None
    oauth_audience: Annotated[
        tuple[str, ...],
        Meta(description="What the issuer calls this server: one of them must be in ``aud``."),
    ] = ()
    oauth_jwks_url: Annotated[
        str | None,
        Meta(
            description="The issuer's keys; without it they are found by the issuer's discovery "
            "document."
        ),
    ] = None
    oauth_introspection_url: Annotated[
        str | None,
        Meta(description="For opaque tokens: the endpoint that knows them (RFC 7662)."),
    ] = None
    oauth_client_id: Annotated[
        str,
        Meta(description="Who this server is to that endpoint."),
    ] = ""
    oauth_client_secret: Annotated[
        str,
        Meta(description="Its password there."),
    ] = ""
    oauth_client_auth: Annotated[
        Literal["basic", "post"],
        Meta(description="How it shows them: ``basic``, in a header, or ``post``, in the form."),
    ] = "basic"
    introspection_url: Annotated[
        str | None,
        Meta(description="Enterprise tokens: the endpoint that knows them (RFC 7662)."),
    ] = None
    introspection_client_id: Annotated[
        str,
        Meta(description="Who this server is to that endpoint."),
    ] = ""
    introspection_client_secret: Annotated[
        str,
        Meta(description="Its password there."),
    ] = ""
    introspection_client_auth: Annotated[
        Literal["basic", "post"],
        Meta(description="How it shows them: ``basic``, in a header, or ``post``, in the form."),
    ] = "basic"
    introspection_audience: Annotated[
        tuple[str, ...],
        Meta(
            description="What the platform calls this server: one of them must be in the answer's "
            "``aud``."
        ),
    ] = ()
    introspection_issuer: Annotated[
        str | None,
        Meta(
            description="What the answer's ``iss`` must be; also the issuer that owners are told "
            "apart by."
        ),
    ] = None
    verifier: Annotated[
        str | None,
        Meta(
            description="Enterprise tokens of a platform with its own API: ``module:attribute`` "
            "of a "
            "TokenVerifier."
        ),
    ] = None
    mtls: Annotated[
        Literal["off", "direct", "forwarded"],
        Meta(
            description="``direct``: certificates of TLS connections to this server "
            "(``client_ca``); "
            "``forwarded``: also ``x-forwarded-client-cert`` of ``http.trusted_proxies``."
        ),
    ] = "off"
    mtls_identity: Annotated[
        Literal["spiffe", "uri", "dns", "email", "subject", "cn", "fingerprint"],
        Meta(description="Which name in the certificate says who calls."),
    ] = "spiffe"
    mtls_allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Patterns of names that may call (``spiffe://example.org/agents/*``); "
            "none: "
            "all."
        ),
    ] = ()
    mtls_tenants: Annotated[
        Mapping[str, str],
        Meta(description="Tenants by such patterns; the first that fits counts."),
    ] = {}
    mtls_scopes: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Scopes by such patterns, of all that fit."),
    ] = {}
    algorithms: Annotated[
        tuple[str, ...],
        Meta(description="Signatures of tokens that are taken; asymmetric ones only."),
    ] = ("RS256", "ES256", "PS256", "EdDSA")
    token_types: Annotated[
        tuple[str, ...],
        Meta(
            description="What ``typ`` in a token's header may be; ``none`` takes those that name "
            "no "
            "type. ``at+jwt`` alone is for issuers that keep to RFC 9068."
        ),
    ] = ("none", "JWT", "at+jwt", "JOSE")
    leeway: Annotated[
        NotNegative,
        Meta(description="Seconds that clocks may differ."),
    ] = 30.0
    subject_claim: Annotated[
        str,
        Meta(description="The claim that says who calls; dots reach into objects."),
    ] = "sub"
    tenant_claim: Annotated[
        str | None,
        Meta(description="The claim that says of which tenant; ``None``: all are one."),
    ] = None
    scopes_claim: Annotated[
        str,
        Meta(description="The claim with the scopes, as a list or divided by spaces."),
    ] = "scope"
    agents: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Scopes needed, by agent."),
    ] = {}
    operations: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Scopes needed, by operation (``CancelTask``)."),
    ] = {}
    audit_file: Annotated[
        str | None,
        Meta(description="Who did what, one JSON object a line."),
    ] = None
    signing_keys: Annotated[
        tuple[str, ...],
        Meta(
            description="PEM files of private keys that sign the cards, ``file`` or ``file=kid``."
        ),
    ] = ()
    signing_sdk_form: Annotated[
        bool,
        Meta(
            description="Whether they also sign the official SDK's canonical form, for clients "
            "that "
            "verify with the SDK. It does not protect empty members of a card, such as a "
            "requirement without scopes."
        ),
    ] = False

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in SECRET and value else repr(value)}"
            for name in self.__struct_fields__
            if (value := getattr(self, name)) != _default(name)
        )
        return f"AuthSettings({', '.join(shown)})"


def _default(name: str) -> Any:
    return getattr(_DEFAULTS, name)


_DEFAULTS = AuthSettings()
