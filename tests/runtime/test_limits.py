"""Bounds, and a crowd: what many callers at once may not break."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom import Agent, InputRequired, TaskContext, TaskState
from greenroom.protocol.errors import A2AError, InternalError, ResourceExhaustedError
from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.stores.memory import MemoryStore
from tests.support.drive import numbers, read, result, running, settle

pytestmark = pytest.mark.anyio


async def test_handlers_at_work_are_bounded_and_waiting_ones_do_not_count() -> None:
    agent = Agent("Busy")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        if ctx.text == "ask":
            return await ctx.ask("?")
        await anyio.sleep(10.0)
        return "done"

    async with running(agent, handlers=2) as peer:
        for _ in range(5):
            asked = await peer.send("ask")
            assert asked.status.state is TaskState.INPUT_REQUIRED
        tasks = [await peer.send("work", now=True) for _ in range(2)]
        await settle()
        with pytest.raises(ResourceExhaustedError) as caught:
            await peer.answer("work")
        assert caught.value.headers["Retry-After"]
        with pytest.raises(ResourceExhaustedError):
            await peer.answer("an answer", task=asked.id)
        assert (await peer.get(asked.id)).status.state is TaskState.INPUT_REQUIRED
        for task in tasks:
            assert result(await peer.over(task.id)) == "done"
        assert result(await peer.send("an answer", task=asked.id)) == "an answer"
        assert result(await peer.send("work")) == "done"


class Slow(MemoryStore):
    """Commits take a second; the largest of them is remembered."""

    largest = 0

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        await anyio.sleep(1.0)
        self.largest = max(self.largest, *(len(append.entries) for append in batch))
        return await super().append(batch, now=now)


async def test_a_handler_is_made_to_wait_for_the_commit_not_for_readers() -> None:
    store = Slow()
    agent = Agent("Fast")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        async with ctx.artifact("talk") as out:
            for index in range(500):
                await out.write(f"{index} ")

    async with running(agent, store=store, window=64) as peer:
        stream = await peer.stream("go")  # and never read while it is written
        task = await peer.over((await peer.list()).tasks[0].id)
        assert task.generation == 504
        # the window, and what belongs to the last of its operations
        assert store.largest <= 64 + 4
        assert numbers(await read(stream)) == list(range(1, 505))


async def test_nothing_is_seen_before_it_is_committed() -> None:
    agent = Agent("Fast")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        return "done"

    async with running(agent, store=Slow()) as peer:
        began = anyio.current_time()
        assert result(await peer.send("go")) == "done"
        assert anyio.current_time() >= began + 1.0
        began = anyio.current_time()
        await peer.send("go", now=True)
        assert anyio.current_time() >= began + 1.0


@pytest.mark.parametrize("seed", range(6))
async def test_a_crowd_of_callers_breaks_nothing(seed: int) -> None:
    dice = random.Random(seed)
    agent = Agent("Crowded")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        own = random.Random(f"{seed} {ctx.message.message_id}")  # the same on replay
        for _ in range(own.randint(0, 3)):
            match own.randint(0, 6):
                case 0:
                    await ctx.ask("?")
                case 1:
                    await anyio.sleep(own.choice([0.01, 1.0, 20.0]))
                case 2:
                    await ctx.artifact("a", "b")
                case 3:
                    with anyio.move_on_after(3.0):
                        await ctx.status("s")
                        await anyio.sleep(5.0)
                case 4:
                    raise ValueError
                case 5:
                    await ctx.sleep(30.0)
                case 6:
                    await anyio.lowlevel.checkpoint()
        return InputRequired("more?") if own.random() < 0.3 else "done"

    ended: dict[str, TaskState] = {}
    ids: list[str] = []
    refusals: list[A2AError] = []

    async def caller(peer: Any) -> None:
        for _ in range(12):
            task = dice.choice(ids) if ids and dice.random() < 0.7 else None
            try:
                with anyio.move_on_after(dice.choice([0.0, 0.5, 50.0, 1000.0])):
                    match dice.randint(0, 5) if task else 0:
                        case 0:
                            answer = await peer.answer("go", now=dice.random() < 0.5)
                            if hasattr(answer, "id"):
                                ids.append(answer.id)
                        case 1:
                            message = peer.request("x", task=task).message
                            await peer.answer(message, now=dice.random() < 0.5)
                            await peer.answer(message)
                        case 2:
                            await peer.cancel(task)
                        case 3:
                            stream = await peer.subscribe(task, after=dice.choice([None, 1, 3]))
                            frames = await read(stream)
                            assert numbers(frames) == list(
                                range(frames[0].generation, frames[-1].generation + 1)
                            )
                        case 4:
                            await read(await peer.stream("x", task=task))
                        case _:
                            await peer.get(task, newer_than=dice.choice([None, 1, 5]))
            except A2AError as error:
                refusals.append(error)
            for found in (await peer.list(page_size=100)).tasks:
                state = found.status.state
                assert ended.get(found.id, state) is state, "an end is for ever"
                if state.terminal:
                    ended[found.id] = state

    async with running(agent, idle=10.0, blocking_wait=100.0, tail_events=3) as peer:
        with anyio.fail_after(100_000.0):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(caller, peer)
        for task in (await peer.list(page_size=100)).tasks:
            if not task.status.state.terminal:
                await peer.over(task.id)
        await anyio.sleep(1000.0)
        system = peer.runtime.system
        assert not any(isinstance(error, InternalError) for error in refusals)
        assert not peer.runtime.directory
        assert not system.sends
        assert system.running == 0
        assert peer.runtime.statistics()["streams_open"] == 0
        lanes = (system.creations, system.waits, system.polls, system.cancel_deadlines, system.idle)
        assert [len(lane) for lane in lanes] == [0] * 5


async def test_a_finished_task_leaves_nothing_to_the_garbage_collector() -> None:
    """Cycles would cost every send: what is over is freed when it is over."""
    agent = Agent("Tidy")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        return await ctx.step(_shout, ctx.text)

    async with running(agent) as peer:
        await peer.send("warm")
        await settle()
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                await peer.send("go")
            await settle()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [type(item).__name__ for item in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert "Actor" not in left
    assert "Execution" not in left


async def _shout(text: str) -> str:
    return text.upper()
