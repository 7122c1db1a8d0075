"""What tokens say, however oddly: taken as nobody defined it, it is refused or means nothing."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from greenroom.auth import (
    Call,
    Claims,
    Introspection,
    InvalidCredential,
    Security,
    StaticToken,
    enterprise_tokens,
    oauth2,
    open_id_connect,
    static_tokens,
)
from greenroom.protocol import operations as ops
from greenroom.protocol.errors import UnavailableError
from greenroom.settings.auth import AuthSettings
from greenroom.settings.security import secure
from tests.runtime.security.serving import serving
from tests.support.certificates import Authority
from tests.support.clients import BINDINGS, said, send
from tests.support.issuer import Issuer
from tests.support.provider import CLIENT

pytestmark = pytest.mark.anyio
every_binding = pytest.mark.parametrize("binding", BINDINGS)
NOW = time.time()  # of what lies far off only


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def call(token: str) -> Call:
    return Call(binding="JSONRPC", headers={"authorization": f"Bearer {token}"})


def introspection(provider: Issuer, **more: Any) -> Introspection:
    name, secret = CLIENT
    url = f"{provider.url}/introspect"
    return Introspection(url, client_id=name, client_secret=secret, **more)


ODD: list[Any] = [7, 1.5, True, {"desk:admin": 1}, [["desk:admin"]], None]


@every_binding
async def test_scopes_of_an_odd_shape_are_none(binding: str, issuer: Issuer) -> None:
    signed = Security(open_id_connect(issuer.url, audience="agents"))
    opaque = Security(enterprise_tokens(introspection(issuer), issuer="platform"))
    for name in ("scope", "scp"):
        async with serving(signed) as server:
            for scopes in ODD:
                token = bearer(issuer.token(**{name: scopes}))
                assert (await server.call(binding, ops.SEND, send("x"), token)).outcome == "ok"
                answer = await server.call(binding, ops.SEND, send("x", skill="admin"), token)
                assert answer.outcome == "PERMISSION_DENIED"
        async with serving(opaque) as server:
            for number, scopes in enumerate(ODD):
                token = bearer(issuer.opaque(f"{name}-{number}", sub="ada", **{name: scopes}))
                answer = await server.call(binding, ops.SEND, send("x", skill="admin"), token)
                assert answer.outcome == "PERMISSION_DENIED"


TIMES: dict[str, dict[str, Any]] = {
    "exp as text": {"exp": "9999999999"},
    "exp past": {"exp": NOW - 60},
    "exp past as text": {"exp": "1000"},
    "exp huge": {"exp": 10**400},
    "exp true": {"exp": True},
    "exp below zero": {"exp": -1},
    "exp in a list": {"exp": [NOW + 600]},
    "nbf to come": {"nbf": NOW + 3600},
    "nbf as text": {"nbf": "0"},
    "iat to come": {"iat": NOW + 3600},
    "iat huge": {"iat": 10**400},
}


@every_binding
async def test_times_that_an_introspection_tells(binding: str, issuer: Issuer) -> None:
    security = Security(enterprise_tokens(introspection(issuer), issuer="platform"))
    async with serving(security) as server:
        for name, told in TIMES.items():
            token = issuer.opaque(f"times-{name.replace(' ', '-')}", sub="ada", **told)
            answer = await server.call(binding, ops.SEND, send("x"), bearer(token))
            assert answer.outcome == "UNAUTHENTICATED", name
        fine = {"exp": NOW + 3600, "nbf": NOW - 1, "iat": None}
        token = issuer.opaque("times-fine", sub="ada", **fine)
        assert (await server.call(binding, ops.SEND, send("x"), bearer(token))).outcome == "ok"


async def test_times_that_a_verifier_of_your_own_tells() -> None:
    told = {"past": NOW - 60, "text": "1", "huge": 10**400, "true": True, "good": NOW + 3600}

    class Verifier:
        async def verify(self, token: str, now: float) -> dict[str, Any]:
            return {"sub": "ada", "exp": told[token]}

    scheme = enterprise_tokens(Verifier(), issuer="platform")
    for name in ("past", "text", "huge", "true"):
        with pytest.raises(InvalidCredential):
            await scheme.verify(call(name), time.time())
    found = await scheme.verify(call("good"), time.time())
    assert found is not None
    assert found.expires == told["good"]
    assert scheme.known(call("good"), NOW + 3601) is None


@every_binding
async def test_whom_an_introspection_speaks_of(binding: str, issuer: Issuer) -> None:
    verifier = introspection(issuer, issuer="https://login.example", audience="agents")
    async with serving(Security(enterprise_tokens(verifier, issuer="platform"))) as server:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"iss": "https://login.example", "aud": "agents"}, "ok"),
            ({"iss": "https://login.example/", "aud": ["agents", 7]}, "ok"),
            ({"iss": "https://login.example//", "aud": "agents"}, "UNAUTHENTICATED"),
            ({"iss": "https://evil.example", "aud": "agents"}, "UNAUTHENTICATED"),
            ({"iss": ["https://login.example"], "aud": "agents"}, "UNAUTHENTICATED"),
            ({"aud": "agents"}, "UNAUTHENTICATED"),
            ({"iss": "https://login.example", "aud": {"agents": 1}}, "UNAUTHENTICATED"),
        ]
        for number, (told, outcome) in enumerate(cases):
            token = issuer.opaque(f"whom-{number}", sub="ada", **told)
            answer = await server.call(binding, ops.SEND, send("x"), bearer(token))
            assert answer.outcome == outcome, told


@pytest.mark.parametrize("fixed", [None, "platform"])
async def test_whose_issuer_an_owner_has(fixed: str | None, issuer: Issuer) -> None:
    """One endpoint may know the tokens of many issuers, each with an Ada of its own."""
    for scheme in (
        enterprise_tokens(introspection(issuer), issuer=fixed, platform="here"),
        oauth2(token_url="here", scopes={}, issuer=fixed, introspection=introspection(issuer)),
    ):
        owners = []
        for number, told in enumerate(({"iss": "https://a"}, {"iss": "https://b"}, {})):
            token = issuer.opaque(f"one-of-{number}", sub="ada", **told)
            found = await scheme.verify(call(token), time.time())
            assert found is not None
            owners.append(found.issuer)
        assert owners == ([fixed] * 3 if fixed else ["https://a", "https://b", "here"])
    with pytest.raises(InvalidCredential, match="no text"):
        await enterprise_tokens(introspection(issuer)).verify(
            call(issuer.opaque("odd", sub="ada", iss=["https://a"])), time.time()
        )


async def test_what_an_introspection_calls_no_access_token(issuer: Issuer) -> None:
    scheme = enterprise_tokens(introspection(issuer), issuer="platform")
    others: list[dict[str, Any]] = [
        {"active": "false"},
        {"typ": "Refresh"},
        {"token_type": "refresh_token"},
        {"token_use": "id"},
        {"typ": "ID"},
        {"at_hash": "x"},
    ]
    for number, told in enumerate(others):
        token = issuer.opaque(f"other-{number}", sub="ada", **told)
        with pytest.raises(InvalidCredential, match=r"no access token|not active"):
            await scheme.verify(call(token), time.time())
    token = issuer.opaque("access", sub="ada", typ="Bearer", token_type="Bearer")
    assert await scheme.verify(call(token), time.time()) is not None


async def test_a_token_is_known_however_its_header_is_spelt() -> None:
    asked = []

    class Counting:
        async def verify(self, token: str, now: float) -> dict[str, Any]:
            asked.append(token)
            return {"sub": "ada"}

    scheme = enterprise_tokens(Counting())
    for header in ("Bearer x", "bearer x", "Bearer   x", "BEARER x "):
        spelt = Call(binding="TEST", headers={"authorization": header})
        assert await scheme.verify(spelt, 1.0) is not None
        assert scheme.known(spelt, 1.0) is not None
    assert asked == ["x"]


@pytest.mark.parametrize("ending", ["//", "///", "/x", "?", "/?"])
async def test_an_issuer_has_one_slash_at_its_end_or_none(ending: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    with pytest.raises(InvalidCredential, match="another issuer"):
        await scheme.verify(call(issuer.token(iss=issuer.url + ending)), time.time())


# --- what else the same keys sign ---------------------------------------------------------------

OTHERS: dict[str, dict[str, Any]] = {
    "logout token": {"header": {"typ": "logout+jwt"}},
    "security event": {"header": {"typ": "secevent+jwt"}},
    "id token by its header": {"header": {"typ": "id+jwt"}},
    "a type that is no text": {"header": {"typ": 7}},
    "logout token without a type": {"events": {"http://schemas.openid.net/event": {}}},
    "id token with a hash of the access token": {"at_hash": "x"},
    "id token with a hash of the code": {"c_hash": "x"},
    "refresh token": {"typ": "Refresh"},
    "id token by its claim": {"typ": "ID"},
}


@pytest.mark.parametrize("name", OTHERS)
async def test_what_is_no_access_token(name: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    with pytest.raises(InvalidCredential, match="no access token"):
        await scheme.verify(call(issuer.token(**OTHERS[name])), time.time())


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "application/at+JWT", "application/jwt"])
async def test_types_of_access_tokens(kind: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    token = issuer.token(header={"typ": kind}, typ="Bearer")
    assert await scheme.verify(call(token), time.time())


async def test_types_that_are_configured(issuer: Issuer) -> None:
    """An issuer that keeps to RFC 9068 marks its access tokens; one of old may mark none."""
    given: dict[str, Any] = {"oidc_issuer": issuer.url, "oidc_audience": ("agents",)}
    only = secure(AuthSettings(**given, token_types=("at+jwt",))).schemes[0]
    older = secure(AuthSettings(**given, token_types=("none", "acme+jwt"))).schemes[0]
    now = time.time()
    for scheme, kind, fits in (
        (only, "at+jwt", True),
        (only, "application/AT+JWT", True),
        (only, "JWT", False),
        (only, "", False),
        (older, "", True),
        (older, "acme+jwt", True),
        (older, "at+jwt", False),
    ):
        token = call(issuer.token(header={"typ": kind}))
        if fits:
            assert await scheme.verify(token, now)
        else:
            with pytest.raises(InvalidCredential, match="no access token"):
                await scheme.verify(token, now)


async def test_an_introspection_that_does_not_come_to_its_end() -> None:
    async def begin(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    url = f"http://127.0.0.1:{port}/"
    asking = Introspection(url, client_id="a", client_secret="b", timeout=0.2)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, begin)
        with pytest.raises(UnavailableError) as refusal:
            await asking.verify("x", time.time())
        assert refusal.value.headers["Retry-After"]
        group.cancel_scope.cancel()


async def test_whoever_leaves_an_introspection_leaves_its_place() -> None:
    asked = anyio.Event()
    body = b'{"active": true, "sub": "ada"}'

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            received = await stream.receive()
            while b"token=" not in received:
                received += await stream.receive()
            if b"token=slow" in received:
                asked.set()
                await anyio.sleep_forever()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    asking = Introspection(f"http://127.0.0.1:{port}/", client_id="a", client_secret="b", at_once=1)
    scheme = enterprise_tokens(asking, issuer="platform")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        async with anyio.create_task_group() as callers:
            callers.start_soon(scheme.verify, call("slow"), time.time())
            await asked.wait()
            callers.cancel_scope.cancel()
        with anyio.fail_after(10):
            found = await scheme.verify(call("quick"), time.time())
        group.cancel_scope.cancel()
    assert found is not None
    assert found.subject == "ada"


@every_binding
@pytest.mark.parametrize("opaque", [True, False])
async def test_a_token_that_is_bound_to_a_certificate(
    binding: str, opaque: bool, issuer: Issuer, tmp_path: Path
) -> None:
    """RFC 8705 section 3: of use on connections with that certificate only, also when it was seen
    on one of them before."""
    authority = Authority(tmp_path)
    hers, his = authority.leaf("ada@example.org"), authority.leaf("bob@example.org")
    pem = hers.cert_chain_pems[0].bytes().decode()
    body = pem.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    thumbprint = urlsafe_b64encode(sha256(b64decode(body)).digest()).rstrip(b"=").decode()
    bound: dict[str, Any] = {"cnf": {"x5t#S256": thumbprint}}
    scheme = (
        enterprise_tokens(introspection(issuer), issuer="platform")
        if opaque
        else open_id_connect(issuer.url, audience="agents")
    )
    async with serving(Security(scheme), listen=authority.listen()) as server:

        async def ask(**claims: Any) -> str:
            token = issuer.token(**claims)
            if opaque:
                issuer.opaque(token, sub="ada", **claims)
            return (await server.call(binding, ops.SEND, send("x"), bearer(token))).outcome

        token = issuer.opaque("bound", sub="ada", **bound) if opaque else issuer.token(**bound)
        for leaf, outcome in ((his, "UNAUTHENTICATED"), (hers, "ok"), (hers, "ok"),
                              (his, "UNAUTHENTICATED"), (hers, "ok")):  # fmt: skip
            authority.show(server, leaf)
            answer = await server.call(binding, ops.SEND, send("x"), bearer(token))
            assert answer.outcome == outcome
        assert await ask(cnf={"jkt": "x"}) == "UNAUTHENTICATED"
        assert await ask(cnf={"x5t#S256": thumbprint, "jkt": "x"}) == "UNAUTHENTICATED"
        assert await ask(cnf="x") == "UNAUTHENTICATED"
        assert await ask(cnf=None) == "ok"


@every_binding
async def test_a_bound_token_without_any_certificate(binding: str, issuer: Issuer) -> None:
    security = Security(open_id_connect(issuer.url, audience="agents"))
    async with serving(security) as server:
        token = issuer.token(cnf={"x5t#S256": b64encode(b"x").decode()})
        answer = await server.call(binding, ops.SEND, send("x"), bearer(token))
        assert answer.outcome == "UNAUTHENTICATED"


# --- tenants ------------------------------------------------------------------------------------


@every_binding
async def test_static_tokens_with_and_without_a_tenant(binding: str) -> None:
    tokens = [
        StaticToken.of("ada", "a" * 20, tenant="acme"),
        StaticToken.of("bob", "b" * 20),
    ]
    async with serving(Security(static_tokens(tokens))) as server:
        for token, who in (("a" * 20, "acme|token#ada"), ("b" * 20, "|token#bob")):
            assert said(await server.call(binding, ops.SEND, send("whoami"), bearer(token))) == who


async def test_callers_without_a_tenant(issuer: Issuer) -> None:
    strict = open_id_connect(issuer.url, audience="agents", claims=Claims(tenant="tid"))
    for claims in ({}, {"tid": ""}, {"tid": 7}):
        with pytest.raises(InvalidCredential, match="no tid"):
            await strict.verify(call(issuer.token(**claims)), time.time())
    lenient = Claims(tenant="tid", tenantless=True)
    scheme = open_id_connect(issuer.url, audience="agents", claims=lenient)
    for claims in ({}, {"tid": ""}):
        found = await scheme.verify(call(issuer.token(**claims)), time.time())
        assert found is not None
        assert found.tenant == ""
    with pytest.raises(InvalidCredential, match="no tid"):
        await scheme.verify(call(issuer.token(tid=7)), time.time())
