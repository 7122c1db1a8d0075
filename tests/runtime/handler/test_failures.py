"""A handler's misfortune is its own: safe words for the caller, the cause in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom import Agent, Message, Part, Role, TaskContext, TaskState
from greenroom.runtime.actor.cancellation import TaskRejected
from tests.support.drive import Caller, result, running, said, settle

pytestmark = pytest.mark.anyio


class Unsendable:
    pass


def group(*errors: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise BaseExceptionGroup("several", errors)

    return throw


def leave() -> None:
    raise SystemExit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def wrong() -> None:
    raise ValueError("the password is 1234")


def message(parts: list[Part]) -> Message:
    return Message(message_id="m", role=Role.AGENT, parts=parts)


def agent_of(doing: Callable[[TaskContext], Any]) -> Agent:
    agent = Agent("Doing")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        if ctx.text == "neighbour":
            return await ctx.ask("?")
        return await doing(ctx)

    return agent


async def beside_a_neighbour(peer: Caller) -> Any:
    """Run a task beside another, which must be unharmed."""
    neighbour = await peer.send("neighbour")
    task = await peer.send("go")
    assert result(await peer.send("fine", task=neighbour.id)) == "fine"
    assert result(await peer.send("neighbour", now=True)) == ""
    assert peer.runtime.statistics()["handlers_running"] <= 1
    return task


@pytest.mark.parametrize("throw", [leave, interrupt])
@pytest.mark.parametrize("how", ["gather", "race", "group", "step"])
async def test_what_would_stop_the_event_loop_does_not_from_a_branch(
    how: str, throw: Callable[[], None]
) -> None:
    async def doing(ctx: TaskContext) -> None:
        async def branch() -> None:
            await anyio.lowlevel.checkpoint()
            throw()

        match how:
            case "gather":
                await ctx.gather(branch(), anyio.sleep(1))
            case "race":
                await ctx.race(branch(), anyio.sleep(1))
            case "group":
                async with ctx.group() as group:
                    group.start(branch)
            case "step":
                await ctx.step(branch)

    async with running(agent_of(doing)) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.FAILED
        task = await peer.send("again")
        assert task.status.state is TaskState.FAILED


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    "throw",
    [
        wrong,
        leave,
        interrupt,
        group(ValueError("the password is 1234"), KeyboardInterrupt()),
        group(ValueError("the password is 1234")),
        group(ValueError("the password is 1234"), SystemExit(2)),
        group(ValueError("the password is 1234"), TaskRejected("no")),
    ],
    ids=[
        "error",
        "exit",
        "interrupt",
        "group-with-interrupt",
        "group",
        "group-with-exit",
        "group-with-rejection",
    ],
)
async def test_an_exception_fails_its_own_task(
    throw: Callable[[], None], early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def doing(ctx: TaskContext) -> None:
        if not early:
            await ctx.status("trying")
        throw()

    async with running(agent_of(doing)) as peer:
        task = await beside_a_neighbour(peer)
        assert task.status.state is TaskState.FAILED
        assert "1234" not in str(task)
        error_id = task.status.message.metadata["errorId"]
        assert error_id in said(task)
        [record] = [r for r in caplog.records if error_id in r.getMessage()]
        assert record.levelno == logging.ERROR
        assert record.exc_info
        assert task.id in record.getMessage()


async def test_what_cannot_be_sent_fails_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def doing(ctx: TaskContext) -> Any:
        return Unsendable()

    async with running(agent_of(doing)) as peer:
        task = await beside_a_neighbour(peer)
        assert task.status.state is TaskState.FAILED
        assert task.artifacts is None
        assert "Unsendable cannot be sent as JSON" in caplog.text


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("how", ["reject", "fail", "raise"])
async def test_a_handler_may_refuse_or_give_up(how: str, wrapped: bool) -> None:
    after: list[str] = []

    async def end(ctx: TaskContext) -> None:
        match how:
            case "reject":
                await ctx.reject("not my job")
            case "fail":
                await ctx.fail("not my job")
            case "raise":
                raise TaskRejected("not my job")
        after.append("went on")

    async def doing(ctx: TaskContext) -> str:
        if wrapped:
            async with anyio.create_task_group() as children:
                children.start_soon(end, ctx)
                children.start_soon(anyio.sleep, 1000)
        else:
            await end(ctx)
        return "never"

    async with running(agent_of(doing)) as peer:
        task = await beside_a_neighbour(peer)
        assert task.status.state is (TaskState.FAILED if how == "fail" else TaskState.REJECTED)
        assert said(task) == "not my job"
        assert task.artifacts is None
        assert not after


async def test_a_context_is_of_no_use_after_its_handler() -> None:
    kept: list[TaskContext] = []

    async def doing(ctx: TaskContext) -> str:
        kept.append(ctx)
        return "done"

    async with running(agent_of(doing)) as peer:
        done = await peer.send("go")
        with pytest.raises(RuntimeError, match="over"):
            await kept[0].status("late")
        await settle()
        assert await peer.get(done.id) == done


@pytest.mark.parametrize(
    ("doing", "words"),
    [
        (lambda ctx: ctx.ask("?", Unsendable), "cannot be read as Unsendable: ask for str, int"),
        (lambda ctx: ctx.ask("?", "int"), "cannot be read as int"),
        (lambda ctx: ctx.ask("?", (int, str)), "cannot be read as"),
        (lambda ctx: ctx.artifact(5, "x"), "an artifact's name is a text that is not empty, not 5"),
        (lambda ctx: ctx.artifact("", "x"), "an artifact's name is a text that is not empty"),
        (lambda ctx: ctx.artifact("a", Part()), "exactly one of text, raw, url and data"),
        (
            lambda ctx: ctx.ask([Part(text="?", url="a:b")]),
            "exactly one of text, raw, url and data",
        ),
        (lambda ctx: ctx.status(message([])), "a Message has at least one part"),
        (lambda ctx: ctx.ask(message([Part()])), "exactly one of text, raw, url"),
        (lambda ctx: ctx.status("x", "completed"), "as in TaskState.WORKING, not 'completed'"),
    ],
)
async def test_what_no_client_could_read_fails_where_it_is_said(
    doing: Callable[[Any], Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(agent_of(doing)) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.FAILED
        assert task.artifacts is None
    assert words in caplog.text


async def test_a_type_that_holds_what_cannot_be_read_fails_its_task_not_the_clients_patience() -> (
    None
):
    async with running(agent_of(lambda ctx: ctx.ask("?", list[Unsendable]))) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.INPUT_REQUIRED
        answered = await peer.send("[1]", task=task.id)
        assert answered.status.state is TaskState.FAILED
