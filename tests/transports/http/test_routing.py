"""Which path is what: methods, slashes, tenants, mounts, several agents, health, metrics."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

import pytest

from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import Peer, Response, message, request

pytestmark = pytest.mark.anyio

RPC = "GET, HEAD, OPTIONS, POST"
READ = "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/", RPC),
        ("/a2a", RPC),
        ("/a2a/agents/other/", RPC),
        ("/.well-known/agent-card.json", READ),
        ("/.well-known/agent.json", READ),
        ("/a2a/agents/other/.well-known/agent-card.json", READ),
        ("/a2a/agents", READ),
        ("/a2a/agents/", READ),
        ("/health", READ),
        ("/ready", READ),
        ("/metrics", READ),
        ("/message:send", "OPTIONS, POST"),
        ("/tasks", "GET, OPTIONS"),
        ("/acme/tasks", "GET, OPTIONS"),
        ("/tasks/x", "GET, OPTIONS"),
        ("/tasks/x:cancel", "OPTIONS, POST"),
        ("/tasks/x:subscribe", "GET, OPTIONS, POST"),
        ("/a2a/agents/other/tasks/x", "GET, OPTIONS"),
    ],
)
async def test_other_methods_are_told_which_ones_there_are(
    app: Application, method: str, path: str, allow: str
) -> None:
    answer = await Peer(app).rest(method, path)
    if method in allow.split(", "):
        assert answer.status != 405
    else:
        assert answer.status == 405
        assert answer["allow"] == allow
    options = await Peer(app).rest("OPTIONS", path)
    assert (options.status, options["allow"], options.body) == (204, allow, b"")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/a2a/nope",
        "/a2a/agents/nobody",
        "/a2a/agents/nobody/tasks",
        "/a2a/agents/other/nope",
        "/v1",
        "/v1/nope",
        "/v2/x/tasks",
        "/tasks/x/nope",
        "//",
        "/%00",
        "/%FF/tasks",
    ],
)
async def test_what_is_not_there_is_a_404(app: Application, method: str, path: str) -> None:
    answer = await Peer(app).rest(method, path, {"x": 1} if method == "POST" else None)
    assert answer.status == 404
    assert answer.json["error"]["status"] == "NOT_FOUND"


async def test_an_answer_about_an_unknown_agent_names_none_of_the_known_ones(
    app: Application,
) -> None:
    answer = await Peer(app).rest("GET", "/a2a/agents/nobody/tasks")
    assert answer.status == 404
    assert "stage" not in answer.body.decode()
    assert "other" not in answer.body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/%6detrics", "/%68ealth", "/.well-known/agent%2dcard.json", "/%2Ewell-known/agent.json",
        "/%74asks", "/%6Dessage:send", "/a2%61", "/a2a/agents/%6Fther/tasks", "/tasks%2Fx",
    ],
)  # fmt: skip
async def test_a_rule_of_a_proxy_for_a_literal_path_holds(app: Application, path: str) -> None:
    """Routing compares what the client wrote, as the rule of a proxy does."""
    assert (await request(app, "GET", path)).status == 404


@pytest.mark.parametrize(
    ("path", "tenant"),
    [
        ("/message%3Asend", None),
        ("/message%3asend/", None),
        ("/acme/message%3Asend", "acme"),
        ("/a%3Ab/message%3Asend", "a:b"),
        ("/a2a/agents/other/message%3Asend", None),
    ],
)
async def test_the_colon_of_a_verb_may_be_encoded(
    app: Application, stage: Stage, path: str, tenant: str | None
) -> None:
    answer = await Peer(app).rest("POST", path, message())
    assert answer.status == 200
    assert {"task", "message"} & answer.json.keys()
    assert [call.tenant for call in stage.calls] == [tenant]
    assert (await Peer(app).rest("OPTIONS", path))["allow"] == "OPTIONS, POST"


async def test_an_encoded_colon_is_a_verb_only_where_it_can_be_nothing_else(
    app: Application, stage: Stage
) -> None:
    def named(answer: Response) -> str:
        task: str = answer.json["error"]["details"][0]["metadata"]["taskId"]
        return task

    peer = Peer(app)
    assert named(await peer.rest("POST", "/tasks/x%3Acancel", {})) == "x"
    assert named(await peer.rest("POST", "/tasks/a%3Ab%3acancel", {})) == "a:b"
    assert named(await peer.rest("POST", "/tasks/a%3Acancel:cancel", {})) == "a:cancel"
    assert named(await peer.rest("GET", "/tasks/x%3Asubscribe")) == "x:subscribe"
    assert named(await peer.rest("GET", "/tasks/x:subscribe")) == "x"
    assert (await peer.rest("DELETE", "/tasks/x%3Acancel"))["allow"] == "GET, OPTIONS, POST"
    assert (await Peer(app, "0.3").rest("POST", "/v1/message%3Asend", OLD)).status == 200


OLD = {"message": {"messageId": "old", "role": "ROLE_USER", "content": [{"text": "hi"}]}}


@pytest.mark.parametrize("word", ["v1", "a2a", "health", "ready", "metrics", "tasks"])
async def test_reserved_words_are_no_tenants(app: Application, stage: Stage, word: str) -> None:
    answer = await Peer(app).rest("POST", f"/{word}/message:send", message())
    assert answer.status in (400, 404, 405)
    assert not stage.calls


@pytest.mark.parametrize(
    ("path", "tenant"), [("/acme/tasks", "acme"), ("/a%20b%2Fc/tasks", "a b/c")]
)
async def test_a_tenant_routes(app: Application, stage: Stage, path: str, tenant: str) -> None:
    assert (await Peer(app).rest("GET", path)).status == 200
    assert stage.calls[0].tenant == tenant


async def test_agents_do_not_see_each_others_tasks(app: Application) -> None:
    peer = Peer(app)
    sent = await peer.call("SendMessage", message(), path="/a2a/agents/stage")
    task = sent.json["result"]["task"]["id"]
    assert (await peer.rest("GET", f"/tasks/{task}")).status == 200
    assert (await peer.rest("GET", f"/a2a/agents/stage/tasks/{task}")).status == 200
    assert (await peer.rest("GET", f"/a2a/agents/other/tasks/{task}")).status == 404


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/mnt/x/tasks/a%3Ab", "/mnt/x/tasks/a%3Ab"),  # the path includes the root path
        ("/tasks/a%3Ab", "/mnt/x/tasks/a%3Ab"),  # it does not, though the raw path does
        ("/tasks/a%3Ab", "/tasks/a%3Ab"),  # a proxy has taken it off
        ("/mnt/x/tasks/a%3Ab", None),  # no raw path: servers need not send it
    ],
)
async def test_mounted_below_a_root_path(app: Application, path: str, raw: str | None) -> None:
    encoded = None if raw is None else raw.encode()
    answer = await Peer(app).rest("GET", path, root_path="/mnt/x", raw_path=encoded)
    assert answer.status == 404
    assert answer.json["error"]["details"][0]["metadata"]["taskId"] == "a:b"


@pytest.mark.parametrize(
    ("root", "host", "raw"),
    [
        ("/агент", "", "/%D0%B0%D0%B3%D0%B5%D0%BD%D1%82"),
        ("/агент", "", "/%d0%b0%d0%b3%d0%b5%d0%bd%d1%82"),
        ("/a b", "", "/a%20b"),
        ("/a?b", "", "/a%3Fb"),
        ("/a#b", "", "/a%23b"),
        ("/100%", "", "/100%25"),
        ("/%41", "", "/%2541"),
        ("/a/b", "", "/a%2Fb"),
        ("/a(b);c=d", "", "/a(b);c=d"),
        ("/a(b)", "", "/a%28b%29"),
        ("/agent", "", "/%61gent"),
        # a proxy has taken off what belongs to the host application
        ("/api/agent", "/api", "/agent"),
        ("/api/agent", "/api/", "/agent"),
        ("/api/a b/агент", "/api", "/a%20b/%D0%B0%D0%B3%D0%B5%D0%BD%D1%82"),
    ],
)
@pytest.mark.parametrize("has_raw", [True, False])
async def test_mounts_whatever_the_letters_of_their_paths(
    app: Application, stage: Stage, root: str, host: str, raw: str, has_raw: bool
) -> None:
    """The card's address is plain ASCII, and it answers."""
    more: dict[str, Any] = {"root_path": root, "app_root_path": host}
    if not has_raw:
        more["raw_path"] = None
    card = await request(app, "GET", f"{raw}/.well-known/agent-card.json", **more)
    assert card.status == 200
    url = card.json["url"].removeprefix("http://agent.test")
    assert re.fullmatch(r"(/[A-Za-z0-9._~:@!$&'()*+,;=-]+|/(%[0-9A-F]{2}|[A-Za-z0-9();=])+)+", url)
    assert unquote(url) == f"{root}/a2a"
    below = url.removeprefix(quote(host.rstrip("/")))
    assert "result" in (await Peer(app).call("SendMessage", message(), path=below, **more)).json
    answer = await Peer(app).rest("GET", f"{raw}/tasks", **more)
    assert answer.status == 200
    assert stage.calls[-1].tenant is None


