"""Readers: a snapshot at n, then n+1, n+2 …: none twice, none missing, and nobody waits for one."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom import Agent, InputRequired, TaskContext, TaskState
from greenroom.protocol.errors import (
    ResourceExhaustedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from greenroom.protocol.frame import Frame
from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import EventPage, Loaded, Snapshot
from tests.support.drive import (
    KeptStore,
    numbers,
    read,
    result,
    running,
    settle,
    states,
    take,
    user,
)

pytestmark = pytest.mark.anyio


def of(agent: str) -> TaskScope:
    return TaskScope("", agent, "anonymous")


class PrunedMeanwhile(KeptStore):
    """Of a finished task the events are pruned before the read after ``reads_left`` ones."""

    reads_left = -1

    async def _meanwhile(self) -> None:
        if self.reads_left == 0:
            await self.prune(tasks_before=0, sends_before=0, events_before=inf, limit=10)
        self.reads_left -= 1

    async def load(self, scope: TaskScope, task_id: str) -> Loaded | None:
        await self._meanwhile()
        return await super().load(scope, task_id)

    async def as_of(self, scope: TaskScope, task_id: str, generation: int) -> Snapshot | None:
        await self._meanwhile()
        return await super().as_of(scope, task_id, generation)

    async def events(
        self, scope: TaskScope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        await self._meanwhile()
        return await super().events(scope, task_id, after=after, limit=limit)


class Weighed(KeptStore):
    """Counts what is loaded to wake tasks."""

    loads = 0
    records = 0

    async def load(self, scope: TaskScope, task_id: str) -> Loaded | None:
        loaded = await super().load(scope, task_id)
        self.loads += 1
        self.records += len(loaded.entries) if loaded is not None else 0
        return loaded


class Talker:
    """An agent that says as many chunks as it is told, one each second, or all at once."""

    def __init__(self, pause: float = 1.0) -> None:
        self.agent = Agent("Talker")

        @self.agent.handler
        async def handler(ctx: TaskContext) -> Any:
            count = int(ctx.text)
            async with ctx.artifact("talk") as out:
                for index in range(count):
                    if pause:
                        await anyio.sleep(pause)
                    await out.write(f"{index} ")


def words(frames: Sequence[Frame]) -> str:
    """The text that a reader has after these frames, folded as a client folds it."""
    text = ""
    for frame in frames:
        task, update = frame.response.task, frame.response.artifact_update
        if task is not None:
            text = result(task)
        elif update is not None:
            text = text + update.artifact.text if update.append else update.artifact.text
    return text


def whole(count: int) -> str:
    return "".join(f"{index} " for index in range(count))


# --- subscribing --------------------------------------------------------------------------------


async def test_a_late_subscriber_gets_a_snapshot_and_what_follows() -> None:
    talker = Talker()
    async with running(talker.agent) as peer:
        task = await peer.send("10", now=True)
        await anyio.sleep(5.5)
        frames = await read(await peer.subscribe(task.id))
        first = frames[0].response.task
        assert first is not None
        assert result(first) == whole(5)
        assert first.history is not None
        # created, working, ten chunks, the end of the artifact, completed
        assert numbers(frames) == list(range(7, 15))
        assert words(frames) == whole(10)
        assert states(frames)[-1] == "completed"


async def test_a_finished_task_has_nothing_to_subscribe_to() -> None:
    talker = Talker()
    async with running(talker.agent) as peer:
        task = await peer.send("1")
        with pytest.raises(UnsupportedOperationError, match="completed"):
            await peer.subscribe(task.id)
        with pytest.raises(TaskNotFoundError):
            await peer.subscribe("nowhere")
        assert peer.runtime.statistics()["streams_open"] == 0


async def test_subscribing_to_a_sleeping_task_wakes_it_and_keeps_it_awake() -> None:
    agent = Agent("Turns")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        return InputRequired("more?") if ctx.text == "go" else "done"

    async with running(agent, idle=60.0) as peer:
        task = await peer.send("go")
        await anyio.sleep(100.0)
        assert peer.runtime.statistics()["actors"] == 0
        stream = await peer.subscribe(task.id)
        await anyio.sleep(1000.0)
        assert peer.runtime.statistics()["actors"] == 1
        await peer.send("stop", task=task.id)
        frames = await read(stream)
        assert states(frames) == ["input_required", "working", "+result", "completed"]
        # and one that only looked lets it sleep again
        other = await peer.send("go")
        (await peer.subscribe(other.id)).close()
        await anyio.sleep(200.0)
        assert peer.runtime.statistics()["actors"] == 0
        assert peer.runtime.statistics()["streams_open"] == 0


# --- resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("tail", [2, 4, 256])
@pytest.mark.parametrize("cursor", range(1, 15))
async def test_a_reader_comes_back_at_any_cursor(cursor: int, tail: int, finished: bool) -> None:
    talker = Talker()
    async with running(talker.agent, tail_events=tail) as peer:
        task = await peer.send("10", now=True)
        await anyio.sleep(20.0 if finished else max(0.0, cursor - 1.5))
        present = (await peer.get(task.id)).generation
        stream = await peer.subscribe(task.id, after=cursor)
        if cursor > present:
            assert stream.reset
        else:
            assert not stream.reset
            frames = await read(stream)
            assert frames[0].response.task is not None
            assert numbers(frames) == list(range(cursor, 15))
            assert words(frames) == whole(10)
            # the snapshot is the task as it was then, not as it is now
            assert result(frames[0].response.task) == whole(min(10, max(0, cursor - 2)))
            assert frames[0].response.task.status.state is (
                TaskState.SUBMITTED if cursor == 1
                else TaskState.COMPLETED if cursor == 14
                else TaskState.WORKING
            )  # fmt: skip
        stream.close()


@pytest.mark.parametrize("cursor", [-1, 0, 99])
@pytest.mark.parametrize("finished", [False, True])
async def test_a_cursor_outside_what_is_kept_gets_the_present_and_is_told(
    cursor: int, finished: bool
) -> None:
    talker = Talker()
    async with running(talker.agent) as peer:
        task = await peer.send("3", now=True)
        await anyio.sleep(10.0 if finished else 1.5)
        stream = await peer.subscribe(task.id, after=cursor)
        assert stream.reset
        with anyio.fail_after(30.0):
            frames = await read(stream)
        assert words(frames) == whole(3)
        assert states(frames)[-1] == "completed"
        assert len(frames) == (1 if finished else 5)


async def test_a_reader_resumes_at_another_process() -> None:
    talker = Talker()
    store = KeptStore()
    async with running(talker.agent, store=store) as peer:
        task = await peer.send("5")
    async with running(talker.agent, store=store) as peer:
        frames = await read(await peer.subscribe(task.id, after=4))
        assert numbers(frames) == [4, 5, 6, 7, 8, 9]
        assert words(frames) == whole(5)


@pytest.mark.parametrize("tail", [2, 8])
@pytest.mark.parametrize("moment", range(6))
async def test_a_reader_that_comes_back_while_events_are_pruned_misses_none_or_is_told(
    moment: int, tail: int
) -> None:
    talker = Talker(pause=0)
    store = PrunedMeanwhile()
    async with running(talker.agent, store=store, tail_events=tail, sweep_every=1e6) as peer:
        task = await peer.send("300")
        assert task.generation is not None
        store.reads_left = moment
        stream = await peer.subscribe(task.id, after=5)
        frames = await read(stream)
        pruned = await store.header(of("talker"), task.id)
        assert pruned is not None
        if stream.reset:
            # What came before the reset is without a gap too; then the present, once.
            assert pruned.floor > 5
            assert numbers(frames)[-1] == task.generation
            assert numbers(frames)[:-1] == list(range(5, 5 + len(frames) - 1))
            assert frames[-1].response.task is not None
            assert words(frames[-1:]) == whole(300)
        else:
            assert numbers(frames) == list(range(5, task.generation + 1))
        assert words(frames) == whole(300)


async def test_the_log_of_a_task_that_goes_on_and_on_is_bounded() -> None:
    agent = Agent("Watch")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        for index in range(30):
            await ctx.artifact("readings", f"{ctx.text}.{index} ")
        await ctx.status(f"{ctx.text} is over")
        return InputRequired(f"after {ctx.text}?")

    store = KeptStore()
    limits: dict[str, Any] = {"event_limit": 40, "tail_events": 8, "idle": 60.0}
    async with running(agent, store=store, **limits) as peer:
        task = await peer.send("0")
        kept: list[int] = []
        for turn in range(1, 20):
            await peer.send(str(turn), task=task.id)
            page = await store.events(of("watch"), task.id, after=0, limit=10_000)
            assert page is not None
            kept.append(len(page.events))
            if turn == 10:
                await anyio.sleep(100.0)  # it sleeps, and wakes with what the store knows
        # The limit, the run that goes on, and what is not folded yet.
        assert max(kept) <= 40 + 33 + 2 * 8
        header = await store.header(of("watch"), task.id)
        assert header is not None
        present = (await peer.get(task.id)).generation
        assert present == header.generation
        assert result(await peer.get(task.id)) == "19.29 "
        # Whoever comes back within what is kept is shown the task as it was then.
        await peer.cancel(task.id)
        for cursor in range(header.floor, present + 1):
            stream = await peer.subscribe(task.id, after=cursor)
            frames = await read(stream)
            assert not stream.reset
            assert numbers(frames) == list(range(cursor, present + 2))
            shown = frames[0].response.task
            assert shown is not None
            turn, step = divmod(cursor - 2, 33)
            assert shown.status.state is (
                TaskState.INPUT_REQUIRED if step == 32 else TaskState.WORKING
            )
        stream = await peer.subscribe(task.id, after=header.floor - 1)
        assert stream.reset
        assert numbers(await read(stream)) == [present + 1]


async def test_a_long_log_keeps_what_replay_needs() -> None:
    agent = Agent("Watch", on_interrupt="resume")
    done: list[str] = []

    async def look(name: str) -> str:
        done.append(name)
        return name

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        for index in range(100):
            await ctx.status(f"reading {index}")
        await ctx.step(look, "sky")
        return await ctx.ask("What do you see?")

    store = KeptStore()
    limits: dict[str, Any] = {"event_limit": 1, "tail_events": 4}
    async with running(agent, store=store, **limits) as peer:
        task = await peer.send("go")
    async with running(agent, store=store, **limits) as peer:
        assert result(await peer.send("stars", task=task.id)) == "stars"
        page = await store.events(of("watch"), task.id, after=0, limit=10_000)
        assert page is not None
        assert len(page.events) == page.header.generation - 1
    assert done == ["sky"]


async def test_a_task_that_is_over_is_read_without_what_its_run_recorded() -> None:
    agent = Agent("Steps")

    async def step(index: int) -> int:
        return index

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        for index in range(50):
            await ctx.step(step, index)
        return "done"

    store = Weighed()
    async with running(agent, store=store) as peer:
        task = await peer.send(user("go", id="0f8fad5b-d9cb-469f-a165-70867728950e"))
        assert task.generation is not None
        frames = await read(await peer.subscribe(task.id, after=1))
        assert states(frames) == ["submitted", "working", "+result", "completed"]
        assert await peer.get(task.id, newer_than=task.generation) == task
        with pytest.raises(UnsupportedOperationError):
            await peer.send("more", task=task.id)
        again = user("go", id="0f8fad5b-d9cb-469f-a165-70867728950e")
        assert await peer.send(again) == task
        assert store.loads >= 4
        assert store.records == 0


# --- many, slow and absent ------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [1, 4, 64])
async def test_a_slow_reader_catches_up_from_the_store(tail: int) -> None:
    talker = Talker(pause=0)
    async with running(talker.agent, tail_events=tail) as peer:
        stream = await peer.stream("500")
        task = (await peer.list()).tasks[0].id
        await peer.over(task)
        frames = await read(stream)
        assert numbers(frames) == list(range(1, 505))
        assert words(frames) == whole(500)


async def test_a_thousand_readers_of_whom_ten_never_read() -> None:
    agent = Agent("Talker")
    go = anyio.Event()
    chunks = 300

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await go.wait()
        async with ctx.artifact("talk") as out:
            for index in range(chunks):
                await out.write(f"{index} ")
                await anyio.lowlevel.checkpoint()

    async with running(agent, tail_events=64) as peer:
        task = await peer.send("go", now=True)
        await settle()
        streams = [await peer.subscribe(task.id) for _ in range(1000)]
        absent = [streams.pop() for _ in range(10)]
        for stream in absent[:5]:
            await stream.next()
        correct = 0

        async def reader(stream: Any) -> None:
            nonlocal correct
            expected = 2
            while (frames := await stream.next()) is not None:
                for frame in frames:
                    assert frame.generation == expected
                    expected += 1
            assert expected == chunks + 5
            correct += 1
            stream.close()

        actor = peer.runtime.directory[task.id]
        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(reader, stream)
            await settle()
            go.set()
        assert correct == 990
        # Nobody was waited for: the task is over, and the absent have read next to nothing.
        assert (await peer.get(task.id)).status.state is TaskState.COMPLETED
        assert all(stream.cursor <= 2 for stream in absent)
        assert len(actor.feed.frames) <= 64  # and nothing is kept for them
        assert peer.runtime.statistics()["streams_open"] == 10
        frames = await read(absent[0])
        assert numbers(frames) == list(range(3, chunks + 5))
        for stream in absent:
            stream.close()
        assert peer.runtime.statistics()["streams_open"] == 0


async def test_the_number_of_streams_is_bounded() -> None:
    talker = Talker()
    async with running(talker.agent, streams=2) as peer:
        task = await peer.send("100", now=True)
        one, _ = await peer.subscribe(task.id), await peer.subscribe(task.id)
        with pytest.raises(ResourceExhaustedError):
            await peer.subscribe(task.id)
        one.close()
        one.close()
        await peer.subscribe(task.id)


async def test_events_that_are_ready_together_come_together_and_none_waits_for_another() -> None:
    agent = Agent("Bursts")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        for index in range(5):
            await ctx.artifact(f"a{index}", "x")
        await anyio.sleep(1.0)
        await ctx.status("one")
        await anyio.sleep(1.0)

    async with running(agent) as peer:
        stream = await peer.stream("go")
        arrivals = []
        while (frames := await stream.next()) is not None:
            arrivals.append((round(anyio.current_time() % 100, 3), len(frames)))
        stream.close()
        times = [time for time, _ in arrivals]
        assert sum(count for _, count in arrivals) == 9
        # the snapshot, the burst in as few batches as commits, and each single event at its time
        assert len(set(times)) == 3
        assert arrivals[-2][1] == 1
        assert len(arrivals) <= 6


# --- heartbeats and cancelling --------------------------------------------------------------------


async def test_an_idle_stream_is_told_to_send_a_heartbeat() -> None:
    talker = Talker(pause=100.0)
    async with running(talker.agent, heartbeat=15.0) as peer:
        stream = await peer.stream("1")
        await take(stream, 2)
        began = anyio.current_time()
        for _ in range(5):
            assert await stream.next() == ()
        assert 5 * 7 <= anyio.current_time() - began <= 5 * 16
        assert states(await read(stream)) == ["+talk", "+talk", "completed"]


async def test_a_read_that_was_cancelled_loses_nothing() -> None:
    talker = Talker(pause=1.0)
    async with running(talker.agent) as peer:
        stream = await peer.stream("10")
        frames: list[Frame] = []
        while True:
            found: Any = ()
            with anyio.move_on_after(0.3):
                found = await stream.next()
            if found is None:
                break
            frames += found
        stream.close()
        assert numbers(frames) == list(range(1, 15))


async def test_closing_a_stream_ends_its_reader() -> None:
    talker = Talker(pause=100.0)
    async with running(talker.agent) as peer:
        stream = await peer.stream("1")
        await take(stream, 2)
        async with anyio.create_task_group() as group:

            async def reader() -> None:
                assert await stream.next() is None

            group.start_soon(reader)
            await settle()
            stream.close()
        assert (await peer.list(status=TaskState.WORKING)).total_size == 1


async def test_the_first_event_is_told_again_with_its_own_time() -> None:
    agent = Agent("Twice")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await ctx.status("working")
        return "done"

    async with running(agent) as peer:
        await anyio.sleep(0.0137)
        stream = await peer.stream("go")
        frames = await read(stream)
        first = frames[0].response.task
        assert first is not None
        again = await read(await peer.subscribe(first.id, after=1))
        told = again[0].response.task
        assert told is not None
        assert told.status == first.status
        assert first.status.timestamp
        assert [frame.generation for frame in again] == [frame.generation for frame in frames]
