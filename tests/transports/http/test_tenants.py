"""The tenant in the body, the query or the path of a request routes it, as over gRPC."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import message, request

pytestmark = pytest.mark.anyio

HEADERS = [("content-type", "application/json"), ("a2a-version", "1.0")]


async def rpc(app: Application, path: str, method: str, params: dict[str, Any]) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await request(app, "POST", path, headers=HEADERS, body=json.dumps(body).encode())
    return answer.json


@pytest.mark.parametrize(
    ("path", "tenant", "agent"),
    [
        ("/a2a", "other", "other"),
        ("/", "other", "other"),
        ("/a2a", "stage", "stage"),
        ("/a2a", "acme", "stage"),
        ("/a2a", "", "stage"),
        ("/a2a", None, "stage"),
        ("/a2a/agents/stage/", "other", "stage"),
        ("/a2a/agents/other/", "stage", "other"),
        ("/a2a/agents/other/", "acme", "other"),
    ],
)
async def test_a_tenant_in_a_body_names_the_agent(
    app: Application, stage: Stage, path: str, tenant: str | None, agent: str
) -> None:
    sent = {**message("hi"), "tenant": tenant}
    found = await rpc(app, path, "SendMessage", sent)
    assert ("message" in found["result"]) is (agent == "other"), found
    assert stage.calls[-1].agent in (agent, "")
    where = path.rstrip("/") if "agents" in path else ""
    body = json.dumps(sent).encode()
    answer = await request(app, "POST", where + "/message:send", headers=HEADERS, body=body)
    assert ("message" in answer.json) is (agent == "other"), answer.body
    assert stage.calls[-1].tenant in (tenant, None)


async def test_every_operation_of_a_task_goes_where_the_tenant_says(app: Application) -> None:
    task = (await rpc(app, "/a2a", "SendMessage", {**message("ask"), "tenant": "stage"}))["result"]
    id_ = task["task"]["id"]
    for method in ("GetTask", "CancelTask"):
        there = await rpc(app, "/a2a", method, {"id": id_, "tenant": "other"})
        assert there["error"]["code"] == -32001
        here = await rpc(app, "/a2a", method, {"id": id_, "tenant": "stage"})
        assert here["result"]["id"] == id_
    for path, status in (
        (f"/tasks/{id_}?tenant=other", 404),
        (f"/other/tasks/{id_}", 404),
        (f"/tasks/{id_}?tenant=stage", 200),
        (f"/stage/tasks/{id_}", 200),
    ):
        assert (await request(app, "GET", path, headers=HEADERS)).status == status, path
    page = await rpc(app, "/a2a", "ListTasks", {"tenant": "other"})
    assert page["result"]["tasks"] == []
