"""Small handlers, each with what is hard about replay: a crash after any commit changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom import Agent, InputRequired, Task, TaskContext, TaskState
from greenroom.protocol.errors import TaskNotCancelableError
from greenroom.protocol.types import Role
from greenroom.runtime.actor.cancellation import StepFailed
from greenroom.runtime.call import TaskScope
from greenroom.runtime.durable.steps import Retry, step_info
from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.runtime.journal.records import RecordKind, is_kind
from greenroom.runtime.runtime import Runtime
from greenroom.testing import LoopClock
from tests.support.crash import RecordingStore, ShufflingLoop, copy_of
from tests.support.drive import START, Caller, KeptStore, result, running, said, user

from .script import heard
from .test_crash_prefixes import AWAKE, PASSIVATED, check

pytestmark = pytest.mark.anyio

Handler = Callable[[TaskContext], Any]
SCOPE = TaskScope("", "matrix", "anonymous")


async def work(what: Any = 1, takes: float = 0.001) -> Any:
    await anyio.sleep(takes)
    return what


async def broken(what: str = "no") -> None:
    await anyio.sleep(0.001)
    raise LookupError(what)


async def slow(what: Any = "slow") -> Any:
    return await work(what, 100)


# --- branches -----------------------------------------------------------------------------------


async def block_ahead(ctx: TaskContext) -> str:
    """The block of a group goes ahead of its branches."""
    async with ctx.group() as group:
        late = group.start(ctx.step, slow)
        told = [await ctx.step(work, number) for number in range(3)]
        await ctx.status("the block is done")
    return f"{told} {late.result}"


async def step_first(ctx: TaskContext) -> str:
    async with ctx.group() as group:
        first = await ctx.step(work)
        second = group.start(ctx.step, work, 2)
        await ctx.step(slow)
    return f"{first} {second.result}"


async def empty_group(ctx: TaskContext) -> str:
    async with ctx.group():
        pass
    async with ctx.group():
        told = await ctx.step(work)
    return f"{told}"


async def ask_beside_step(ctx: TaskContext) -> str:
    return str(await ctx.gather(ctx.ask("q?"), ctx.step(slow)))


async def status_beside_ask(ctx: TaskContext) -> str:
    async def other() -> None:
        for number in range(3):
            await ctx.sleep(5)
            await ctx.status(f"part {number}")
        await ctx.step(work)

    return str(await ctx.gather(ctx.ask("q?", int), other()))


async def race_of_an_ask(ctx: TaskContext) -> str:
    nobody = ctx.ask("never?")
    return str(await ctx.race(nobody, ctx.gather(ctx.sleep(5), ctx.step(work))))


async def begun_late(ctx: TaskContext) -> str:
    async def inner() -> Any:
        await anyio.lowlevel.checkpoint()
        return await ctx.gather(ctx.sleep(5), ctx.sleep(6))

    return str(await ctx.gather(inner(), ctx.race(ctx.ask("never?"), ctx.sleep(4))))


async def nested(ctx: TaskContext) -> str:
    told: list[Any] = []

    async def inner(number: int) -> Any:
        try:
            async with ctx.timeout(3):
                return await ctx.race(ctx.sleep(50), ctx.step(work, number, 100))
        except TimeoutError:
            return await ctx.step(work, f"late {number}")

    async def failing(question: str) -> None:
        await ctx.ask(question)
        await ctx.step(broken)

    told += await ctx.gather(inner(1), inner(2), ctx.ask("q1"))
    async with ctx.group() as group:
        first, second = group.start(inner, 3), group.start(ctx.ask, "q2")
        async with ctx.group() as within:
            third = within.start(inner, 4)
        told.append(third.result)
    told += [first.result, second.result]
    try:
        await ctx.race(failing("q3"), ctx.sleep(9000))
    except StepFailed as failed:
        told.append(f"race {failed.message}")
    try:
        async with ctx.group() as group:
            done = group.start(ctx.step, work, "done", 0.0001)
            group.start(failing, "q4")
            group.start(inner, 5)
            told.append(await ctx.step(work, "block", 0.0001))
            await ctx.sleep(1000)
    except StepFailed as failed:
        told.append(f"group {failed.message}")
    told.append(done.result)
    try:
        async with ctx.timeout(2), ctx.group() as group:
            group.start(inner, 6)
            await ctx.ask("never?", int)
    except TimeoutError:
        told.append("late group")
    told.append(await ctx.race(ctx.gather(ctx.sleep(5), ctx.step(work, "in")), ctx.ask("never?")))
    return str(told)


async def group_in_time(ctx: TaskContext) -> str:
    """Branches that a time-out cut off are not begun again, nor go any further."""
    calls = 0

    async def counted() -> None:
        nonlocal calls
        calls += 1
        await slow()

    async def child() -> None:
        await ctx.step(work, "child")
        await ctx.step(counted)

    try:
        async with ctx.timeout(3), ctx.group() as group:
            group.start(child)
            group.start(ctx.ask, "never?")
            await ctx.step(work, "block")
            await ctx.sleep(1000)
    except TimeoutError:
        pass
    await ctx.step(work, "after")
    await ctx.ask("q?")
    assert calls <= 1
    return "in time"


async def failing_later(ctx: TaskContext, seconds: float) -> None:
    """Fails by way of a gather, so that its record and the cut are in two commits."""
    await ctx.gather(ctx.step(work, "beside"), ctx.step(broken_later, seconds))


async def broken_later(seconds: float) -> None:
    await anyio.sleep(seconds)
    raise LookupError("no")


async def block_beside_a_failure(ctx: TaskContext) -> str:
    """The block of a group goes on while a branch fails; what is behind the group are steps of the
    same function."""
    try:
        async with ctx.group() as group:
            group.start(failing_later, ctx, 0.08)
            await ctx.gather(ctx.step(work, "b"), ctx.step(work, "c"))
            for letter in "def":
                await ctx.step(work, letter)
            await ctx.step(slow)
    except StepFailed:
        return str([await ctx.step(work, item) for item in ("charge", "ship", "mail", "done")])
    return "?"


async def block_of_time_beside_a_clock(ctx: TaskContext) -> str:
    """As before, with a time-out."""
    try:
        async with ctx.timeout(1):
            for letter in "def":
                await ctx.step(work, letter, 0.3)
            await ctx.step(slow)
    except TimeoutError:
        return str([await ctx.step(work, item, 0.3) for item in ("charge", "ship", "mail")])
    return "?"


async def done_before_a_failure(ctx: TaskContext) -> str:
    """A branch has a result, and has cleaned up, before another branch fails."""
    told: list[Any] = []

    async def asks() -> Any:
        try:
            return await ctx.gather(ctx.ask("q?"), ctx.step(work, "beside"))
        finally:
            with anyio.CancelScope(shield=True):
                await ctx.step(work, "clean-up")

    async def fails() -> None:
        await ctx.sleep(500)
        await ctx.step(broken)

    try:
        async with ctx.group() as group:
            one = group.start(asks)
            group.start(fails)
    except StepFailed as failed:
        told.append(failed.message)
    told += [one.result, await ctx.ask("qq?")]
    return str(told)


async def question_cut_off(ctx: TaskContext) -> str:
    """A branch fails, or the time is up, while the block waits for its client."""
    told: list[Any] = []
    try:
        async with ctx.group() as group:
            group.start(failing_later, ctx, 70)
            await ctx.ask("never?")
    except StepFailed as failed:
        told.append(failed.message)
    try:
        async with ctx.timeout(70):
            await ctx.ask("never?")
    except TimeoutError:
        told.append("late")
    return str(told)


async def losers_that_clean_up(ctx: TaskContext) -> str:
    """What a loser and the branches of a failed gather do in the end is not lost."""
    told = [await ctx.race(undoing(ctx, "loser", partial(ctx.step, slow), 2), ctx.sleep(3))]
    try:
        await ctx.gather(undoing(ctx, "beside", partial(ctx.step, slow), 2), failing_later(ctx, 1))
    except StepFailed as failed:
        told.append(failed.message)
    return str([*told, await ctx.step(work, "after")])


# --- clean-up -----------------------------------------------------------------------------------


async def losing(ctx: TaskContext) -> None:
    """What it does after it lost need not be done to the end: others have gone on."""
    try:
        await ctx.step(slow)
    finally:
        await ctx.status("lost")
        with anyio.CancelScope(shield=True):
            await ctx.step(work, "a last step")


async def undoing(
    ctx: TaskContext, name: str, what: Callable[[], Awaitable[Any]], takes: float = 0.001
) -> Any:
    """What a cautious handler does: it undoes what it could not finish."""
    try:
        return await what()
    except anyio.get_cancelled_exc_class():
        await ctx.status(f"{name} undone")
        with anyio.CancelScope(shield=True):
            ctx.now()
            await ctx.step(work, f"undo {name}", takes)
            async with ctx.artifact(f"undone {name}") as artifact:
                await artifact.write("un")
                await artifact.write("done")
        raise


async def clean_ups(ctx: TaskContext) -> str:
    told = []
    try:
        async with ctx.timeout(5):
            await ctx.step(work)
            await undoing(ctx, "time-out", partial(ctx.step, slow))
    except TimeoutError:
        told.append("late")
    try:
        async with ctx.timeout(5):
            await undoing(ctx, "no operation", partial(anyio.sleep, 1000))
    except TimeoutError:
        told.append("late")
    await ctx.step(work)

    async def fails() -> None:
        await ctx.sleep(3)
        await ctx.step(broken)

    async def child() -> None:
        await ctx.step(work)
        await undoing(ctx, "branch", partial(ctx.step, slow))

    try:
        async with ctx.group() as group:
            group.start(fails)
            group.start(child)
            await ctx.step(work)
            await undoing(ctx, "block", partial(ctx.sleep, 100))
    except StepFailed as failed:
        told.append(failed.message)
    try:
        await ctx.gather(losing(ctx), fails())
    except StepFailed as failed:
        told.append(failed.message)
    await ctx.race(losing(ctx), ctx.sleep(3))
    told.append(await ctx.ask("q?"))
    return str(told)


async def cut_off_midway(ctx: TaskContext) -> str:
    """A branch is cut off and cleans up long after; how far it had come is what it tells."""
    came: list[int] = []

    async def fails() -> None:
        await ctx.sleep(10)
        raise LookupError("no")

    async def child() -> None:
        try:
            for number in range(3):
                await anyio.lowlevel.checkpoint()
                came.append(await ctx.step(work, number))
            await ctx.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
                await ctx.artifact("came", str(came))

    with suppress(LookupError):
        async with ctx.group() as group:
            group.start(fails)
            group.start(child)
            await ctx.step(work)
    return str(await ctx.step(work))


async def outer_first(ctx: TaskContext) -> str:
    """The time around a time-out is over while that still cleans up."""
    told: list[str] = []
    try:
        async with ctx.timeout(8):
            try:
                async with ctx.timeout(5):
                    await undoing(ctx, "inner", partial(ctx.step, slow), takes=100)
            except TimeoutError:
                told.append("inner")
                await ctx.status("the inner one is late")
    except TimeoutError:
        told.append("outer")
    await ctx.step(work)
    return str(told)


async def both_at_once(ctx: TaskContext) -> str:
    told: list[str] = []
    try:
        async with ctx.timeout(50):
            try:
                async with ctx.timeout(50):
                    await ctx.step(work, "long", 300)
            except TimeoutError:
                told.append(str(ctx.now()))
    except TimeoutError:
        told.append("outer")
    await ctx.step(work)
    return str(told)


async def shielded(ctx: TaskContext) -> str:
    """A branch is cut off where it must not be disturbed, and goes on to the end of that."""

    async def release() -> None:
        with anyio.CancelScope(shield=True):
            await ctx.step(work, "release", 2)

    async def fails() -> None:
        raise LookupError("no")

    try:
        async with ctx.group() as group:
            group.start(release)
            group.start(fails)
    except LookupError as error:
        return str(error)
    return "?"


async def fact_at_the_cut(ctx: TaskContext) -> str:
    """A branch whose group has failed comes to its first turn."""

    async def child() -> None:
        ctx.now()
        await ctx.step(work, "child")

    with suppress(LookupError):
        async with ctx.group() as group:
            group.start(child)
            raise LookupError("no")
    return str(await ctx.step(work, "after"))


async def sleeping_clean_up(ctx: TaskContext) -> str:
    told: list[str] = []
    with suppress(TimeoutError):
        async with ctx.timeout(2):
            try:
                await ctx.step(slow)
            finally:
                await ctx.sleep(1)  # nobody shields it: it is cut off at once
                told.append("slept")
                await ctx.status("undone")
    await ctx.step(work, "after", 3)
    return str(told)


async def begun_behind_a_sleep(ctx: TaskContext) -> str:
    """Who fails is started where the block is cut off."""
    with suppress(StepFailed):
        async with ctx.group() as group:
            await ctx.sleep(20)
            group.start(ctx.step, broken)
    return str(await ctx.step(work))


async def held_off(ctx: TaskContext) -> str:
    async def fails() -> None:
        async with ctx.timeout(0.05):
            await ctx.step(slow)

    with suppress(TimeoutError):
        async with ctx.group() as group:
            group.start(fails)
            with anyio.CancelScope(shield=True):
                await ctx.sleep(0.1)
            await ctx.status("behind the shield")
    return str(await ctx.step(work))


async def failing_loser(ctx: TaskContext) -> str:
    async def loser() -> None:
        try:
            await ctx.step(slow)
        finally:
            raise ValueError("lost, and badly")

    return str(await ctx.race(loser(), ctx.sleep(3), ctx.step(work, "won", 1)))


async def later(ctx: TaskContext) -> str:
    await ctx.sleep(1)
    return await ctx.ask("second")


async def two_questions(ctx: TaskContext) -> str:
    try:
        return str(await ctx.gather(ctx.ask("first"), later(ctx)))
    except RuntimeError as error:
        return f"{error} {await ctx.step(work, 'after')}"


async def question_refused_inside(ctx: TaskContext) -> str:
    async def curious() -> list[Any]:
        told = []
        try:
            told.append(await later(ctx))
        except RuntimeError:
            told.append(await ctx.step(work, "instead"))
        told.append(await ctx.step(work, "after"))
        return told

    return str(await ctx.race(ctx.ask("first"), curious()))


async def clean_up_of_branches_in_time(ctx: TaskContext) -> str:
    told = []
    try:
        async with ctx.timeout(5):
            await ctx.gather(
                undoing(ctx, "left", partial(ctx.step, slow)),
                undoing(ctx, "right", partial(anyio.sleep, 1000)),
            )
    except TimeoutError:
        told.append("late")
    try:
        async with ctx.timeout(50):
            try:
                async with ctx.timeout(5):
                    await undoing(ctx, "inner", partial(ctx.sleep, 1000))
            except TimeoutError:
                told.append(await ctx.step(work, "in between"))
            await undoing(ctx, "outer", partial(ctx.sleep, 1000))
    except TimeoutError:
        told.append("later")
    await ctx.step(work)
    return str(told)


async def failing_clean_up(ctx: TaskContext) -> str:
    async def stumbles() -> None:
        try:
            await ctx.step(slow)
        finally:
            await ctx.status("stumbling")
            raise ValueError("stumbled")

    told = []
    try:
        async with ctx.timeout(5):
            await stumbles()
    except ValueError as error:
        told.append(str(error))
    told.append(await ctx.step(work, "after"))
    return str(told)


# --- chunks, turns, restarts ----------------------------------------------------------------------


async def chunks(ctx: TaskContext) -> AsyncIterator[Any]:
    for number in range(4):
        yield f"{number} "
        await ctx.step(work, number)
    async with ctx.artifact("beside") as beside:
        await beside.write("a")
        await ctx.step(work)
        await beside.write("b")
    async with ctx.artifact("nothing"):
        pass
    yield "end"


async def restarting(ctx: TaskContext) -> str:
    rounds: int = ctx.restart_state or 0
    if rounds < 3:
        await ctx.step(work, rounds)
        await ctx.race(ctx.ask(f"q{rounds}"), ctx.sleep(100))
        async with ctx.timeout(500):
            await ctx.sleep(1)
        await ctx.restart(rounds + 1)
    return "3 rounds"


async def outliving_the_cut(ctx: TaskContext) -> str:
    """The cut finds a branch in a shielded step, behind which the branch only returns."""

    async def stubborn() -> str:
        told: list[Any] = []
        with anyio.CancelScope(shield=True):
            told.append(await ctx.step(work, "stubborn", 30))
        return f"{told}"

    async def failing() -> None:
        await ctx.sleep(10)
        raise LookupError("no")

    branches: list[Any] = []
    try:
        async with ctx.group() as group:
            branches += [group.start(stubborn), group.start(failing)]
    except LookupError:
        return f"{[branch.done for branch in branches]}"
    return "?"


async def clean_up_within_a_failure(ctx: TaskContext) -> str:
    """A cut finds a block in the first of two shielded steps, while the block handles a failure
    that another cut has made."""

    async def failing(seconds: float) -> None:
        await ctx.sleep(seconds)
        raise LookupError("no")

    keys: list[str] = []

    async def key() -> str:
        await anyio.sleep(5)
        return step_info().key.split(":", 1)[1]

    try:
        async with ctx.group() as group:
            group.start(failing, 1)
            await ctx.sleep(50)
    except LookupError:
        with suppress(TimeoutError):
            async with ctx.timeout(3):
                with anyio.CancelScope(shield=True):
                    keys += [await ctx.step(key), await ctx.step(key)]
    return f"{keys}"


async def failing_behind_an_outer_cut(ctx: TaskContext) -> str:
    """The block of a group fails after its group was cut from outside, so the group has no cut of
    its own."""

    async def loser() -> None:
        async with ctx.group() as group:
            group.start(ctx.sleep, 100)
            try:
                await ctx.sleep(2)
                raise LookupError("no")
            finally:
                with anyio.CancelScope(shield=True):
                    await ctx.step(work, "a", 10)
                    await ctx.step(work, "b", 10)

    return str(await ctx.race(loser(), ctx.step(work, "winner", 5)))


async def retrying(ctx: TaskContext) -> str:
    steps = ctx.with_options(retry=Retry(attempts=3, delay=1))
    try:
        await steps.step(broken)
    except StepFailed as failed:
        return failed.message
    return "?"


async def turns(ctx: TaskContext) -> Any:
    messages = [message.text async for message in ctx.history() if message.role is Role.USER]
    await ctx.step(work)
    return " ".join(messages) if len(messages) == 3 else InputRequired(f"q{len(messages)}")


async def asking(ctx: TaskContext) -> str:
    async with ctx.timeout(500):
        await ctx.step(work)
        answer = await ctx.ask("q?")
    await ctx.sleep(5)
    return answer


async def play(peer: Caller, task_id: str) -> None:
    """Answer every question that wants an answer."""
    task = await peer.get(task_id)
    while not task.status.state.terminal:
        question = said(task)
        if task.status.state is TaskState.INPUT_REQUIRED and question.startswith("q"):
            answer = f"{len(question)}"
            await peer.send(answer, task=task_id, now=True)
        latest = await peer.get(task_id)
        if latest.generation == task.generation:
            latest = await peer.get(task_id, newer_than=task.generation)
        task = latest


def outcome(task: Task, *, with_history: bool = True) -> object:
    return (
        task.status.state,
        said(task),
        {artifact.artifact_id: artifact.parts for artifact in task.artifacts or []},
        heard(task) if with_history else None,
    )


async def crash_everywhere(
    handler: Handler,
    idle: float,
    drive: Callable[[Caller, str], Awaitable[None]] = play,
    *,
    with_history: bool = True,
    **options: Any,
) -> None:
    """Play it without a fault, and again from what each commit left."""

    def agent() -> Agent:
        made = Agent("Matrix", version="1", **{"on_interrupt": "resume", **options})
        made.handler(handler)
        return made

    recorded = RecordingStore()
    async with running(agent(), store=recorded, idle=idle) as peer:
        task_id = (await peer.send("go", now=True)).id
        await drive(peer, task_id)
        expected = await peer.get(task_id)
    check(list(await recorded.journal(SCOPE, task_id)))
    for number, copy in enumerate(recorded.copies):
        left = copy_of(copy)
        left._nodes.clear()
        before = list(await left.journal(SCOPE, task_id))
        async with running(agent(), store=left, idle=idle) as peer:
            with anyio.move_on_after(100_000):
                await drive(peer, task_id)
            task = await peer.get(task_id)
            told = outcome(task, with_history=with_history)
            assert told == outcome(expected, with_history=with_history), f"after commit {number}"
        after = list(await left.journal(SCOPE, task_id))
        assert after[: len(before)] == before
        check(after)


async def crash_twice(handler: Handler) -> None:
    """Play it without a fault, and from what each commit left, from each of whose first commits it
    is played again."""

    def agent() -> Agent:
        made = Agent("Matrix", version="1", on_interrupt="resume")
        made.handler(handler)
        return made

    async def played(store: KeptStore, task_id: str) -> object:
        store._nodes.clear()
        async with running(agent(), store=store) as peer:
            with anyio.move_on_after(100_000):
                await play(peer, task_id)
            return outcome(await peer.get(task_id))

    recorded = RecordingStore()
    async with running(agent(), store=recorded) as peer:
        task_id = (await peer.send("go", now=True)).id
    expected = await played(recorded, task_id)
    for first, left in enumerate(recorded.copies[:12]):
        again = RecordingStore(left)
        assert await played(again, task_id) == expected
        for second, store in enumerate(again.copies[:4]):
            told = await played(store, task_id)
            assert told == expected, f"after commit {first} and commit {second} of the next"
            check(list(await store.journal(SCOPE, task_id)))


class ReachedStore(KeptStore):
    """Lets what its user does go on for so many commits."""

    def __init__(self, commits: int) -> None:
        super().__init__()
        self.left = commits
        self._scope = anyio.CancelScope()

    def until_reached(self) -> anyio.CancelScope:
        return self._scope

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        outcomes = await super().append(batch, now=now)
        self.left -= 1
        if self.left <= 0:
            self._scope.cancel()
        return outcomes


async def stop_everywhere(handler: Handler, idle: float, grace: float) -> None:
    """Play it without a stop, and with one in good order after each commit."""

    def agent() -> Agent:
        made = Agent("Matrix", version="1", on_interrupt="resume")
        made.handler(handler)
        return made

    recorded = RecordingStore()
    async with running(agent(), store=recorded, idle=idle) as peer:
        task = (await peer.send("go", now=True)).id
        await play(peer, task)
        expected = await peer.get(task)
    for number in range(1, len(recorded.copies) + 1):
        store = ReachedStore(number)
        async with running(agent(), store=store, idle=idle) as peer:
            task = (await peer.send("go", now=True)).id
            with store.until_reached():
                await play(peer, task)
            await peer.runtime.drain(grace)
        before = list(await store.journal(SCOPE, task))
        async with running(agent(), store=store, idle=idle) as peer:
            with anyio.move_on_after(100_000):
                await play(peer, task)
            current = await peer.get(task)
            assert outcome(current) == outcome(expected), f"after commit {number}"
        after = list(await store.journal(SCOPE, task))
        assert after[: len(before)] == before
        check(after)


HANDLERS: list[Handler] = [
    block_ahead, step_first, empty_group, ask_beside_step, status_beside_ask, race_of_an_ask,
    begun_late, nested, group_in_time, clean_ups, cut_off_midway, outer_first, both_at_once,
    begun_behind_a_sleep, held_off, failing_loser, shielded, fact_at_the_cut, sleeping_clean_up,
    two_questions, question_refused_inside,
    block_beside_a_failure, block_of_time_beside_a_clock, done_before_a_failure, question_cut_off,
    losers_that_clean_up,
    clean_up_of_branches_in_time, failing_clean_up,
    outliving_the_cut, clean_up_within_a_failure, failing_behind_an_outer_cut,
    chunks, restarting, retrying, turns, asking,
]  # fmt: skip


@pytest.mark.parametrize("idle", [AWAKE, PASSIVATED])
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_a_crash_after_any_commit_changes_nothing(handler: Handler, idle: float) -> None:
    await crash_everywhere(handler, idle)


@pytest.mark.parametrize("idle", [AWAKE, PASSIVATED])
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_nor_does_a_stop_in_good_order(handler: Handler, idle: float) -> None:
    await stop_everywhere(handler, idle, grace=0.0)


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_nor_does_a_second_crash_while_it_comes_back(handler: Handler) -> None:
    await crash_twice(handler)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
def test_nor_does_it_in_another_order(handler: Handler, seed: int) -> None:
    anyio.run(
        partial(crash_everywhere, handler, AWAKE),
        backend="asyncio",
        backend_options={"loop_factory": partial(ShufflingLoop, seed)},
    )


async def test_a_rerun_forgets_what_it_did_and_ends_the_same() -> None:
    await crash_everywhere(asking, AWAKE, on_interrupt="rerun", with_history=False)


async def collecting(ctx: TaskContext) -> str:
    found = [await ctx.receive()]
    await ctx.step(work)
    found.append(await ctx.receive())
    return " ".join(message.parts[0].text or "" for message in found)


async def tell(peer: Caller, task: str) -> None:
    """Say what was not said yet, and wait for the end."""
    said = {message.message_id for message in (await peer.get(task)).history or ()}
    for number in ("one", "two"):
        if number not in said:
            await peer.send(user(number, id=number, task_id=task), now=True)
    await peer.over(task)


async def test_a_rerun_is_told_again_what_the_client_told() -> None:
    await crash_everywhere(collecting, AWAKE, tell, on_interrupt="rerun", with_history=False)


# --- back late ------------------------------------------------------------------------------------


async def outer_time_out_first(ctx: TaskContext) -> str:
    try:
        async with ctx.timeout(0.54):
            try:
                async with ctx.timeout(1.18):
                    await ctx.ask("never?")
            except TimeoutError:
                return "inner"
    except TimeoutError:
        return "outer"
    return "in time"


async def time_out_before_a_sleep(ctx: TaskContext) -> str:
    try:
        async with ctx.timeout(1.79):
            await ctx.sleep(1.15)
            await ctx.sleep(1.31)
    except TimeoutError:
        return "late"
    return "in time"


async def time_out_before_a_failure(ctx: TaskContext) -> str:
    async def first() -> None:
        async with ctx.timeout(0.58):
            await ctx.sleep(70)

    async def second() -> None:
        await ctx.sleep(1.06)
        raise LookupError("second")

    try:
        await ctx.gather(second(), first())
    except (TimeoutError, LookupError) as error:
        return type(error).__name__
    return "?"


async def shortest_sleep_wins(ctx: TaskContext) -> str:
    async def sleeps(seconds: float) -> float:
        await ctx.sleep(seconds)
        return seconds

    return str(await ctx.race(sleeps(3), sleeps(1), sleeps(2)))


LATE: list[tuple[Handler, str]] = [
    (outer_time_out_first, "outer"), (time_out_before_a_sleep, "late"),
    (time_out_before_a_failure, "TimeoutError"), (shortest_sleep_wins, "1"),
]  # fmt: skip


async def timers_of(store: KeptStore, task: str) -> int:
    """How many sleeps and time-outs have begun."""
    entries = await store.journal(SCOPE, task)
    return sum(is_kind(entry, RecordKind.SLEEP, RecordKind.TIMEOUT) for entry in entries)


@pytest.mark.parametrize("away", [0.0, 1.5, 1000.0])
@pytest.mark.parametrize(("handler", "expected"), LATE)
async def test_what_was_due_first_happens_first_however_late_the_process_comes_back(
    handler: Handler, expected: str, away: float
) -> None:
    def agent() -> Agent:
        made = Agent("Matrix", version="1", on_interrupt="resume")
        made.handler(handler)
        return made

    recorded = RecordingStore()
    async with running(agent(), store=recorded) as peer:
        task = (await peer.send("go", now=True)).id
        await peer.until(task, lambda task: task.status.state.terminal)
        assert result(await peer.get(task)) == expected
    # As long as every timer that was set is still to come, the clock decides as it did.
    timers = await timers_of(recorded, task)
    timed = [copy for copy in recorded.copies if await timers_of(copy, task) == timers]
    assert len(timed) > 1
    for copy in timed:
        left = copy_of(copy)
        left._nodes.clear()
        runtime = Runtime([agent()], store=left, clock=LoopClock(START + away))
        async with runtime:
            caller = Caller(runtime)
            with anyio.move_on_after(100_000):
                await caller.until(task, lambda task: task.status.state.terminal)
            assert result(await caller.get(task)) == expected


# --- the end that somebody else wants -------------------------------------------------------------


async def compensating(ctx: TaskContext) -> None:
    try:
        await ctx.step(work)
        await ctx.status("booked")
        await ctx.sleep(1000)
    finally:
        with anyio.CancelScope(shield=True):
            await ctx.status("refunding")
            await ctx.step(work, "refund")
            await ctx.status("refunded")


async def cancel(peer: Caller, task_id: str) -> None:
    def ready(task: Task) -> bool:
        return task.status.state.terminal or bool(said(task))

    task = await peer.until(task_id, ready)
    if said(task) == "booked":
        with suppress(TaskNotCancelableError):  # the process before this one was told
            await peer.cancel(task_id)
    await peer.until(task_id, lambda task: task.status.state.terminal)


async def wait(peer: Caller, task_id: str) -> None:
    await peer.until(task_id, lambda task: task.status.state.terminal)


async def test_a_crash_in_the_clean_up_of_a_cancelled_task_changes_nothing() -> None:
    await crash_everywhere(compensating, AWAKE, cancel)


async def test_a_crash_in_the_clean_up_at_a_deadline_changes_nothing() -> None:
    await crash_everywhere(compensating, AWAKE, wait, deadline=50.0)
