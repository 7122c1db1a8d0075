"""Extended cards: each caller's own, under the names and errors of each version."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec import structs

from greenroom import Agent, AgentCard, Skill, asgi
from greenroom.auth import (
    ApiKeys,
    Policy,
    Principal,
    Security,
    StaticToken,
    new_key,
    oauth2,
    static_tokens,
)
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from tests.runtime.security.serving import serving
from tests.support.asgi import request
from tests.support.clients import BINDINGS
from tests.support.issuer import Issuer

pytestmark = pytest.mark.anyio
ADA, BOB = "the-token-of-ada-the-administrator", "the-token-of-bob-who-may-do-little"


def security() -> Security:
    return Security(
        static_tokens(
            [
                StaticToken.of("ada", ADA, scopes=["desk:admin"]),
                StaticToken.of("bob", BOB),
            ]
        )
    )


def agent() -> Agent:
    made = Agent("Desk", extended_skills=[Skill(id="vip", name="V", description="V", tags=["v"])])

    @made.handler
    async def handle(ctx: Any) -> str:
        return "done"

    @made.skill("admin", scopes=["desk:admin"], extended=True)
    async def admin(ctx: Any) -> str:
        return "done"

    @made.skill("open")
    async def everybody(ctx: Any) -> str:
        return "done"

    @made.extended_card
    async def personal(card: AgentCard, principal: Principal) -> AgentCard:
        return structs.replace(card, description=f"For {principal.subject}")

    return made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("binding", BINDINGS)
async def test_everybody_gets_their_own(binding: str) -> None:
    async with serving(security(), agent()) as server:
        asked = t.GetExtendedAgentCardRequest()
        for token, name, skills in (
            (ADA, "ada", {"vip", "admin", "open"}),
            (BOB, "bob", {"vip", "open"}),
        ):
            answer = await server.call(binding, ops.EXTENDED_CARD, asked, bearer(token))
            assert answer.outcome == "ok", answer.text
            assert answer.body["description"] == f"For {name}"
            assert {skill["id"] for skill in answer.body["skills"]} == skills
            if binding == "rest":
                assert answer.headers["cache-control"] == "private, no-store"
                assert answer.headers["vary"] == "Authorization"
            urls = [one["url"] for one in answer.body["supportedInterfaces"]]
            over_grpc = f"127.0.0.1:{server.grpc_port}"
            assert (over_grpc if binding == "grpc" else f"{server.url}/a2a") in urls
        nobody = await server.call(binding, ops.EXTENDED_CARD, asked)
        assert nobody.outcome == "UNAUTHENTICATED"


async def test_a_skill_for_another_scheme_is_not_shown() -> None:
    """It is declared to need an API key, which a caller with a token did not show."""
    key, text = new_key("machine", now=time.time())
    needs = t.SecurityRequirement(schemes={"apiKey": t.StringList()})
    machines = Skill(
        id="bulk", name="B", description="B", tags=["b"], security_requirements=[needs]
    )
    made = Agent("Desk", extended_skills=[machines])
    made.handler(lambda ctx: "done")

    async with serving(Security(static_tokens(ADA), ApiKeys([key])), made) as server:
        for headers, shown in ((bearer(ADA), False), ({"X-API-Key": text}, True)):
            asked = t.GetExtendedAgentCardRequest()
            answer = await server.call("rest", ops.EXTENDED_CARD, asked, headers)
            assert ("bulk" in {skill["id"] for skill in answer.body["skills"]}) is shown


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_agent_without_skills_has_one_too(binding: str) -> None:
    made = Agent("Plain")
    made.handler(lambda ctx: "done")

    @made.extended_card
    def personal(card: AgentCard, principal: Principal) -> AgentCard:
        return structs.replace(card, description=f"For {principal.subject}")

    async with serving(security(), made) as server:
        asked = t.GetExtendedAgentCardRequest()
        answer = await server.call(binding, ops.EXTENDED_CARD, asked, bearer(BOB))
        assert answer.outcome == "ok", answer.text
        assert answer.body["description"] == "For bob"
        assert [skill["id"] for skill in answer.body["skills"]] == ["plain"]


async def test_the_public_card() -> None:
    app = asgi(agent(), security=security())
    async with app.lifespan():
        public = (await request(app, "GET", "/.well-known/agent-card.json")).json
    assert public["capabilities"]["extendedAgentCard"] is True
    assert public["supportsAuthenticatedExtendedCard"] is True
    assert [skill["id"] for skill in public["skills"]] == ["open"]
    assert public["securitySchemes"]["token"]["type"] == "http"  # 0.3
    assert public["securitySchemes"]["token"]["httpAuthSecurityScheme"]["scheme"] == "bearer"  # 1.0
    assert public["security"] == [{"token": []}]
    assert public["securityRequirements"] == [{"schemes": {"token": {}}}] or public[
        "securityRequirements"
    ] == [{"schemes": {"token": {"list": []}}}]


OLD = [("POST", "/a2a", "agent/getAuthenticatedExtendedCard"), ("GET", "/v1/card", "")]


@pytest.mark.parametrize(("method", "path", "name"), OLD)
async def test_the_names_of_0_3(method: str, path: str, name: str) -> None:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"{name}"}}'.encode() if name else b""
    headers = [("authorization", f"Bearer {ADA}"), ("content-type", "application/json")]
    app = asgi(agent(), security=security())
    async with app.lifespan():
        answer = await request(app, method, path, headers=headers, body=body)
        refused = await request(app, method, path, headers=headers[1:], body=body)
    answered = answer.json.get("result", answer.json)
    assert answered["description"] == "For ada"
    assert answered["protocolVersion"].startswith("0.3")
    assert refused.status == 401


@pytest.mark.parametrize(
    ("made", "version", "reason"),
    [
        (Agent("None"), "1.0", -32004),
        (Agent("None"), "0.3", -32007),
        (Agent("Declared", extended_card=True), "1.0", -32007),
        (Agent("Declared", extended_card=True), "0.3", -32007),
    ],
)
async def test_errors(made: Agent, version: str, reason: int) -> None:
    if not made._handler:
        made.handler(lambda ctx: "hi")
    old = "agent/getAuthenticatedExtendedCard"
    name = "GetExtendedAgentCard" if version == "1.0" else old
    headers = [
        ("authorization", f"Bearer {ADA}"),
        ("a2a-version", version),
        ("content-type", "application/json"),
    ]
    app = asgi(made, security=security())
    async with app.lifespan():
        body = f'{{"jsonrpc":"2.0","id":1,"method":"{name}"}}'.encode()
        answer = await request(app, "POST", "/a2a", headers=headers, body=body)
    assert answer.json["error"]["code"] == reason


def api_key() -> t.SecurityScheme:
    return t.SecurityScheme(
        api_key_security_scheme=t.APIKeySecurityScheme(location="query", name="k")
    )


NEEDS = [t.SecurityRequirement(schemes={"x": t.StringList()})]
NEEDY = Skill(id="s", name="s", description="s", tags=["s"], security_requirements=NEEDS)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Agent("A", security_schemes={}), "enforce so: 'token' is enforced and not"),
        (
            lambda: Agent("A", security_schemes={"token": api_key(), "mine": api_key()}),
            "'mine' is not enforced; token.apiKeySecurityScheme.location is 'query' there and "
            "missing here; .*token.httpAuthSecurityScheme.scheme is missing there and 'bearer'",
        ),
        (
            lambda: Agent("A", skills=[NEEDY]),
            "not enforced",
        ),
    ],
)  # fmt: skip
async def test_a_card_that_disagrees_does_not_start(make: Any, why: str) -> None:
    disagreeing = make()
    disagreeing.handler(lambda ctx: "hi")
    with pytest.raises(ValueError, match=why):
        asgi(disagreeing, security=security())


async def test_scopes_that_nobody_could_have_do_not_start() -> None:
    with pytest.raises(ValueError, match="no security scheme"):
        asgi(agent())


def flows(card: dict[str, Any]) -> dict[str, str]:
    flow = card["securitySchemes"]["oauth2"]["oauth2SecurityScheme"]["flows"]["clientCredentials"]
    value: dict[str, str] = flow["scopes"]
    return value


async def test_flows_offer_every_scope_that_is_asked_for(issuer: Issuer) -> None:
    """And those of skills that are not on the card are not there."""
    oauth = oauth2(
        token_url=f"{issuer.url}/token", issuer=issuer.url, audience="agents",
        scopes={"desk:use": "Use the desk"},
    )  # fmt: skip
    policy = Policy(
        agents={"desk": ["desk:use", "desk:enter"]}, operations={"CancelTask": ["tasks:cancel"]}
    )
    made = agent()

    @made.skill("refund", name="Refunds", scopes=["desk:refund"])
    async def refund(ctx: Any) -> str:
        return "done"

    security = Security(oauth, require=[{"oauth2": ["desk:log"]}], policy=policy)
    async with serving(security, made, with_grpc=False) as server:
        public = (await request(server.app, "GET", "/.well-known/agent-card.json")).json
        assert flows(public) == {
            "desk:use": "Use the desk",
            "desk:log": "Desk",
            "desk:enter": "Desk",
            "desk:refund": "Skill: Refunds",
            "tasks:cancel": "Operation: CancelTask",
        }
        scopes = "desk:use desk:enter desk:log"
        for held, more in (("", set[str]()), (" desk:admin", {"desk:admin"})):
            given = bearer(issuer.token(sub="ada", scope=scopes + held))
            asked = t.GetExtendedAgentCardRequest()
            card = (await server.call("rest", ops.EXTENDED_CARD, asked, given)).body
            assert set(flows(card)) == set(flows(public)) | more
