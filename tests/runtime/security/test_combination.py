"""Several schemes: which of them says who calls, and what each of them sees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from greenroom import Agent, TaskContext, asgi
from greenroom.auth import (
    ApiKeys,
    Call,
    Introspection,
    InvalidCredential,
    Policy,
    Security,
    StaticToken,
    enterprise_tokens,
    new_key,
    open_id_connect,
    static_tokens,
)
from greenroom.protocol import jose
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.errors import UnauthenticatedError
from greenroom.runtime.security.schemes.combination import Combination
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, said, send
from tests.support.issuer import Issuer
from tests.support.provider import CLIENT

pytestmark = pytest.mark.anyio
TOKEN = "a static token of some length"
every_binding = pytest.mark.parametrize("binding", BINDINGS)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def call(**headers: str) -> Call:
    return Call(binding="JSONRPC", headers=headers)


@every_binding
async def test_who_owns_a_task_does_not_depend_on_what_is_remembered(
    binding: str, issuer: Issuer
) -> None:
    key, text = new_key("machine", now=time.time())
    oidc = open_id_connect(issuer.url, audience="agents")
    async with serving(Security(oidc, ApiKeys([key]))) as server:

        async def owner(**headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return said(await server.call(binding, ops.SEND, send("whoami"), named))

        token = f"Bearer {issuer.token()}"
        assert await owner(X_API_Key=text) == "|apiKey#machine"
        for _ in range(2):  # the key is known by now, the token is not, then it is, then not
            assert await owner(Authorization=token, X_API_Key=text) == f"|{issuer.url}#ada"
            assert await owner(Authorization=token, X_API_Key=text) == f"|{issuer.url}#ada"
            oidc.forget()
        for wrong in (issuer.token(aud="others"), "nobody's"):
            for _ in range(2):
                asked = {"Authorization": f"Bearer {wrong}", "X_API_Key": text}
                assert await owner(**asked) == "|apiKey#machine"


async def test_what_did_not_hold_is_not_looked_at_each_time(issuer: Issuer) -> None:
    """Who is known never waits, also with a credential that is no good beside the good one."""
    key, text = new_key("machine", now=time.time())
    both = Combination([open_id_connect(issuer.url, audience="agents"), ApiKeys([key])])
    asked = call(authorization=f"Bearer {issuer.token(aud='others')}", **{"x-api-key": text})
    now = time.time()
    assert both.known(asked, now) is None
    found = await both.authenticate(asked, now)
    assert both.known(asked, now) == found
    assert both.known(asked, now + 6) is None  # its time may have come
    with pytest.raises(Exception, match="refused"):
        await both.authenticate(call(authorization="Bearer x"), now)
    assert both.known(call(authorization="Bearer x"), now) is None


async def test_what_was_refused_beside_one_certificate_may_hold_beside_another() -> None:
    certificate, now = b"hers", time.time()
    thumbprint = jose.b64(sha256(certificate).digest())

    class Binding:
        async def verify(self, token: str, now: float) -> Mapping[str, Any]:
            return {"sub": "ada", "cnf": {"x5t#S256": thumbprint}}

    key, text = new_key("machine", now=now)
    both = Combination([enterprise_tokens(Binding(), issuer="platform", keep=1), ApiKeys([key])])
    asked = call(authorization="Bearer x", **{"x-api-key": text})
    assert (await both.authenticate(asked, now)).subject == "machine"
    hers = Call(binding="JSONRPC", headers=asked.headers, certificate=certificate)
    assert both.known(hers, now + 2) is None
    assert (await both.authenticate(hers, now + 2)).subject == "ada"


async def test_who_knows_a_credential_says_what_is_wrong_with_it(issuer: Issuer) -> None:
    name, secret = CLIENT
    asking = Introspection(
        f"{issuer.url}/introspect", client_id=name, client_secret=secret, issuer="https://mine"
    )
    both = Combination([enterprise_tokens(asking, issuer="https://mine"), static_tokens(TOKEN)])
    others = call(authorization=f"Bearer {issuer.opaque('of-others', iss='https://theirs')}")
    past = call(authorization=f"Bearer {issuer.opaque('past', iss='https://mine', exp=1)}")
    for _ in range(2):  # asked, and remembered
        with pytest.raises(UnauthenticatedError, match="another issuer; it is not known here"):
            await both.authenticate(others, time.time())
        with pytest.raises(UnauthenticatedError, match=r"refused: it has expired$") as refusal:
            await both.authenticate(past, time.time())
        assert refusal.value.headers["WWW-Authenticate"].count("invalid_token") == 1


@every_binding
async def test_scopes_that_an_alternative_requires(binding: str, issuer: Issuer) -> None:
    """They count for credentials that were seen before, too."""
    key, text = new_key("machine", now=time.time())
    security = Security(
        open_id_connect(issuer.url, audience="agents"),
        ApiKeys([key]),
        require=[{"oidc": ["chat"]}, {"apiKey": []}],
    )
    async with serving(security) as server:
        few, enough = bearer(issuer.token(scope="x")), bearer(issuer.token(scope="x chat"))
        for _ in range(2):
            answer = await server.call(binding, ops.SEND, send("whoami"), few)
            assert answer.outcome == "PERMISSION_DENIED"
            both = {**few, "X-API-Key": text}
            found = await server.call(binding, ops.SEND, send("whoami"), both)
            assert said(found) == "|apiKey#machine"
            found = await server.call(
                binding, ops.SEND, send("whoami"), {**enough, "X-API-Key": text}
            )
            assert said(found) == f"|{issuer.url}#ada"


@every_binding
async def test_all_schemes_of_an_alternative_count(binding: str) -> None:
    key, text = new_key("machine", now=time.time(), scopes=["desk:admin"])
    security = Security(
        static_tokens({"ada": TOKEN}),
        ApiKeys([key]),
        require=[{"token": [], "apiKey": []}],
        policy=Policy(agents={"desk": ["desk:admin"]}),
    )
    async with serving(security) as server:
        both = {**bearer(TOKEN), "X-API-Key": text}
        for _ in range(2):
            found = await server.call(binding, ops.SEND, send("x", skill="admin"), both)
            assert said(found).endswith("done as admin")
            alone = await server.call(binding, ops.SEND, send("x"), bearer(TOKEN))
            assert alone.outcome == "UNAUTHENTICATED"


@every_binding
async def test_scopes_are_those_of_the_scheme_that_needs_them(binding: str) -> None:
    """The second of two needs its own, whatever the first has, also when both are known."""
    now = time.time()
    good, good_text = new_key("good", now=now, scopes=["desk:use"])
    poor, poor_text = new_key("poor", now=now)
    token = StaticToken.of("ada", TOKEN, scopes=["desk:use"])
    security = Security(
        static_tokens([token]),
        ApiKeys([good, poor]),
        require=[{"token": [], "apiKey": ["desk:use"]}],
    )
    async with serving(security) as server:
        for _ in range(2):
            for text, outcome in ((good_text, "ok"), (poor_text, "PERMISSION_DENIED")):
                headers = {**bearer(TOKEN), "X-API-Key": text}
                answer = await server.call(binding, ops.SEND, send("x"), headers)
                assert answer.outcome == outcome


async def test_an_alternative_ends_with_its_first_credential() -> None:
    now = time.time()
    key, text = new_key("machine", now=now, lifetime=100)
    both = Combination(
        [static_tokens({"ada": TOKEN}), ApiKeys([key])], [{"token": [], "apiKey": []}]
    )
    asked = call(authorization=f"Bearer {TOKEN}", **{"x-api-key": text})
    for found in (await both.authenticate(asked, now), both.known(asked, now)):
        assert found is not None
        assert found.expires == key.expires
        assert found.proven == {"token": frozenset(), "apiKey": frozenset()}


@every_binding
async def test_an_alternative_that_is_down_takes_no_other_with_it(binding: str) -> None:
    key, text = new_key("machine", now=time.time())
    nowhere = Introspection("http://127.0.0.1:1/", client_id="a", client_secret="b")
    security = Security(
        enterprise_tokens(nowhere, issuer="platform"), static_tokens({"ada": TOKEN}), ApiKeys([key])
    )
    async with serving(security) as server:
        for _ in range(2):
            found = await server.call(binding, ops.SEND, send("whoami"), bearer(TOKEN))
            assert said(found) == "|token#ada"
            beside = {**bearer("of nobody we know"), "X-API-Key": text}
            found = await server.call(binding, ops.SEND, send("whoami"), beside)
            assert said(found) == "|apiKey#machine"
        answer = await server.call(binding, ops.SEND, send("x"), bearer("of nobody we know"))
        assert answer.status == ("UNAVAILABLE" if binding == "grpc" else 503)
        assert int(answer.headers["retry-after"]) > 0


@every_binding
async def test_an_issuer_that_is_down_takes_no_other_with_it(binding: str, issuer: Issuer) -> None:
    """Whoever has its token may have a good one; whoever has another is refused as ever."""
    key, text = new_key("machine", now=time.time())
    away = "http://127.0.0.1:1"
    token = issuer.token(iss=away)
    security = Security(
        open_id_connect(away, audience="agents"), static_tokens({"ada": TOKEN}), ApiKeys([key])
    )
    async with serving(security) as server:
        for headers, outcome in (
            ({"X-API-Key": text}, "ok"),
            ({**bearer(token), "X-API-Key": text}, "ok"),
            (bearer(TOKEN), "ok"),
            (bearer(token), "UNAVAILABLE"),
            ({**bearer(token), "X-API-Key": "of nobody"}, "UNAVAILABLE"),
            (bearer("of nobody we know"), "UNAUTHENTICATED"),
            (bearer(issuer.token()), "UNAUTHENTICATED"),
        ):
            for _ in range(2):
                answer = await server.call(binding, ops.SEND, send("x"), headers)
                assert answer.outcome == outcome, (headers, answer)
                assert ("retry-after" in answer.headers) == (outcome == "UNAVAILABLE")


class Platform:
    """Knows no token, and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        self.seen.append(token)
        if token.startswith("opaque"):
            return {"sub": "ada"}
        raise InvalidCredential("it is not known")


