"""Agent cards: where, in which shape, and how they are cached (section 8)."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from greenroom.transports.http.asgi import Application
from tests.support.asgi import Peer, Response, request

pytestmark = pytest.mark.anyio

CARD = "/.well-known/agent-card.json"
OLD = "/.well-known/agent.json"


def urls(answer: Response) -> set[tuple[str, str, str]]:
    return {
        (found["protocolBinding"], found["protocolVersion"], found["url"])
        for found in answer.json["supportedInterfaces"]
    }


@pytest.mark.parametrize("path", [CARD, OLD])
async def test_without_a_version_the_card_has_both_shapes(app: Application, path: str) -> None:
    answer = await request(app, "GET", path)
    card = answer.json
    assert answer["content-type"] == "application/json"
    assert answer.get("a2a-version") is None
    assert card["name"] == "Stage"
    assert (card["url"], card["preferredTransport"]) == ("http://agent.test/a2a", "JSONRPC")
    assert card["protocolVersion"].startswith("0.3")
    assert urls(answer) == {
        ("JSONRPC", "1.0", "http://agent.test/a2a"),
        ("HTTP+JSON", "1.0", "http://agent.test"),
        ("JSONRPC", "0.3", "http://agent.test/a2a"),
        ("HTTP+JSON", "0.3", "http://agent.test"),
    }


@pytest.mark.parametrize("query", [False, True])
async def test_who_names_a_version_gets_that_shape_alone(app: Application, query: bool) -> None:
    async def card(version: str) -> Response:
        if query:
            return await request(app, "GET", f"{CARD}?A2A-Version={version}")
        return await Peer(app, version).rest("GET", CARD)

    current, legacy = await card("1.0"), await card("0.3")
    assert current["a2a-version"] == "1.0"
    assert not {"url", "preferredTransport", "protocolVersion"} & current.json.keys()
    assert legacy["a2a-version"] == "0.3"
    assert legacy.json["url"] == "http://agent.test/a2a"
    assert "supportedInterfaces" not in legacy.json
    assert (await card("99.0")).status == 400


async def test_every_agent_has_its_own_card(app: Application) -> None:
    answer = await request(app, "GET", f"/a2a/agents/other{CARD}")
    assert answer.json["name"] == "Other"
    base = "http://agent.test/a2a/agents/other"
    assert ("JSONRPC", "1.0", f"{base}/") in urls(answer)
    assert ("HTTP+JSON", "1.0", base) in urls(answer)
    assert (await request(app, "GET", f"/a2a/agents/stage{CARD}")).json["name"] == "Stage"
    assert (await request(app, "GET", f"/a2a/agents/nobody{CARD}")).status == 404


async def test_the_urls_on_a_card_are_answered(app: Application) -> None:
    for path in (CARD, f"/a2a/agents/other{CARD}"):
        answer = await request(app, "GET", path)
        for binding, version, url in urls(answer):
            below = url.removeprefix("http://agent.test")
            peer = Peer(app, version)
            if binding == "JSONRPC":
                method = "GetTask" if version == "1.0" else "tasks/get"
                found = await peer.call(method, {"id": "x"}, path=below)
                assert found.json["error"]["code"] == -32001
            else:
                prefix = "/v1" if version == "0.3" else ""
                found = await peer.rest("GET", f"{below}{prefix}/tasks/x")
                assert found.status == 404
                assert b"TASK_NOT_FOUND" in found.body


async def test_caching(app: Application) -> None:
    answer = await request(app, "GET", CARD)
    assert answer["cache-control"] == "public, max-age=300"
    assert answer["vary"] == "A2A-Version"
    assert answer["etag"].startswith('"')
    again = await request(app, "GET", CARD)
    assert (again["etag"], again["last-modified"]) == (answer["etag"], answer["last-modified"])
    other = await Peer(app).rest("GET", CARD)
    assert other["etag"] != answer["etag"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditional_requests(app: Application, method: str) -> None:
    fresh = await request(app, "GET", CARD)
    tag, date = fresh["etag"], fresh["last-modified"]
    unchanged = [
        ("if-none-match", tag),
        ("if-none-match", f'"other", W/{tag}'),
        ("if-none-match", "*"),
        ("if-modified-since", date),
        ("if-modified-since", formatdate(4e9, usegmt=True)),
    ]
    changed = [
        ("if-none-match", '"other"'),
        ("if-modified-since", formatdate(0, usegmt=True)),
        ("if-modified-since", "yesterday"),
    ]
    for header in unchanged:
        answer = await request(app, method, CARD, headers=[header])
        assert (answer.status, answer.body) == (304, b""), header
        assert (answer["etag"], answer["last-modified"]) == (tag, date)
        assert answer.get("content-length") is None
    for header in changed:
        answer = await request(app, method, CARD, headers=[header])
        assert answer.status == 200, header
        assert int(answer["content-length"]) == len(fresh.body)
    both = [("if-none-match", '"other"'), ("if-modified-since", date)]
    assert (await request(app, method, CARD, headers=both)).status == 200


@pytest.mark.parametrize("public_url", ["https://agents.example/desk/"])
async def test_the_public_url_is_what_cards_say(app: Application) -> None:
    answer = await request(app, "GET", CARD, headers=[("host", "evil.test")])
    assert ("JSONRPC", "1.0", "https://agents.example/desk/a2a") in urls(answer)
    assert b"evil" not in answer.body


@pytest.mark.parametrize("host", ["agent.test:8000", "127.0.0.1", "[::1]:8000", "a-b.c_d.example."])
async def test_else_the_host_is(app: Application, host: str) -> None:
    answer = await request(app, "GET", CARD, headers=[("host", host)], root_path="/mnt")
    assert ("JSONRPC", "1.0", f"http://{host}/mnt/a2a") in urls(answer)


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "evil.test/x?", "<script>", "a@b", "", "a,b", "x:y"]
)
async def test_what_is_no_host_is_refused(app: Application, host: str) -> None:
    answer = await request(app, "GET", CARD, headers=[("host", host)], server=None)
    assert answer.status == 400
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"


async def test_without_a_host_the_servers_address_is_said(app: Application) -> None:
    answer = await request(app, "GET", CARD, headers=[("host", "")])
    assert ("JSONRPC", "1.0", "http://127.0.0.1:8000/a2a") in urls(answer)


async def test_many_hosts_are_not_remembered_for_ever(app: Application) -> None:
    for number in range(300):
        await request(app, "GET", CARD, headers=[("host", f"h{number}.test")])
    assert len(app._cards._cache) <= 128


async def test_cards_are_there_before_the_start_and_while_draining(app: Application) -> None:
    await app.runtime.drain(0)
    assert (await request(app, "GET", CARD)).status == 200


@pytest.mark.parametrize(
    "since", ["Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "", "yesterday", "0" * 400]
)
async def test_a_date_that_is_none_is_ignored(app: Application, since: str) -> None:
    card = await request(
        app, "GET", "/.well-known/agent-card.json", headers=[("if-modified-since", since)]
    )
    assert card.status == 200
