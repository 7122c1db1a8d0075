"""What a kill cannot show: disks that lose, delay and refuse what they were given.

Every store here is a real one behind a shim at the port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from greenroom import Agent, TaskContext, TaskState
from greenroom.protocol.errors import A2AError, UnavailableError
from greenroom.runtime.call import TaskScope
from greenroom.runtime.durable.steps import step_info
from greenroom.runtime.journal.entries import Append, EventPage, Kind, Loaded, Outcome
from greenroom.runtime.journal.store import OutcomeUnknownError, StoreError
from greenroom.transports.http.asgi import Application
from tests.support.asgi import request
from tests.support.clock import virtual_backend
from tests.support.crash import copy_of
from tests.support.drive import KeptStore, read, result, running, said, settle, user

__all__ = ["virtual_backend"]

pytestmark = pytest.mark.anyio
SCOPE = TaskScope("", "worker", "anonymous")


@pytest.fixture
def anyio_backend(
    virtual_backend: tuple[str, Mapping[str, Any]],
) -> tuple[str, Mapping[str, Any]]:
    return virtual_backend


class Disk(KeptStore):
    """A store whose commits reach the platter late, or not, or say that they did not."""

    def __init__(self) -> None:
        super().__init__()
        self.platter = copy_of(self)
        """What a power cut leaves."""
        self.delay = 0.0
        self.refuse: list[Exception] = []
        """Raised by the next commits, which do not happen."""
        self.lie: list[Exception] = []
        """Raised by the next commits, which happen all the same."""
        self.full = False
        """Nothing can be written, by heartbeats neither."""
        self.cannot_load = 0
        """So many times no task can be woken."""
        self.unreadable = False
        """Nor can events be read."""

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        self.look()
        return await super().heartbeat(node, now=now, lease=lease)

    async def events(
        self, scope: TaskScope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        if self.unreadable:
            raise StoreError("the disk cannot be read")
        return await super().events(scope, task_id, after=after, limit=limit)

    async def load(self, scope: TaskScope, task_id: str) -> Loaded | None:
        if self.cannot_load:
            self.cannot_load -= 1
            raise StoreError("the disk cannot be read")
        return await super().load(scope, task_id)

    def look(self) -> None:
        if self.full:
            raise StoreError("the database or disk is full")

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        self.look()
        if self.refuse:
            raise self.refuse.pop(0)
        outcomes = await super().append(batch, now=now)
        if self.delay:
            await anyio.sleep(self.delay)  # written, not yet on the platter
        self.platter = copy_of(self)
        if self.lie:
            raise self.lie.pop(0)
        return outcomes


def copy_without(disk: Disk) -> KeptStore:
    left = copy_of(disk.platter)
    left._nodes.clear()  # as with a file: whoever had it is gone
    return left


class Worker:
    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []
        self.agent = Agent("Worker", on_interrupt="resume")
        self.agent.handler(self.handle)

    async def work(self, name: str) -> str:
        self.keys.append((name, step_info().key))
        await anyio.sleep(1)
        return name

    async def handle(self, ctx: TaskContext) -> str:
        await ctx.status("starting")
        first = await ctx.step(self.work, "first")
        who = await ctx.ask("Who?")
        second = await ctx.step(self.work, "second")
        return f"{first} {who} {second}"


async def test_nothing_that_a_power_cut_takes_was_ever_told() -> None:
    """At any moment what readers have seen is on the platter."""
    worker, disk = Worker(), Disk()
    disk.delay = 0.3
    seen: list[int] = []

    async def watch(peer: Any, task: str) -> None:
        stream = await peer.subscribe(task)
        while (frames := await stream.next()) is not None:
            for frame in frames:
                seen.append(frame.generation)
                page = await disk.platter.events(SCOPE, task, after=0, limit=100)
                assert page is not None
                assert frame.generation <= page.header.generation, "told before it was durable"
        stream.close()

    async with running(worker.agent, store=disk) as peer, anyio.create_task_group() as group:
        task = (await peer.send("go", now=True)).id
        assert await disk.platter.header(SCOPE, task) is not None
        group.start_soon(watch, peer, task)
        await peer.over(task)
        told = await peer.send("Ada", task=task)
        header = await disk.platter.header(SCOPE, task)
        assert header is not None
        assert header.state is told.status.state is TaskState.COMPLETED
    assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("which", range(8))
async def test_a_commit_of_unknown_outcome_loses_and_doubles_nothing(
    happened: bool, which: int
) -> None:
    """The ``which``-th commit fails; clients repeat what was not acknowledged."""
    worker, disk = Worker(), Disk()
    go, answer = user("go"), user("Ada")
    count = 0
    original = disk.append

    async def append(batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        nonlocal count
        if count == which:
            error = OutcomeUnknownError("the disk said nothing")
            (disk.lie if happened else disk.refuse).append(error)
        count += 1
        return await original(batch, now=now)

    disk.append = append  # type: ignore[method-assign]

    async with running(worker.agent, store=disk, sweep_every=0.5) as peer:

        async def insist(message: Any, **options: Any) -> Any:
            while True:
                try:
                    return await peer.send(message, now=True, **options)
                except A2AError:
                    await anyio.sleep(1)

        task = (await insist(go)).id
        with anyio.fail_after(600):
            assert (await peer.over(task)).status.state is TaskState.INPUT_REQUIRED
            await insist(replace(answer, task_id=task))
            current = await peer.until(task, lambda task: task.status.state.terminal)
        assert result(current) == "first Ada second"
        entries = await disk.journal(SCOPE, task)
        heard = [e for e in entries if e.kind is Kind.MESSAGE and b'"ROLE_USER"' in e.body]
        assert len(heard) == 2
        places = [(e.run, e.branch, e.ordinal) for e in entries if e.ordinal]
        assert len(places) == len(set(places))
        for name in ("first", "second"):
            assert len({key for step, key in worker.keys if step == name}) == 1
        assert (await peer.list(page_size=10)).total_size == 1


async def test_a_full_disk_refuses_and_goes_on_when_there_is_room_again() -> None:
    worker, disk = Worker(), Disk()
    async with running(worker.agent, store=disk, sweep_every=0.5) as peer:
        task = (await peer.send("go", now=True)).id
        await settle()
        disk.refuse = [StoreError("the database or disk is full")] * 20
        with pytest.raises(UnavailableError):
            await peer.send("other")
        await anyio.sleep(60)
        assert not disk.refuse
        assert (await peer.over(task)).status.state is TaskState.INPUT_REQUIRED
        assert result(await peer.send("Ada", task=task)) == "first Ada second"
    assert len({key for name, key in worker.keys if name == "first"}) == 1


async def test_a_server_is_not_ready_while_its_store_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker, disk = Worker(), Disk()
    async with running(worker.agent, store=disk) as peer:
        app = Application(peer.runtime)

        async def status(path: str) -> int:
            return (await request(app, "GET", path)).status

        assert await status("/ready") == 200
        for somebody_calls in (True, False):
            disk.full = True
            if somebody_calls:
                with pytest.raises(UnavailableError):
                    await peer.send("go", now=True)
            else:
                await anyio.sleep(10)  # the heartbeat notices too
            assert await status("/ready") == 503
            told = [record for record in caplog.records if record.levelname == "ERROR"]
            assert [record.exc_info for record in told if "not ready" in record.message] == [None]
            caplog.clear()
            await anyio.sleep(40)  # longer than the lease
            assert await status("/ready") == 503
            assert await status("/health") == 200, "starting it anew would not help"
            disk.full = False
            await anyio.sleep(10)
            assert await status("/ready") == 200
            assert not [record for record in caplog.records if record.exc_info]
        assert (await peer.send("go")).status.state is TaskState.INPUT_REQUIRED


async def test_a_stream_whose_events_cannot_be_read_is_told_to_come_back() -> None:
    worker, disk = Worker(), Disk()
    async with running(worker.agent, store=disk, tail_events=1) as peer:
        task = await peer.send("go")
        await peer.send("Ada", task=task.id)
        stream = await peer.subscribe(task.id, after=1)
        assert await stream.next()
        disk.unreadable = True
        with pytest.raises(UnavailableError):
            await stream.next()
        stream.close()


async def test_after_a_power_cut_the_next_process_has_all_that_was_told() -> None:
    worker, disk = Worker(), Disk()
    disk.delay = 0.2
    async with running(worker.agent, store=disk) as peer:
        stream = await peer.stream("go")
        frames = await read(stream)
        left = copy_without(disk)
    task = frames[0].response.task
    assert task is not None
    async with running(worker.agent, store=left) as peer:
        again = await peer.subscribe(task.id, after=1)
        kept = [*(await again.next() or ()), *(await again.next() or ())]
        again.close()
        assert [f.generation for f in kept][: len(frames)] == [f.generation for f in frames]
        assert result(await peer.send("Ada", task=task.id)) == "first Ada second"


async def test_a_task_that_was_passed_over_once_is_found_again() -> None:
    disk = Disk()
    worker = Worker()
    async with running(worker.agent, store=disk) as peer:
        task = await peer.send("go", now=True)
        await settle()
        disk.cannot_load = 1
        disk.refuse = [StoreError("database is locked")]
        await anyio.sleep(5)  # the step ends, and its commit fails
        assert (await peer.get(task.id)).status.state is TaskState.WORKING
        assert (await peer.over(task.id)).status.state is TaskState.INPUT_REQUIRED


async def test_a_task_that_nobody_has_is_taken_up_again() -> None:
    disk = Disk()
    worker = Worker()
    async with running(worker.agent, store=disk) as peer:
        task = await peer.send("go", now=True)
        await settle()
        actor = peer.runtime.directory[task.id]
        actor.rest()  # as a mistake of the runtime would: nobody is told, and the node is this one
        assert actor.execution is not None
        actor.execution.abandon("lost")
        await settle()
        assert task.id not in peer.runtime.directory
        assert (await peer.over(task.id)).status.state is TaskState.INPUT_REQUIRED


async def test_a_task_that_nothing_moves_on_is_ended() -> None:
    agent = Agent("Stands")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.status("working")
        await anyio.sleep(1000)

    async with running(agent, store=Disk()) as peer:
        task = await peer.send("go", now=True)
        await settle()
        actor = peer.runtime.directory[task.id]
        execution, actor.execution = actor.execution, None  # as a mistake of the runtime would
        assert execution is not None
        execution.abandon("lost")
        current = await peer.over(task.id)
        assert current.status.state is TaskState.FAILED
        assert "Error id" in said(current)
