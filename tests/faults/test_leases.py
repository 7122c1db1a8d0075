"""Two nodes over one store: who was stalled past its lease finds that it has lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.call import TaskScope
from greenroom.runtime.durable.steps import step_info
from greenroom.runtime.journal.entries import COMMITTED, Append
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from tests.support.clock import virtual_backend
from tests.support.drive import START, Caller, KeptStore, result, settle

__all__ = ["virtual_backend"]

pytestmark = pytest.mark.anyio
SCOPE = TaskScope("", "worker", "anonymous")
LEASE = 15.0


@pytest.fixture
def anyio_backend(
    virtual_backend: tuple[str, Mapping[str, Any]],
) -> tuple[str, Mapping[str, Any]]:
    return virtual_backend


class StallingStore(KeptStore):
    """What one node sees of a store that it shares; while it is stalled, its calls hang."""

    def __init__(self, shared: KeptStore) -> None:
        super().__init__()
        vars(self).update(vars(shared))  # the same rows
        self._go = anyio.Event()
        self._go.set()

    def stall(self) -> None:
        self._go = anyio.Event()

    def go_on(self) -> None:
        self._go.set()

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        await self._go.wait()
        return await super().heartbeat(node, now=Clock().now(), lease=lease)


class Clock:
    """The one wall clock that both nodes have."""

    def now(self) -> float:
        return START + anyio.current_time()


class Worker:
    def __init__(self, how: str = "step") -> None:
        self.how = how
        self.epochs: dict[str, list[int]] = {}
        self.reasons: list[str] = []
        self.gate = anyio.Event()
        self.agent = Agent("Worker", on_interrupt="resume")
        self.agent.handler(self.handle)

    async def work(self, name: str) -> str:
        self.epochs.setdefault(name, []).append(step_info().epoch)
        return name

    async def chunks(self, name: str) -> AsyncGenerator[str, None]:
        yield await self.work(name)

    async def handle(self, ctx: TaskContext) -> str:
        try:
            first = await ctx.step(self.work, "first")
            await self.gate.wait()  # stalled here
            if self.how == "step":
                second = await ctx.step(self.work, "second")
            else:
                second = (await ctx.stream("x", self.chunks, "second")).parts[0].text or ""
        except BaseException:
            self.reasons.append(str(ctx.cancelled))
            raise
        return f"{first} {second}"


@pytest.mark.parametrize("how", ["step", "stream"])
async def test_a_stalled_owner_that_comes_back_changes_nothing(how: str) -> None:
    shared = KeptStore()
    slow, quick = StallingStore(shared), StallingStore(shared)
    stalled, healthy = Worker(how), Worker(how)
    settings = RuntimeSettings(lease=LEASE, sweep_every=1.0, cancel_grace=1.0)
    async with Runtime(stalled.agent, store=slow, settings=settings, clock=Clock()) as first:
        task = (await Caller(first).send("go", now=True)).id
        await settle()
        async with Runtime(healthy.agent, store=quick, settings=settings, clock=Clock()) as second:
            await anyio.sleep(LEASE * 2)
            assert not healthy.epochs, "the owner lives: nobody touches its task"
            slow.stall()
            await anyio.sleep(LEASE * 2)
            header = await quick.header(SCOPE, task)
            assert header is not None
            assert header.node == second.system.node
            # It comes back, and does not know yet: it may begin nothing, and writes nothing.
            stalled.gate.set()
            await settle()
            assert "second" not in stalled.epochs
            slow.go_on()
            await anyio.sleep(5)
            assert stalled.reasons == ["lease lost"]
            assert "second" not in stalled.epochs
            healthy.gate.set()
            peer = Caller(second)
            done = await peer.until(task, lambda found: found.status.state.terminal)
            assert done.status.state is TaskState.COMPLETED
            assert result(done).endswith("first second")
        # The first node is a new one now, and serves on.
        assert first.system.node != header.node
        stalled.gate.set()
        assert result(await Caller(first).send("go")).endswith("first second")
    assert healthy.epochs == {"second": [2]}
    assert stalled.epochs["first"][0] == 1


async def test_what_a_stalled_owner_still_writes_is_refused() -> None:
    """Its heartbeat works, but the task was taken (a clock that is wrong): the epoch decides."""
    shared = KeptStore()
    mine, theirs = StallingStore(shared), StallingStore(shared)
    worker = Worker()
    async with Runtime(worker.agent, store=mine, clock=Clock()) as runtime:
        task = (await Caller(runtime).send("go", now=True)).id
        await settle()
        header = await theirs.header(SCOPE, task)
        assert header is not None
        await theirs.retire(runtime.system.node, now=Clock().now())
        taken = replace(header, node="other", epoch=header.epoch + 1)
        takeover = Append(header.sequence, header.epoch, taken)
        assert await theirs.append([takeover], now=Clock().now()) == [COMMITTED]
        await theirs.heartbeat("other", now=Clock().now(), lease=1000.0)
        worker.gate.set()
        await settle()
        assert worker.epochs == {"first": [1], "second": [1]}, "begun under the old epoch"
        assert await theirs.header(SCOPE, task) == taken, "and nothing of it was written"
        assert task not in runtime.directory
