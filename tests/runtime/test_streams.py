"""Readers: a snapshot at n, then n+1, n+2 …: none twice, none missing, and nobody waits for one."""

from __future__ import annotations

from collections.abc import Sequence
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

from ..support.drive import (
    KeptStore,
    numbers,
    read,
    result,
    running,
    settle,
    states,
    take,
)

pytestmark = pytest.mark.anyio


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

        actor = peer.runtime.system.actors[task.id]
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(reader, stream)
            await settle()
            go.set()
        assert correct == 990
        assert anyio.current_time() - began < 1.0  # nobody was waited for
        assert len(actor.feed.frames) <= 64  # and nothing is kept for the absent
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