@every_binding
@pytest.mark.parametrize("first", [True, False])
async def test_a_token_is_shown_to_nobody_but_its_issuer(
    binding: str, first: bool, issuer: Issuer
) -> None:
    platform = Platform()
    schemes = [
        enterprise_tokens(platform, issuer="platform"),
        open_id_connect(issuer.url, audience="agents"),
    ]
    async with serving(Security(*(schemes if first else reversed(schemes)))) as server:
        for token, outcome in (
            (issuer.token(), "ok"),
            (issuer.token(exp=time.time() - 3600), "UNAUTHENTICATED"),
            (issuer.token(aud="others"), "UNAUTHENTICATED"),
            (issuer.token(forge="key"), "UNAUTHENTICATED"),
        ):
            for _ in range(2):
                answer = await server.call(binding, ops.SEND, send("x"), bearer(token))
                assert answer.outcome == outcome
        assert platform.seen == []
        others = issuer.token(iss="https://elsewhere.example")
        for token, outcome in (("opaque", "ok"), (others, "UNAUTHENTICATED")):
            answer = await server.call(binding, ops.SEND, send("x"), bearer(token))
            assert answer.outcome == outcome
        assert platform.seen == ["opaque", others]


async def test_unless_it_is_to_be_judged_by_both(issuer: Issuer) -> None:
    class Revoked(Platform):
        async def verify(self, token: str, now: float) -> Mapping[str, Any]:
            self.seen.append(token)
            return {"sub": "ada"}

    platform = Revoked()
    security = Security(
        open_id_connect(issuer.url, audience="agents"),
        enterprise_tokens(platform, issuer="platform"),
        require=[{"oidc": [], "enterprise": []}],
    )
    token = issuer.token()
    async with serving(security, with_grpc=False) as server:
        found = await server.call("rest", ops.SEND, send("whoami"), bearer(token))
        assert said(found) == f"|{issuer.url}#ada"
    assert platform.seen == [token]


