"""Starting and stopping: by the server's lifespan, by a host's, or not at all."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import anyio
import pytest

from greenroom import Agent, TaskContext
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage, WatchedRuntime
from tests.support.asgi import Peer, message, request

pytestmark = pytest.mark.anyio


class BrokenStore(MemoryStore):
    async def open(self, *, now: float) -> None:
        raise OSError("the disk is gone")


class Lifespan:
    """The server's side of the lifespan protocol."""

    def __init__(self) -> None:
        self.stop = anyio.Event()
        self.heard: list[str] = []
        self.message = ""
        self.changed = anyio.Event()
        self._begun = False

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._begun:
            self._begun = True
            return {"type": "lifespan.startup"}
        await self.stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.heard.append(message["type"])
        self.message = message.get("message", "")
        self.changed.set()


async def test_the_servers_lifespan_runs_the_runtime(stage: Stage) -> None:
    app = Application(WatchedRuntime(stage, [stage.agent]))
    lifespan = Lifespan()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(app, {"type": "lifespan"}, lifespan.receive, lifespan.send)
            await lifespan.changed.wait()
            assert lifespan.heard == ["lifespan.startup.complete"]
            assert "result" in (await Peer(app).call("SendMessage", message())).json
            lifespan.stop.set()
    assert lifespan.heard[1:] == ["lifespan.shutdown.complete"]
    assert not app.runtime.ready


async def test_a_failing_start_says_why(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent("A", description="a")

    @agent.handler
    async def handle(ctx: TaskContext) -> None: ...

    app = Application(Runtime(agent, store=BrokenStore()))
    lifespan = Lifespan()
    await app({"type": "lifespan"}, lifespan.receive, lifespan.send)
    assert lifespan.heard == ["lifespan.startup.failed"]
    assert "the disk is gone" in lifespan.message


async def test_not_started_is_a_503_that_tells_what_to_do(stage: Stage) -> None:
    app = Application(WatchedRuntime(stage, [stage.agent]))
    answer = await Peer(app).call("SendMessage", message())
    assert answer.status == 503
    assert "app.lifespan()" in answer.json["error"]["message"]
    assert (await Peer(app).rest("GET", "/tasks")).status == 503
    assert (await request(app, "GET", "/ready")).status == 503
    assert (await request(app, "GET", "/health")).status == 200


async def test_a_host_runs_it_in_its_own_lifespan(stage: Stage) -> None:
    app = Application(WatchedRuntime(stage, [stage.agent]))
    async with app.lifespan():
        assert "result" in (await Peer(app).call("SendMessage", message())).json
    assert not app.runtime.ready


async def test_an_error_inside_the_host_comes_out_as_it_is(stage: Stage) -> None:
    app = Application(WatchedRuntime(stage, [stage.agent]))
    with pytest.raises(ZeroDivisionError):
        async with app.lifespan():
            raise ZeroDivisionError
    assert not app.runtime.ready


async def test_a_runtime_that_runs_already_is_left_alone(stage: Stage) -> None:
    runtime = WatchedRuntime(stage, [stage.agent])
    app = Application(runtime)
    async with runtime:
        async with app.lifespan():
            assert "result" in (await Peer(app).call("SendMessage", message())).json
        assert runtime.ready


async def test_an_unknown_scope_is_an_error(stage: Stage) -> None:
    app = Application(WatchedRuntime(stage, [stage.agent]))
    lifespan = Lifespan()
    with pytest.raises(RuntimeError, match="carrier-pigeon"):
        await app({"type": "carrier-pigeon"}, lifespan.receive, lifespan.send)
