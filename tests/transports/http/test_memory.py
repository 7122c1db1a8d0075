"""What a request leaves in memory when its answer is written: nothing, whatever its answer.

The collector is off while the requests run. Objects that only the collector can free are the ones
that fill a server whose collector runs rarely.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from greenroom.auth import Security, StaticToken, static_tokens
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.agents import Stage
from tests.support.asgi import message, scope_of
from tests.support.servers import in_memory

pytestmark = pytest.mark.anyio

TOKEN = "sixteen characters or more"
KNOWN = ("authorization", f"Bearer {TOKEN}")
UNKNOWN = ("authorization", f"Bearer not {TOKEN}")
ROUNDS = 10
MAX_BODY = 100_000


@pytest.fixture
async def secured(stage: Stage) -> AsyncIterator[Application]:
    security = Security(static_tokens([StaticToken.of("ada", TOKEN)]))
    runtime = Runtime([stage.agent, stage.other], store=MemoryStore(), security=security)
    async with in_memory(runtime=runtime, http=HttpSettings(max_body=MAX_BODY)) as server:
        yield server.app


def rpc(method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def _part(data: str) -> bytes:
    return (
        b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"messageId":"m",'
        b'"role":"ROLE_USER","parts":[{"data":%b}]}}}' % data.encode()
    )


def _body(params: Any) -> bytes:
    return json.dumps(params).encode()


LONG = {"a": "x" * 70_000}
CASES: dict[str, tuple[str, str, bytes, tuple[tuple[str, str], ...]]] = {
    "send": ("POST", "/a2a", rpc("SendMessage", message()), (KNOWN,)),
    "direct reply": ("POST", "/a2a/agents/other", rpc("SendMessage", message()), (KNOWN,)),
    "question": ("POST", "/a2a", rpc("SendMessage", message("ask")), (KNOWN,)),
    "stream": ("POST", "/a2a", rpc("SendStreamingMessage", message("count 3")), (KNOWN,)),
    "list": ("GET", "/tasks", b"", (KNOWN,)),
    "REST send": ("POST", "/message:send", _body(message()), (KNOWN,)),
    "REST stream": ("POST", "/message:stream", _body(message("count 3")), (KNOWN,)),
    "card": ("GET", "/.well-known/agent-card.json", b"", ()),
    "health": ("GET", "/health", b"", ()),
    "metrics": ("GET", "/metrics", b"", ()),
    "options": ("OPTIONS", "/a2a", b"", ()),
    "extended card": ("GET", "/extendedAgentCard", b"", (KNOWN,)),
    "unknown path": ("GET", "/nothing", b"", ()),
    "wrong method": ("PUT", "/a2a", b"", ()),
    "no credentials": ("POST", "/a2a", rpc("SendMessage", message()), ()),
    "REST no credentials": ("POST", "/message:send", _body(message()), ()),
    "too large": ("POST", "/a2a", b"x" * 2 * MAX_BODY, (KNOWN,)),
    "REST too large": ("POST", "/message:send", b"x" * 2 * MAX_BODY, (KNOWN,)),
    "compressed": ("POST", "/a2a", b"{}", (KNOWN, ("content-encoding", "gzip"))),
    "unknown version": ("POST", "/a2a", b"{}", (KNOWN, ("a2a-version", "9.9"))),
    "bad JSON": ("POST", "/a2a", b"{" * 1000, (KNOWN,)),
    "REST bad JSON": ("POST", "/message:send", b"{" * 1000, (KNOWN,)),
    "too deep": ("POST", "/a2a", _part("[" * 200 + "]" * 200), (KNOWN,)),
    "too great a number": ("POST", "/a2a", _part("1e400"), (KNOWN,)),
    "bad parameters": ("POST", "/a2a", rpc("SendMessage", {"message": {}}), (KNOWN,)),
    "REST bad parameters": ("POST", "/message:send", b'{"message":{}}', (KNOWN,)),
    "bad query": ("GET", "/tasks?pageSize=x", b"", (KNOWN,)),
    "unknown method": ("POST", "/a2a", rpc("Sing", {}), (KNOWN,)),
    "long metadata": ("POST", "/a2a", rpc("SendMessage", message(metadata=LONG)), (KNOWN,)),
    "unknown task": ("POST", "/a2a", rpc("GetTask", {"id": "none"}), (KNOWN,)),
    "REST unknown task": ("GET", "/tasks/none", b"", (KNOWN,)),
    "follow-up of none": ("POST", "/a2a", rpc("SendMessage", message(taskId="none")), (KNOWN,)),
    "cancel none": ("POST", "/a2a", rpc("CancelTask", {"id": "none"}), (KNOWN,)),
    "subscribe to none": ("POST", "/a2a", rpc("SubscribeToTask", {"id": "none"}), (KNOWN,)),
    "REST subscribe to none": ("GET", "/tasks/none:subscribe", b"", (KNOWN,)),
    "push": ("GET", "/tasks/none/pushNotificationConfigs", b"", (KNOWN,)),
}


class _Connection:
    """The least that a server offers: nothing of the harness is garbage."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 0
        self.size = 0

    async def receive(self) -> dict[str, Any]:
        if self._body is None:
            await anyio.sleep_forever()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.size += len(message.get("body", b""))


async def ask(
    app: Application, method: str, path: str, body: bytes, headers: tuple[tuple[str, str], ...]
) -> int:
    fields = [("content-type", "application/json")]
    if not any(name == "a2a-version" for name, _ in headers):
        fields.append(("a2a-version", "1.0"))
    connection = _Connection(body)
    scope = scope_of(method, path, [*fields, *headers])
    await app(scope, connection.receive, connection.send)
    return connection.status


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Count by type what the block leaves to the collector."""
    value: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield value
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        value.update(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("case", CASES)
async def test_an_answered_request_leaves_nothing_to_the_collector(
    secured: Application, case: str
) -> None:
    for _ in range(2):  # caches, and what is made at the first use
        assert await ask(secured, *CASES[case])
    await anyio.wait_all_tasks_blocked()
    with garbage() as found:
        for _ in range(ROUNDS):
            await ask(secured, *CASES[case])
        await anyio.wait_all_tasks_blocked()
    assert sum(found.values()) < ROUNDS, found


async def test_refused_credentials_leave_nothing_to_the_collector(secured: Application) -> None:
    case = ("POST", "/a2a", rpc("SendMessage", message()), (UNKNOWN,))
    assert await ask(secured, *case) == 401
    with garbage() as found:
        for _ in range(5):  # more would be slowed down
            await ask(secured, *case)
    assert sum(found.values()) < 5, found
