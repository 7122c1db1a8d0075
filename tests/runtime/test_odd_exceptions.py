"""Whatever a handler or a step raises, its task ends, and what is recorded can be read back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Never

import anyio.lowlevel
import msgspec
import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.actor.cancellation import StepFailed, TaskRejected
from tests.support.drive import result, running, said

pytestmark = pytest.mark.anyio


class NoText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class NoTextAtAll(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class WrongText(Exception):
    def __str__(self) -> Any:
        return 5


def nothing(_: object) -> Never:
    raise ValueError("it cannot be read")


NoClass = type("NoClass", (Exception,), {"__class__": property(nothing)})


class NoCause(Exception):
    @property
    def __cause__(self) -> Never:  # type: ignore[override]
        raise ValueError("no cause")

    @property
    def __context__(self) -> Never:  # type: ignore[override]
        raise ValueError("no context")


class NoSplit(BaseExceptionGroup[BaseException]):
    def split(self, *_: Any) -> Never:
        raise ValueError("no split")

    def derive(self, *_: Any) -> Never:
        raise ValueError("no derive")


class NoRefusal(TaskRejected):
    def __str__(self) -> str:
        raise ValueError("no text")


class Text(str):
    def __getitem__(self, _: Any) -> Never:
        raise ValueError("no items")

    def __len__(self) -> Never:
        raise ValueError("no length")

    def encode(self, *_: Any) -> Never:
        raise ValueError("no bytes")


def endless() -> BaseException:
    first = error = Exception("0")
    for number in range(1, 2000):
        error.__cause__ = Exception(str(number))
        error = error.__cause__
    error.__cause__ = first
    return first


def noted() -> BaseException:
    error = ValueError("noted")
    error.add_note("\udce9" * 10)
    error.__notes__.append(5)  # type: ignore[arg-type]
    return error


def nested() -> BaseException:
    error: BaseException = NoText()
    for _ in range(300):
        error = BaseExceptionGroup("group", [error, GeneratorExit()])
    return error


ODD: dict[str, Callable[[], BaseException]] = {
    "no-text": NoText,
    "no-text-exit": NoTextAtAll,
    "wrong-text": WrongText,
    "no-class": NoClass,
    "no-cause": NoCause,
    "half-a-surrogate": lambda: Exception("caf\udce9"),
    "strange-text": lambda: Exception(Text("\udce9")),
    "100-mb": lambda: Exception("x" * 100_000_000),
    "generator-exit": GeneratorExit,
    "group-of-generator-exit": lambda: BaseExceptionGroup("g", [GeneratorExit(), NoText()]),
    "group-of-odd": lambda: ExceptionGroup("g", [NoText(), Exception("\ud83d"), NoClass()]),
    "no-split": lambda: NoSplit("g", [ValueError()]),
    "endless": endless,
    "notes": noted,
    "nested": nested,
    "stop-iteration": StopIteration,
    "stop-async-iteration": StopAsyncIteration,
}


@pytest.mark.parametrize("where", ["at once", "after a turn", "in a gather", "in a step", "chunks"])
@pytest.mark.parametrize("odd", list(ODD.values()), ids=list(ODD))
async def test_whatever_is_raised_ends_the_task_and_no_other(
    odd: Callable[[], BaseException], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent("Odd")

    async def throw() -> None:
        raise odd()

    async def chunks() -> Any:
        yield "one"
        raise odd()

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        match ctx.text:
            case "fine":
                return "fine"
            case "at once":
                await throw()
            case "after a turn":
                await ctx.status("trying")
                await anyio.lowlevel.checkpoint()
                await throw()
            case "in a gather":
                await ctx.gather(throw(), anyio.sleep(1))
            case "in a step":
                await ctx.step(throw)
            case "chunks":
                await ctx.stream("x", chunks)
        return None

    async with running(agent) as peer:
        task = await peer.send(where)
        assert task.status.state is TaskState.FAILED
        assert task.status.message is not None
        error_id = (task.status.message.metadata or {})["errorId"]
        assert error_id in said(task)
        msgspec.json.encode(await peer.get(task.id))
        assert result(await peer.send("fine")) == "fine"
        assert peer.runtime.statistics()["handlers_running"] == 0
    [record] = [r for r in caplog.records if error_id in r.getMessage()]
    assert len(logging.Formatter().format(record).encode()) < 200_000


@pytest.mark.parametrize("odd", list(ODD.values()), ids=list(ODD))
async def test_a_step_that_raises_is_recorded_and_the_run_goes_on(
    odd: Callable[[], BaseException],
) -> None:
    agent = Agent("Odd")

    async def throw() -> None:
        raise odd()

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        try:
            await ctx.step(throw)
        except StepFailed as failed:
            told = [failed.type, failed.message]
        except BaseException as error:
            told = [type(error).__name__, "is no failure of a step"]
        again = await ctx.ask("again?")
        return f"{again} {told}"

    async with running(agent, idle=0.1) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.INPUT_REQUIRED
        await anyio.sleep(5)  # the task rests, and is replayed
        done = await peer.send("yes", task=task.id)
        assert done.status.state is TaskState.COMPLETED
        text = result(done)
        assert text.startswith("yes [")
        assert len(text.encode()) < 100_000


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (lambda: TaskRejected("cannot read caf\udce9.txt"), "cannot read caf\ufffd.txt"),
        (lambda: TaskRejected("\ud83d\ude00"), "\U0001f600"),
        (lambda: TaskRejected("x" * 100_000), "x" * 16384 + "… (100000 characters)"),
        (NoRefusal, "(NoRefusal, whose text cannot be read)"),
    ],
)
async def test_a_refusal_is_told_as_far_as_it_can_be(
    refusal: Callable[[], BaseException], told: str
) -> None:
    agent = Agent("Odd")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        raise refusal()

    async with running(agent) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.REJECTED
        assert said(task) == told
