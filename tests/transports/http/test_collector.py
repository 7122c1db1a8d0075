"""What the garbage collector has to do for a server: next to nothing, however long it serves."""

from __future__ import annotations

import gc
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import anyio
import pytest

from greenroom import Agent, RuntimeSettings, TaskContext, asgi
from greenroom.transports.http.asgi import Application
from tests.support.asgi import scope_of

pytestmark = pytest.mark.anyio

COUNT = 200
AT_ONCE = RuntimeSettings(idle=0.01)
STREAM = b"text/event-stream"


@pytest.fixture
def collector(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let nothing be collected but where a test says so, and let no log keep a traceback."""
    caplog.set_level(logging.CRITICAL + 1, logger="greenroom")
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def served() -> Application:
    agent = Agent("Desk")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        match ctx.text:
            case "ask":
                return await ctx.ask("Who are you?")
            case "fail":
                raise ValueError("the secret cause")
            case "stream":
                async with ctx.artifact("log") as log:
                    for _ in range(3):
                        await log.write("chunk")
                return None
            case _:
                return await ctx.step(said, ctx.text)

    async def said(text: str) -> str:
        return f"You said: {text}"

    return asgi(agent, runtime=AT_ONCE)


async def post(app: Application, method: str, params: dict[str, Any]) -> bytes:
    """Make a request and return its answer; the request itself leaves nothing behind."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = [("content-type", "application/json"), ("a2a-version", "1.0")]
    pieces = [{"type": "http.request", "body": body, "more_body": False}]
    chunks: list[bytes] = []
    gone = anyio.Event()

    async def receive() -> dict[str, Any]:
        if pieces:
            return pieces.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        chunks.append(message.get("body", b""))

    await app(scope_of("POST", "/a2a", headers), receive, send)
    return b"".join(chunks)


def said(text: str) -> dict[str, Any]:
    return {"message": {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}}


async def asleep(app: Application) -> None:
    """Wait until no task is in memory."""
    with anyio.fail_after(20):
        while len(app.runtime.directory):  # noqa: ASYNC110
            await anyio.sleep(0.01)


REQUESTS = {
    "send": ("SendMessage", said, "hi", b"COMPLETED"),
    "failed": ("SendMessage", said, "fail", b"FAILED"),
    "asked": ("SendMessage", said, "ask", b"INPUT_REQUIRED"),
    "stream": ("SendStreamingMessage", said, "stream", b"COMPLETED"),
    "unknown task": ("GetTask", lambda text: {"id": text}, "x", b"-32001"),
    "wrong parameters": ("GetTask", lambda text: {"id": 7}, "", b"-32602"),
    "list": ("ListTasks", lambda text: {"pageSize": 1}, "", b"totalSize"),
}


@pytest.mark.parametrize(("method", "params", "text", "expected"), REQUESTS.values(), ids=REQUESTS)
async def test_a_request_leaves_no_cycle(
    collector: None, method: str, params: Any, text: str, expected: bytes
) -> None:
    app = served()
    async with app.lifespan():
        for _ in range(5):
            await post(app, method, params(text))
        await asleep(app)
        gc.collect()
        for _ in range(COUNT):
            assert expected in await post(app, method, params(text))
        await asleep(app)
        assert gc.collect() < COUNT / 10


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio keeps deadlines that are over a while
@pytest.mark.parametrize("text", ["hi", "fail", "ask", "stream"])
async def test_a_task_that_is_over_or_waits_is_nothing_to_the_collector(
    collector: None, text: str
) -> None:
    app = served()
    async with app.lifespan():
        for _ in range(5):
            await post(app, "SendMessage", said(text))
        await asleep(app)
        gc.collect()
        before = kinds()
        for _ in range(COUNT):
            await post(app, "SendMessage", said(text))
        await asleep(app)
        gc.collect()  # it forgets tuples of rows when it sees them
        more = kinds() - before
        assert more.total() < COUNT / 2, more.most_common(8)


def kinds() -> Counter[str]:
    """Count the objects that the collector knows."""
    return Counter(type(one).__name__ for one in gc.get_objects())
