"""What GET finds at an agent's address, and the list of the agents that are served."""

from __future__ import annotations

import pytest

from greenroom import Agent, Skill, asgi
from greenroom.auth import ApiKeys, Policy, Security, new_key
from greenroom.transports.http.asgi import Application
from tests.support.asgi import Headers, Peer, Response, request

pytestmark = pytest.mark.anyio

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def looked(app: Application, path: str, accept: str | None, method: str = "GET") -> Response:
    headers = [] if accept is None else [("accept", accept)]
    return await request(app, method, path, headers=headers)


@pytest.mark.parametrize("path", ["/", "/a2a", "/a2a/", "/a2a/agents/other/", "/a2a/agents/other"])
@pytest.mark.parametrize(
    "accept",
    [
        None, "", "*/*", "application/json", "application/json, text/html", "text/html;q=0, */*",
        "application/json, text/html;q=0.9", "text/event-stream", "text/htmlx",
    ],
)  # fmt: skip
async def test_a_program_gets_the_card(app: Application, path: str, accept: str | None) -> None:
    answer = await looked(app, path, accept)
    agent = "/a2a/agents/other" if "other" in path else ""
    card = await request(app, "GET", f"{agent}/.well-known/agent-card.json")
    assert (answer.status, answer["content-type"]) == (200, "application/json")
    assert answer.body == card.body
    assert ("vary", "Accept") in answer.fields


