"""Cancelling (section 3.1.5): the handler is told, may clean up, and does not decide for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest

from greenroom import Agent, InputRequired, TaskContext, TaskState
from greenroom.protocol.errors import (
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from tests.support.drive import Caller, read, result, running, said, settle, states

pytestmark = pytest.mark.anyio


async def started(peer: Caller) -> str:
    """Send, and return the task's id once its handler is at work."""
    task = await peer.send("go", now=True)
    await settle()
    return task.id


async def deaf(function: Callable[[], Awaitable[object]]) -> None:
    """Do something whatever happens: shielded on trio, against asyncio's own cancel in a loop."""
    with anyio.CancelScope(shield=True):
        while True:
            with suppress(anyio.get_cancelled_exc_class()):
                await function()
                return


async def test_a_running_task_is_canceled() -> None:
    ended: list[str] = []
    agent = Agent("Sleeper")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            ended.append(str(ctx.cancelled))

    async with running(agent) as peer:
        task = await started(peer)
        began = anyio.current_time()
        done = await peer.cancel(task)
        assert done.status.state is TaskState.CANCELED
        assert said(done) == "Canceled by the client."
        assert ended == ["user"]
        assert anyio.current_time() == began
        assert await peer.get(task) == done
        assert peer.runtime.statistics()["actors"] == 0
        assert peer.runtime.statistics()["handlers_running"] == 0


async def test_the_handler_may_clean_up_and_speak() -> None:
    agent = Agent("Tidy")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            await ctx.status("tidying")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2.0)
            await ctx.artifact("rest", "so far")

    async with running(agent) as peer:
        stream = await peer.stream("go")
        task = (await peer.list()).tasks[0].id
        await settle()
        done = await peer.cancel(task)
        assert done.status.state is TaskState.CANCELED
        assert result(done) == "so far"
        assert states(await read(stream)) == [
            "submitted", "working", "working", "+rest", "canceled",
        ]  # fmt: skip


async def test_a_handler_that_does_not_stop_is_left_behind_after_its_grace() -> None:
    agent = Agent("Stubborn")
    refused: list[Exception] = []
    after = anyio.Event()

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await deaf(after.wait)
        try:
            await ctx.status("still here")
        except RuntimeError as error:
            refused.append(error)
        return "anyway"

    async with running(agent, cancel_grace=5.0) as peer:
        task = await started(peer)
        began = anyio.current_time()
        done = await peer.cancel(task)
        assert anyio.current_time() == pytest.approx(began + 5.0)
        assert done.status.state is TaskState.CANCELED
        after.set()
        await settle()
        assert await peer.get(task) == done
        assert peer.runtime.statistics()["handlers_running"] == 0


async def test_canceling_twice_at_once_is_answered_twice() -> None:
    agent = Agent("Slow to stop")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)

    collected: list[TaskState] = []
    async with running(agent) as peer:
        task = await started(peer)

        async def cancel() -> None:
            collected.append((await peer.cancel(task)).status.state)

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            group.start_soon(cancel)
    assert collected == [TaskState.CANCELED] * 2


async def test_completion_may_win_the_race() -> None:
    agent = Agent("Nearly done")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await deaf(partial(anyio.sleep, 1.0))
        return "done"

    async with running(agent) as peer:
        task = await started(peer)
        with pytest.raises(TaskNotCancelableError, match="completed"):
            await peer.cancel(task)
        assert result(await peer.get(task)) == "done"


async def test_a_finished_task_cannot_be_canceled() -> None:
    agent = Agent("Quick")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        return "done"

    async with running(agent) as peer:
        done = await peer.send("go")
        with pytest.raises(TaskNotCancelableError, match="completed already"):
            await peer.cancel(done.id)
        with pytest.raises(TaskNotFoundError):
            await peer.cancel("nowhere")
        assert await peer.get(done.id) == done


@pytest.mark.parametrize("how", ["ask", "return", "auth", "receive", "sleep"])
@pytest.mark.parametrize("asleep", [False, True])
async def test_a_waiting_task_is_canceled(how: str, asleep: bool) -> None:
    agent = Agent("Waiting")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        match how:
            case "ask":
                await ctx.ask("?")
            case "auth":
                await ctx.require_auth("?")
            case "receive":
                await ctx.receive()
            case "sleep":
                await ctx.sleep(100_000.0)
        return InputRequired("?")

    async with running(agent, idle=60.0) as peer:
        task = await started(peer)
        if asleep:
            await anyio.sleep(200.0)
            assert peer.runtime.statistics()["actors"] == 0
        done = await peer.cancel(task)
        assert done.status.state is TaskState.CANCELED
        assert peer.runtime.statistics()["actors"] == 0


async def test_a_cancel_before_the_handlers_first_step_is_heard() -> None:
    began: list[str] = []
    agent = Agent("Turns")

    @agent.handler
    async def handler(ctx: TaskContext) -> InputRequired:
        began.append(ctx.text)
        if ctx.text == "more":
            await anyio.sleep(1000)
        return InputRequired("?")

    async with running(agent) as peer:
        task = await peer.send("go")
        began_at = anyio.current_time()

        async def more() -> None:
            with suppress(UnsupportedOperationError):  # if the cancel was quicker
                await peer.send("more", task=task.id)

        async with anyio.create_task_group() as group:
            group.start_soon(more)
            group.start_soon(peer.cancel, task.id)
        assert (await peer.get(task.id)).status.state is TaskState.CANCELED
        assert anyio.current_time() == began_at
        assert began == ["go"]


async def test_an_error_while_cleaning_up_does_not_undo_the_cancel() -> None:
    agent = Agent("Clumsy")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        try:
            await anyio.sleep(1000)
        except BaseException as error:
            raise RuntimeError("the database is gone") from error

    async with running(agent) as peer:
        done = await peer.cancel(await started(peer))
        assert done.status.state is TaskState.CANCELED


async def test_a_handler_in_a_task_group_is_canceled() -> None:
    agent = Agent("Grouped")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1000)
            group.start_soon(anyio.sleep, 1000)

    async with running(agent) as peer:
        done = await peer.cancel(await started(peer))
        assert done.status.state is TaskState.CANCELED


async def test_a_deadline_cancels() -> None:
    agent = Agent("Endless", deadline=30.0)

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await anyio.sleep(1000)

    async with running(agent, sweep_every=1.0) as peer:
        began = anyio.current_time()
        done = await peer.send("go")
        assert done.status.state is TaskState.CANCELED
        assert said(done) == "Out of time."
        assert began + 30.0 <= anyio.current_time() <= began + 31.5


async def test_the_timers_of_a_finished_task_go_away() -> None:
    agent = Agent("Quick", deadline=30.0)

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        if ctx.text == "nap":
            await ctx.sleep(50.0)
        return "done"

    async with running(agent) as peer:
        store = peer.runtime.system.store
        await peer.send("go")
        task = await started(peer)
        await peer.send("nap", now=True)
        await peer.cancel((await peer.list(status=TaskState.WORKING)).tasks[0].id)
        assert (await peer.get(task)).status.state is TaskState.COMPLETED
        await anyio.sleep(120.0)
        assert not await store.due(now=float("inf"), limit=1)
