"""Malformed requests of any kind: the protocol's own errors, nothing internal, nothing changed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.transports.http.asgi import Application
from tests.support.asgi import Peer, Response, message, request

pytestmark = pytest.mark.anyio

SEND = message("hi")
SEND_FULL = {
    **message("hi", contextId="c", metadata={"a": [1, {"b": None}]}, referenceTaskIds=["t"]),
    "configuration": {
        "acceptedOutputModes": ["text/plain"],
        "historyLength": 3,
        "returnImmediately": True,
        "taskPushNotificationConfig": {"url": "https://x.test", "authentication": {"scheme": "b"}},
    },
    "metadata": {"k": 1.5},
    "tenant": "t",
}
SEND_03 = {
    "message": {
        "kind": "message",
        "messageId": "m",
        "role": "user",
        "parts": [
            {"kind": "text", "text": "hi"},
            {"kind": "data", "data": {"a": 1}},
            {"kind": "file", "file": {"bytes": "aGk=", "name": "n", "mimeType": "text/plain"}},
        ],
    },
    "configuration": {"blocking": True, "historyLength": 1},
}
PUSH = {"taskId": "x", "url": "https://x.test", "authentication": {"scheme": "Bearer"}}
RPC: list[tuple[str | None, str, Any]] = [
    ("1.0", "SendMessage", SEND),
    ("1.1", "SendMessage", SEND_FULL),
    ("1.0", "SendStreamingMessage", SEND),
    ("1.0", "GetTask", {"id": "x", "historyLength": 1}),
    ("1.0", "ListTasks", {"contextId": "c", "status": "TASK_STATE_WORKING", "pageSize": 2}),
    ("1.0", "ListTasks", {"pageToken": "abc", "statusTimestampAfter": "2026-01-01T00:00:00Z"}),
    ("1.0", "CancelTask", {"id": "x"}),
    ("1.0", "SubscribeToTask", {"id": "x"}),
    ("1.0", "CreateTaskPushNotificationConfig", PUSH),
    ("1.0", "GetExtendedAgentCard", {}),
    (None, "message/send", SEND_03),
    (None, "message/stream", SEND_03),
    ("0.3", "tasks/get", {"id": "x", "historyLength": 1}),
    ("0.3", "tasks/pushNotificationConfig/set", {"taskId": "x", "pushNotificationConfig": PUSH}),
]
REST: list[tuple[str | None, str, str, Any]] = [
    ("1.0", "POST", "/message:send", SEND),
    ("1.0", "POST", "/message:stream", SEND_FULL),
    ("1.0", "GET", "/tasks?contextId=c&status=TASK_STATE_WORKING&pageSize=2&pageToken=a", None),
    ("1.0", "GET", "/tasks/x?historyLength=1", None),
    ("1.0", "POST", "/tasks/x:cancel", {"metadata": {}}),
    ("1.0", "POST", "/tasks/x:subscribe", None),
    ("1.0", "POST", "/tasks/x/pushNotificationConfigs", PUSH),
    (
        None,
        "POST",
        "/v1/message:send",
        {"message": {**SEND["message"], "content": [{"text": "a"}]}},
    ),
    (None, "GET", "/v1/tasks/x?history_length=1", None),
]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 2**70, "", "x", "1", "\x00", "\U0001f600",
    "x" * 300, [], [[]], {}, {"": None}, [None], "TASK_STATE_NOPE", "ROLE_AGENT", "2026-99-99",
]  # fmt: skip
SPLICES = [
    b"", b"\x00", b"\xff", b"\xc3(", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\",
    b"NaN", b"-", b"1e999", b"9" * 50, b"null", b"true", b"\xef\xbb\xbf", b" ", b"\n", b"[" * 200,
]  # fmt: skip


def twisted(plain: Any, chance: random.Random) -> Any:
    """Return ``plain`` with one member somewhere replaced, removed, renamed or added."""
    if isinstance(plain, dict) and plain and chance.random() < 0.8:
        value = dict(plain)
        key = chance.choice(sorted(value))
        match chance.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[chance.choice(["", "taskId", "task_id", "text", "raw", "url", "kind"])] = (
                    chance.choice(VALUES)
                )
            case 2:
                value[key.swapcase()] = value.pop(key)
            case _:
                value[key] = twisted(value[key], chance)
        return value
    if isinstance(plain, list) and plain and chance.random() < 0.8:
        at = chance.randrange(len(plain))
        return [*plain[:at], twisted(plain[at], chance), *plain[at + 1 :]]
    return chance.choice(VALUES)


def mangled(body: bytes, chance: random.Random) -> bytes:
    """Return ``body`` with some bytes cut out, put in, or changed."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(body) + 1)
        end = start + chance.choice([0, 0, 1, 1, 2, 5, 40, len(body)])
        body = body[:start] + chance.choice(SPLICES) + body[end:]
    return body