@pytest.mark.parametrize(
    "target",
    ["http://agent.test/tasks", "HTTP://other.test:80/tasks", "https://u:p@agent.test/tasks"],
)
async def test_a_server_may_hand_on_a_whole_address(
    app: Application, stage: Stage, target: str
) -> None:
    raw = target.encode()
    assert (await Peer(app).rest("GET", target, raw_path=raw)).status == 200
    assert stage.calls[-1].tenant is None
    answer = await Peer(app).rest("GET", target, raw_path=raw, http_version="2")
    assert answer.status == 404


@pytest.mark.parametrize("path", ["/mnt", "/mnt/", "/mnt/a2a", "/a2a", "/"])
async def test_jsonrpc_below_a_root_path(app: Application, path: str) -> None:
    answer = await Peer(app).call("SendMessage", message(), path=path, root_path="/mnt")
    assert "result" in answer.json


async def test_a_root_path_is_no_mere_prefix(app: Application) -> None:
    answer = await Peer(app).rest("GET", "/mntx/tasks", root_path="/mnt")
    assert answer.status == 200  # of the tenant called mntx


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_and_readiness(app: Application, method: str) -> None:
    for path in ("/health", "/ready"):
        answer = await request(app, method, path)
        assert answer.status == 200
        assert int(answer["content-length"]) > 0
        assert bool(answer.body) == (method == "GET")
    await app.runtime.drain(0)
    assert (await request(app, method, "/health")).status == 200
    assert (await request(app, method, "/ready")).status == 503


async def test_metrics_count_requests_by_outcome(app: Application) -> None:
    peer = Peer(app)
    await peer.call("SendMessage", message())
    await peer.call("GetTask", {"id": "x"})
    await peer.rest("GET", "/tasks/x")
    answer = await request(app, "GET", "/metrics")
    assert answer["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    name = "greenroom_requests_total"
    for binding, operation, outcome in (
        ("JSONRPC", "SendMessage", "ok"),
        ("JSONRPC", "GetTask", "TaskNotFoundError"),
        ("HTTP+JSON", "GetTask", "TaskNotFoundError"),
    ):
        labels = f'binding="{binding}",operation="{operation}",outcome="{outcome}"'
        assert f"{name}{{{labels}}} 1" in lines
    assert "greenroom_http_streams_open 0" in lines
    assert "greenroom_actors 0" in lines


async def test_websockets_are_refused(app: Application) -> None:
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