# --- skills that want more ----------------------------------------------------------------------


def paying(**wanted: list[str]) -> Agent:
    """An agent whose skill asks for schemes."""
    schemes = {name: t.StringList(list=scopes) for name, scopes in wanted.items()}
    skill = t.AgentSkill(
        id="pay", name="Pay", description="", tags=["x"],
        security_requirements=[t.SecurityRequirement(schemes=schemes)],
    )  # fmt: skip
    agent = Agent("Desk", skills=[skill])

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        return "paid"

    return agent


@every_binding
async def test_a_skill_that_wants_two_schemes(binding: str) -> None:
    key, text = new_key("machine", now=time.time(), scopes=["pay"])
    security = Security(
        static_tokens({"ada": TOKEN}),
        ApiKeys([key]),
        require=[{"token": [], "apiKey": []}, {"token": []}, {"apiKey": []}],
    )
    both = {**bearer(TOKEN), "X-API-Key": text}
    async with serving(security, paying(token=[], apiKey=["pay"])) as server:
        for headers, outcome in (
            (both, "ok"),
            (bearer(TOKEN), "PERMISSION_DENIED"),
            ({"X-API-Key": text}, "PERMISSION_DENIED"),
        ):
            answer = await server.call(binding, ops.SEND, send("x", skill="pay"), headers)
            assert answer.outcome == outcome
    # A scope of one credential is none of the other's.
    async with serving(security, paying(token=["pay"], apiKey=[])) as server:
        answer = await server.call(binding, ops.SEND, send("x", skill="pay"), both)
        assert answer.outcome == "PERMISSION_DENIED"


@every_binding
async def test_a_skill_that_wants_the_second_of_two(binding: str) -> None:
    key, text = new_key("machine", now=time.time())
    security = Security(
        static_tokens({"ada": TOKEN}), ApiKeys([key]), require=[{"token": [], "apiKey": []}]
    )
    async with serving(security, paying(apiKey=[])) as server:
        both = {**bearer(TOKEN), "X-API-Key": text}
        assert said(await server.call(binding, ops.SEND, send("x", skill="pay"), both)) == "paid"


async def test_a_skill_that_nobody_could_use() -> None:
    key, _ = new_key("machine", now=time.time())
    security = Security(static_tokens({"ada": TOKEN}), ApiKeys([key]))
    with pytest.raises(ValueError, match=r"declares token\+apiKey, which no caller proves"):
        asgi(paying(token=[], apiKey=[]), security=security)