@pytest.mark.parametrize("path", ["/", "/a2a", "/a2a/agents/other/"])
@pytest.mark.parametrize(
    "accept",
    [
        FIREFOX, "text/html", "TEXT/HTML;q=0.1", "application/xhtml+xml; q=1.000",
        "application/json;q=0.5, text/html;level=1;q=0.7", "text/html;q=nonsense",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_gets_a_page(app: Application, path: str, accept: str, method: str) -> None:
    answer = await looked(app, path, accept, method)
    assert (answer.status, answer["content-type"]) == (200, "text/html; charset=utf-8")
    assert ("vary", "Accept") in answer.fields
    assert answer["content-security-policy"].startswith("default-src 'none'")
    assert int(answer["content-length"]) > 0
    if method == "GET":
        name = b"Other" if "other" in path else b"Stage"
        assert b"<h1>" + name + b"</h1>" in answer.body
        assert b"http://agent.test/" in answer.body


async def test_a_page_shows_texts_as_texts() -> None:
    agent = Agent(
        "<script>alert(1)</script>",
        "A & B",
        slug="odd",
        documentation_url="javascript:alert(1)",
        skills=[Skill(id="x", name="<b>", description='"', tags=["t"])],
        extended_skills=[Skill(id="vip", name="Hidden", description="V", tags=["v"])],
    )
    agent.handler(lambda ctx: "hi")
    body = (await looked(asgi(agent), "/", FIREFOX)).body
    assert b"<script>" not in body
    assert b"<b>" not in body
    assert b"javascript" not in body
    assert b"Hidden" not in body
    assert b"A &amp; B" in body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_nothing_else_is_done_there(app: Application, method: str) -> None:
    answer = await looked(app, "/a2a", None, method)
    assert (answer.status, answer["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


# --- the list -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a2a/agents", "/a2a/agents/"])
async def test_the_agents_are_listed(app: Application, path: str) -> None:
    listed = (await request(app, "GET", path)).json["agents"]
    assert [one["slug"] for one in listed] == ["stage", "other"]
    for one in listed:
        card = await request(app, "GET", one["card"].removeprefix("http://agent.test"))
        assert card.json["name"] == one["name"]
        assert one["url"] in {found["url"] for found in card.json["supportedInterfaces"]}
        found = await Peer(app).call(
            "GetTask", {"id": "x"}, path=one["url"].removeprefix("http://agent.test")
        )
        assert found.json["error"]["code"] == -32001


async def test_a_caller_sees_the_agents_that_it_may_use() -> None:
    desk, vault = Agent("Desk"), Agent("Vault")
    for agent in (desk, vault):
        agent.handler(lambda ctx: "hi")
    (ada, ada_key), (bob, bob_key) = (
        new_key("ada", now=0.0, scopes=["gold"]), new_key("bob", now=0.0),
    )  # fmt: skip
    security = Security(ApiKeys([ada, bob]), policy=Policy(agents={"vault": ["gold"]}))
    app = asgi(desk, vault, security=security)

    async def seen(headers: Headers) -> Response:
        async with app.lifespan():
            return await request(app, "GET", "/a2a/agents/", headers=headers)

    refused = await seen([])
    assert refused.status == 401
    assert refused.get("www-authenticate")
    assert b"desk" not in refused.body.lower()
    for key, slugs in ((ada_key, ["desk", "vault"]), (bob_key, ["desk"])):
        answer = await seen([("x-api-key", key)])
        assert [one["slug"] for one in answer.json["agents"]] == slugs
        assert answer["cache-control"] == "private, no-store"


# --- target_agent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["message", "request"])
@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
async def test_target_agent_is_the_agent_or_is_refused(
    app: Application, whose: str, method: str
) -> None:
    async def sent(target: object, path: str = "/a2a") -> str:
        body = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
        metadata = {"metadata": {"target_agent": target}}
        params = (
            {"message": body, **metadata}
            if whose == "request"
            else {"message": {**body, **metadata}}
        )
        answer = await Peer(app).call(method, params, path=path)
        return answer.body.decode()

    for fine in ("stage", None):
        assert '"error"' not in await sent(fine)
    assert '"error"' not in await sent("other", "/a2a/agents/other/")
    other = await sent("other")
    assert "-32602" in other
    assert "/a2a/agents/other/" in other
    strangers: list[object] = ["nobody", "", 7, ["stage"], {}, "Stage"]
    for nobody in strangers:
        error = await sent(nobody)
        assert "-32602" in error
        assert "metadata.target_agent" in error
        assert "other" not in error


async def test_target_agent_may_name_a_skill_as_crews_do() -> None:
    crew = Agent("Crew")
    crew.handler(lambda ctx: "the first")
    crew.skill("analyst")(lambda ctx: "the analyst")
    app = asgi(crew)
    metadata = {"target_agent": "analyst"}
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    async with app.lifespan():
        answer = await Peer(app).call("SendMessage", {"message": {**message, "metadata": metadata}})
    assert answer.json["result"]["task"]["artifacts"][0]["parts"] == [{"text": "the analyst"}]


async def test_who_is_known_is_told_which_agents_there_are() -> None:
    desk, vault = Agent("Desk"), Agent("Vault")
    for agent in (desk, vault):
        agent.handler(lambda ctx: "hi")
    bob, bob_key = new_key("bob", now=0.0)
    security = Security(ApiKeys([bob]), policy=Policy(agents={"vault": ["gold"]}))
    app = asgi(desk, vault, security=security)
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    async with app.lifespan():
        for target in ("nobody", "vault"):
            params = {"message": {**message, "metadata": {"target_agent": target}}}
            answer = await Peer(app).call("SendMessage", params, headers=[("x-api-key", bob_key)])
            assert answer.json["error"]["code"] == -32602
            assert "there are desk" in answer.json["error"]["message"]
            assert "vault" not in answer.json["error"]["message"]


async def test_in_anonymous_mode_no_card_promises_an_extended_one() -> None:
    agent = Agent("Open", extended_card=True)
    agent.handler(lambda ctx: "hi")
    agent.skill("vip", extended=True)(lambda ctx: "hidden")
    card = (await request(asgi(agent), "GET", "/.well-known/agent-card.json")).json
    assert card["capabilities"]["extendedAgentCard"] is False
    assert not card.get("supportsAuthenticatedExtendedCard")
