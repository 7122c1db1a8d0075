"""What an agent cannot do comes before what is wrong with a request for it (section 3.3.4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import Agent, Runtime, Skill, TaskContext
from greenroom.protocol.types import AgentExtension
from greenroom.stores.memory import MemoryStore
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import message, request

pytestmark = pytest.mark.anyio

PUSH, UNSUPPORTED, NOT_CONFIGURED, REQUIRED = -32003, -32004, -32007, -32008
INVALID = -32602


@pytest.fixture
async def plain() -> AsyncIterator[Application]:
    vip = Skill(id="vip", name="V", description="V", tags=["v"])
    agent = Agent("Plain", streaming=False, extended_skills=[vip])
    manners = AgentExtension(uri="https://x.test/manners", required=True)
    strict = Agent("Strict", extensions=[manners])

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        return "hi"

    @strict.handler
    async def politely(ctx: TaskContext) -> str:
        return "please"

    app = Application(Runtime([agent, strict], store=MemoryStore()), HttpSettings())
    async with app.lifespan():
        yield app


async def rpc(app: Application, method: str, params: Any, version: str, path: str = "/a2a") -> Any:
    headers = [("content-type", "application/json"), ("a2a-version", version)]
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await request(app, "POST", path, headers=headers, body=json.dumps(body).encode())
    return answer.events[0].data if answer["content-type"] == "text/event-stream" else answer.body


BAD: list[Any] = [{}, {"id": 5, "taskId": 5, "message": 5}, {"taskId": "x" * 999, "url": []}]


@pytest.mark.parametrize("params", BAD)
@pytest.mark.parametrize(
    ("version", "method", "code"),
    [
        ("1.0", "CreateTaskPushNotificationConfig", PUSH),
        ("1.0", "GetTaskPushNotificationConfig", PUSH),
        ("1.0", "ListTaskPushNotificationConfigs", PUSH),
        ("1.0", "DeleteTaskPushNotificationConfig", PUSH),
        ("1.0", "SendStreamingMessage", UNSUPPORTED),
        ("1.0", "SubscribeToTask", UNSUPPORTED),
        ("0.3", "tasks/pushNotificationConfig/set", PUSH),
        ("0.3", "tasks/pushNotificationConfig/get", PUSH),
        ("0.3", "message/stream", UNSUPPORTED),
        ("0.3", "tasks/resubscribe", UNSUPPORTED),
        ("1.0", "SendMessage", INVALID),
        ("0.3", "message/send", INVALID),
    ],
)
async def test_capabilities_before_parameters(
    plain: Application, version: str, method: str, code: int, params: Any
) -> None:
    body = json.loads(await rpc(plain, method, params, version))
    assert body["error"]["code"] == code, body


@pytest.mark.parametrize("config", [{}, {"url": 5}, {"url": "https://x.test"}])
async def test_push_within_a_send(plain: Application, config: dict[str, Any]) -> None:
    current = {**message("hi"), "configuration": {"taskPushNotificationConfig": config}}
    body = json.loads(await rpc(plain, "SendMessage", current, "1.0"))
    assert body["error"]["code"] == PUSH
    said = {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "hi"}]}
    old = {"message": said, "configuration": {"pushNotificationConfig": config}}
    assert json.loads(await rpc(plain, "message/send", old, "0.3"))["error"]["code"] == PUSH


async def test_required_extensions_before_parameters(plain: Application) -> None:
    path = "/a2a/agents/strict/"
    body = json.loads(await rpc(plain, "SendMessage", {}, "1.0", path))
    assert body["error"]["code"] == REQUIRED


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("POST", "/message:stream", 400, b"{}"),
        ("POST", "/tasks/x/pushNotificationConfigs", 400, b"{}"),
        ("GET", "/tasks/x/pushNotificationConfigs?pageSize=-1", 400, b""),
    ],
)
async def test_capabilities_before_parameters_over_rest(
    plain: Application, method: str, path: str, status: int, body: bytes
) -> None:
    headers = [("content-type", "application/json"), ("a2a-version", "1.0")]
    answer = await request(plain, method, path, headers=headers, body=body)
    assert answer.status == status
    assert b"NOT_SUPPORTED" in answer.body or b"UNSUPPORTED" in answer.body, answer.body


async def test_where_nobody_is_known_no_extended_card_is_declared(plain: Application) -> None:
    card = await request(plain, "GET", "/.well-known/agent-card.json")
    assert card.json["capabilities"]["extendedAgentCard"] is False
    assert card.json.get("supportsAuthenticatedExtendedCard", False) is False
    assert [skill["id"] for skill in card.json["skills"]] == ["plain"]
    body = json.loads(await rpc(plain, "GetExtendedAgentCard", {}, "1.0"))
    assert body["error"]["code"] == UNSUPPORTED
    old = json.loads(await rpc(plain, "agent/getAuthenticatedExtendedCard", {}, "0.3"))
    assert old["error"]["code"] == NOT_CONFIGURED
    answer = await request(plain, "GET", "/extendedAgentCard", headers=[("a2a-version", "1.0")])
    assert answer.status == 400
