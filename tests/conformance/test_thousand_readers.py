"""A thousand subscribers of one task, ten of whom never read (section 3.5.2; a promise of ours)."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc
from collections.abc import Mapping, MutableMapping
from typing import Any

import anyio
import pytest

from greenroom import Agent, TaskContext
from greenroom.protocol.sse import Decoder
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock
from greenroom.transports.http.asgi import Application
from tests.support.asgi import scope_of

from .conftest import START, said
from .dialects import JSONRPC, REST

pytestmark = pytest.mark.anyio

READERS, STUCK, CHUNKS, SIZE = 1000, 10, 64, 8192


class Reader:
    """A subscriber that keeps only the numbers and a digest of what it got."""

    def __init__(self, stuck: bool) -> None:
        self.stuck = stuck
        self.ids: list[int] = []
        self.digest = hashlib.sha256()
        self.decoder = Decoder()
        self.started = anyio.Event()
        self.over = anyio.Event()
        self._requested = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self._requested:
            await anyio.sleep_forever()
        self._requested = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            return
        self.decoder.receive_data(message.get("body", b""))  # a long write comes in pieces
        while (event := self.decoder.next_event()) is not None:
            self.ids.append(int(event.id or 0))
            if len(self.ids) > 1:  # the first is the snapshot, which names nobody's chunk
                self.digest.update(event.data)
        if not message.get("more_body", False):
            self.over.set()
        self.started.set()
        if self.stuck:
            await anyio.sleep_forever()

    async def run(self, app: Application, task: str) -> None:
        scope = scope_of("GET", f"/tasks/{task}:subscribe", [("a2a-version", "1.0")])
        scope["http_version"] = "2"
        await app(scope, self.receive, self.send)


async def test_ten_of_a_thousand_never_read(
    virtual_backend: tuple[str, Mapping[str, Any]],
) -> None:
    go = anyio.Event()
    took = -1.0
    agent = Agent("Writer", description="Writes a lot.")

    @agent.handler
    async def write(ctx: TaskContext) -> None:
        nonlocal took
        await go.wait()
        began = anyio.current_time()
        async with ctx.artifact("book") as out:
            for number in range(CHUNKS):
                await out.write(f"{number:06}" + "x" * SIZE)
        took = anyio.current_time() - began

    app = Application(Runtime([agent], store=MemoryStore(), clock=LoopClock(START)))
    readers = [Reader(stuck=number % (READERS // STUCK) == 7) for number in range(READERS)]
    good = [reader for reader in readers if not reader.stuck]
    assert len(good) == READERS - STUCK
    async with app.lifespan(), anyio.create_task_group() as group:
        answer = await JSONRPC.call(app, "SendMessage", said("go", now=True))
        task = answer.task["id"]
        for reader in readers:
            group.start_soon(reader.run, app, task)
        for reader in readers:
            await reader.started.wait()

        gc.collect()
        tracemalloc.start()
        try:
            go.set()
            for reader in good:
                await reader.over.wait()
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        done = (await REST.call(app, "GetTask", {"id": task})).task
        assert done["status"]["state"] == "TASK_STATE_COMPLETED"
        # Time here is virtual: it stands still unless everybody waits for a timer. So the agent
        # was made to wait for no one, neither for a reader nor for a time-out that ends one.
        assert took == 0.0
        assert len(done["artifacts"][0]["parts"]) == CHUNKS

        last = good[0].ids[-1]
        for reader in good:
            assert reader.ids == list(range(reader.ids[0], last + 1)), "all, once, in order"
        assert len({reader.digest.digest() for reader in good}) == 1, "the same to everyone"
        assert last > CHUNKS
        assert all(len(reader.ids) == 1 for reader in readers if reader.stuck)

        # What was written is held by the journal and the feed. A copy for each of those who do not
        # read would be ten times the text more, one for everybody a thousand times.
        text = CHUNKS * (SIZE + 6)
        assert held < STUCK * text, f"{held / text:.1f} times the text are still held"
        assert peak < READERS / 20 * text, f"{peak / text:.1f} times the text at most"

        # Those who read nothing are let go in time, by themselves.
        await anyio.sleep(3 * app.settings.write_timeout)
        assert not app.open_responses.open
        assert app.open_responses.dropped == STUCK
        group.cancel_scope.cancel()
