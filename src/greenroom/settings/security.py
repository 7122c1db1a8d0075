"""Security from settings: the ``[greenroom.auth]`` table, made into schemes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, field

from ..runtime.settings.bounds import NotNegative
from ..runtime.settings.described import described
from .auth_checks import check, named, shown_name, static_tokens_of

if TYPE_CHECKING:
    from ..runtime.security.policy import Security
    from ..runtime.security.schemes.combination import Requirement
    from ..runtime.security.schemes.ports import Claims, Scheme
    from ..runtime.security.schemes.static_tokens import StaticToken
    from .settings import Settings

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
    ] = field(default_factory=dict)
    token_tenants: Annotated[
        Mapping[str, str],
        Meta(
            description="The tenants of their holders; that of ``auth.token`` is called ``token``."
        ),
    ] = field(default_factory=dict)
    token_scopes: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="The scopes of their holders."),
    ] = field(default_factory=dict)
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
    ] = field(default_factory=dict)
    user_tenants: Annotated[
        Mapping[str, str],
        Meta(description="Their tenants."),
    ] = field(default_factory=dict)
    user_scopes: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Their scopes."),
    ] = field(default_factory=dict)
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
    ] = field(default_factory=dict)
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
    ] = field(default_factory=dict)
    mtls_scopes: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Scopes by such patterns, of all that fit."),
    ] = field(default_factory=dict)
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
    ] = field(default_factory=dict)
    operations: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Scopes needed, by operation (``CancelTask``)."),
    ] = field(default_factory=dict)
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


def secure(settings: AuthSettings, public_url: str | None = None) -> Security:
    """Return what the settings ask for. Raises ValueError, which says what to change."""
    from ..protocol.jose import SigningKey
    from ..runtime.security.policy import Policy, Security
    from ..stores.audit_file import FileAudit

    check(settings)
    schemes = _schemes(settings)
    if settings.anonymous is False and not schemes:
        raise ValueError("auth.anonymous is false, but no security scheme is set up")
    if settings.anonymous and schemes:
        raise ValueError(
            f"auth.anonymous is true, but {schemes[0].name} is set up: choose one of them"
        )
    signing = []
    for entry in settings.signing_keys:
        path, _, kid = entry.partition("=")
        jku = f"{public_url.rstrip('/')}/.well-known/jwks.json" if public_url else None
        try:
            pem = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(
                f"auth.signing_keys: {path} cannot be read: {error.strerror}"
            ) from None
        signing.append(SigningKey(pem, kid=kid, jku=jku, sdk_form=settings.signing_sdk_form))
    audit = None
    if settings.audit_file:
        try:
            audit = FileAudit(settings.audit_file)
        except OSError as error:
            raise ValueError(
                f"auth.audit_file: {settings.audit_file} cannot be opened: {error.strerror}"
            ) from None
    return Security(
        *schemes,
        require=[_requirement(one) for one in settings.require] or None,
        policy=Policy(agents=settings.agents, operations=settings.operations),
        audit=audit,
        signing=signing,
    )


def _requirement(text: str) -> Requirement:
    found: dict[str, Sequence[str]] = {}
    for one in text.split("+"):
        name, _, scopes = one.partition("=")
        if (name := name.strip()) in found:
            raise ValueError(f"auth.require: {text!r} names {name!r} twice: write its scopes once")
        found[name] = tuple(scopes.split())
    return found


def _schemes(settings: AuthSettings) -> list[Scheme]:
    from .. import auth

    s, found = settings, list[auth.Scheme]()
    claims = auth.Claims(subject=s.subject_claim, tenant=s.tenant_claim, scopes=s.scopes_claim)
    if tokens := list(_tokens(s)):
        found.append(auth.static_tokens(tokens))
    if s.keys_file:
        found.append(auth.ApiKeys(Path(s.keys_file), field=s.key_name, location=s.key_in))
    if s.users:
        with named("auth.users"):
            found.append(auth.Basic(s.users, tenants=s.user_tenants, scopes=s.user_scopes))
    if s.oidc_issuer:
        if not s.oidc_audience:
            raise ValueError("auth.oidc_audience: say what the issuer calls this server")
        with named("auth.oidc_issuer"):
            found.append(
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
            found.append(_oauth2(s, claims))
    if s.introspection_url or s.verifier:
        with named("auth.introspection_url" if s.introspection_url else "auth.verifier"):
            found.append(_enterprise(s, claims))
    if s.mtls != "off":
        found.append(
            auth.MutualTls(
                identity=s.mtls_identity,
                allow=s.mtls_allow or None,
                tenants=s.mtls_tenants,
                scopes=s.mtls_scopes,
                forwarded=s.mtls == "forwarded",
            )
        )
    return found


def _tokens(s: AuthSettings) -> Iterator[StaticToken]:
    from ..auth import StaticToken

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
    from .. import auth

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
    from .. import auth

    if s.verifier:
        from ..loading import load_object

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


def check_transport(security: Security, settings: Settings) -> None:
    """Raise ValueError where a scheme could never be met as this server listens."""
    from ..runtime.security.schemes.mutual_tls import MutualTls

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