def malformed(plain: Any, chance: random.Random) -> bytes:
    if chance.random() < 0.6:
        for _ in range(chance.randint(1, 3)):
            plain = twisted(plain, chance)
        body = json.dumps(plain).encode()
        return mangled(body, chance) if chance.random() < 0.1 else body
    return mangled(json.dumps(plain).encode(), chance)


async def post(app: Application, version: str | None, path: str, body: bytes) -> Response:
    headers = [("content-type", "application/json")]
    if version is not None:
        headers.append(("a2a-version", version))
    return await request(app, "POST", path, headers=headers, body=body)


class Tally:
    """What the answers say was done, against what was."""

    def __init__(self) -> None:
        self.tasks: set[str] = set()
        self.silent = 0
        self.errors = 0

    def take(self, answer: Response) -> None:
        if answer.status == 204:
            self.silent += 1
            return
        streamed = answer["content-type"] == "text/event-stream"
        body = json.loads(answer.events[0].data) if streamed else answer.json
        if answer.status != 200 or "error" in body:
            self.errors += 1
            return
        result = body.get("result", body) if isinstance(body, dict) else None
        task = result.get("task", result) if isinstance(result, dict) else None
        if isinstance(task, dict) and "status" in task:
            self.tasks.add(task["id"])


async def storm(app: Application, count: int, attack: Callable[[int, random.Random], Any]) -> None:
    tally = Tally()
    for number in range(count):
        answer: Response = await attack(number, random.Random(number))
        assert answer.status not in (500, 502, 503), (number, answer.body)
        assert b"-32603" not in answer.body, (number, answer.body)
        assert b"Traceback" not in answer.body, number
        tally.take(answer)
    assert tally.errors > count / 3, "most of it should have been wrong"
    listed = await Peer(app).call("ListTasks", {"pageSize": 1})
    made = listed.json["result"]["totalSize"]
    assert len(tally.tasks) <= made <= len(tally.tasks) + tally.silent


async def attack_jsonrpc(app: Application, count: int) -> None:
    async def attack(number: int, chance: random.Random) -> Response:
        version, method, params = RPC[number % len(RPC)]
        envelope = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        return await post(app, version, "/a2a", malformed(envelope, chance))

    await storm(app, count, attack)


async def attack_rest(app: Application, count: int) -> None:
    async def attack(number: int, chance: random.Random) -> Response:
        version, method, path, plain = REST[number % len(REST)]
        if plain is not None and chance.random() < 0.8:
            return await post(app, version, path, malformed(plain, chance))
        raw = mangled(path.encode(), chance).decode("latin-1")
        target = "/" + "".join(c if "!" <= c <= "~" else f"%{ord(c):02X}" for c in raw)[1:]
        return await Peer(app, version).rest(method, target, plain)

    await storm(app, count, attack)


async def test_malformed_jsonrpc(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    await attack_jsonrpc(app, 2000)
    assert not [record for record in caplog.records if record.exc_info]


async def test_malformed_rest(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    await attack_rest(app, 2000)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.long
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_malformed_jsonrpc_at_length(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    await attack_jsonrpc(app, 100_000)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.long
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_malformed_rest_at_length(app: Application, caplog: pytest.LogCaptureFixture) -> None:
    await attack_rest(app, 100_000)
    assert not [record for record in caplog.records if record.exc_info]
