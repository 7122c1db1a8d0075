"""Security from settings: the ``[greenroom.auth]`` table, made into schemes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

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

    require: tuple[str, ...] = ()
    """Alternatives, each ``scheme`` or ``scheme+scheme``, scopes behind ``=``
    (``oauth2=chat:read chat:write+mtls``). Without it any scheme that is on suffices."""
    anonymous: bool | None = None
    """``False`` refuses to start without a scheme; ``True`` refuses to start with one."""
    token: str | None = None
    """A static bearer token (also ``AUTH_TOKEN``), or ``sha256:<hex>`` of it."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """Several, by the name of their holder."""
    token_tenants: Mapping[str, str] = field(default_factory=dict)
    """The tenants of their holders; that of ``auth.token`` is called ``token``."""
    token_scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The scopes of their holders."""
    keys_file: str | None = None
    """API keys, made by ``greenroom keys create OWNER``."""
    key_name: str = "X-API-Key"
    """The header field, query parameter or cookie that has the key."""
    key_in: Literal["header", "query", "cookie"] = "header"
    """``header``, ``query`` or ``cookie``: where the key is."""
    users: Mapping[str, str] = field(default_factory=dict)
    """HTTP Basic: what ``greenroom keys hash`` prints for a password, by user name."""
    user_tenants: Mapping[str, str] = field(default_factory=dict)
    """Their tenants."""
    user_scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Their scopes."""
    oidc_issuer: str | None = None
    """OpenID Connect: the issuer's address, as its tokens have it in ``iss``."""
    oidc_audience: tuple[str, ...] = ()
    """What the issuer calls this server: one of them must be in ``aud``."""
    oidc_jwks_url: str | None = None
    """Only for issuers without a discovery document."""
    oauth_token_url: str | None = None
    """OAuth 2: where clients get tokens, for the card."""
    oauth_authorization_url: str | None = None
    """Where users consent (the authorization code flow), for the card."""
    oauth_scopes: Mapping[str, str] = field(default_factory=dict)
    """Scopes and their descriptions, for the card."""
    oauth_issuer: str | None = None
    """The issuer of tokens, as they have it in ``iss``."""
    oauth_audience: tuple[str, ...] = ()
    """What the issuer calls this server: one of them must be in ``aud``."""
    oauth_jwks_url: str | None = None
    """The issuer's keys; without it they are found by the issuer's discovery document."""
    oauth_introspection_url: str | None = None
    """For opaque tokens: the endpoint that knows them (RFC 7662)."""
    oauth_client_id: str = ""
    """Who this server is to that endpoint."""
    oauth_client_secret: str = ""
    """Its password there."""
    oauth_client_auth: Literal["basic", "post"] = "basic"
    """How it shows them: ``basic``, in a header, or ``post``, in the form."""
    introspection_url: str | None = None
    """Enterprise tokens: the endpoint that knows them (RFC 7662)."""
    introspection_client_id: str = ""
    """Who this server is to that endpoint."""
    introspection_client_secret: str = ""
    """Its password there."""
    introspection_client_auth: Literal["basic", "post"] = "basic"
    """How it shows them: ``basic``, in a header, or ``post``, in the form."""
    introspection_audience: tuple[str, ...] = ()
    """What the platform calls this server: one of them must be in the answer's ``aud``."""
    introspection_issuer: str | None = None
    """What the answer's ``iss`` must be; also the issuer that owners are told apart by."""
    verifier: str | None = None
    """Enterprise tokens of a platform with its own API: ``module:attribute`` of a TokenVerifier."""
    mtls: Literal["off", "direct", "forwarded"] = "off"
    """``direct``: certificates of TLS connections to this server (``client_ca``); ``forwarded``:
    also ``x-forwarded-client-cert`` of ``http.trusted_proxies``."""
    mtls_identity: Literal["spiffe", "uri", "dns", "email", "subject", "cn", "fingerprint"] = (
        "spiffe"
    )
    """Which name in the certificate says who calls."""
    mtls_allow: tuple[str, ...] = ()
    """Patterns of names that may call (``spiffe://example.org/agents/*``); none: all."""
    mtls_tenants: Mapping[str, str] = field(default_factory=dict)
    """Tenants by such patterns; the first that fits counts."""
    mtls_scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Scopes by such patterns, of all that fit."""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA")
    """Signatures of tokens that are taken; asymmetric ones only."""
    token_types: tuple[str, ...] = ("none", "JWT", "at+jwt", "JOSE")
    """What ``typ`` in a token's header may be; ``none`` takes those that name no type. ``at+jwt``
    alone is for issuers that keep to RFC 9068."""
    leeway: NotNegative = 30.0
    """Seconds that clocks may differ."""
    subject_claim: str = "sub"
    """The claim that says who calls; dots reach into objects."""
    tenant_claim: str | None = None
    """The claim that says of which tenant; ``None``: all are one."""
    scopes_claim: str = "scope"
    """The claim with the scopes, as a list or divided by spaces."""
    agents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Scopes needed, by agent."""
    operations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Scopes needed, by operation (``CancelTask``)."""
    audit_file: str | None = None
    """Who did what, one JSON object a line."""
    signing_keys: tuple[str, ...] = ()
    """PEM files of private keys that sign the cards, ``file`` or ``file=kid``."""
    signing_sdk_form: bool = False
    """Whether they also sign the official SDK's canonical form, for clients that verify with the
    SDK. It does not protect empty members of a card, such as a requirement without scopes."""

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
