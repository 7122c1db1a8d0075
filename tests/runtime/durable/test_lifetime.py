"""Whatever ends a process: what a task was told, what it waits for and who must go on with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.journal.entries import DueTimer
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from tests.support.crash import RecordingStore, copy_of
from tests.support.drive import START, Caller, KeptStore, result, said

pytestmark = pytest.mark.anyio

COMPLETED, FAILED, CANCELED = TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED


class Wall:
    """One wall clock for all processes of a test."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds by which it has left the clock of the event loop behind."""

    def now(self) -> float:
        return START + anyio.current_time() + self.ahead


@asynccontextmanager
async def running(
    agent: Agent, store: KeptStore, clock: Wall | None = None, **settings: Any
) -> AsyncIterator[Caller]:
    """One process on ``store``, which outlives the process as a database does."""
    runtime = Runtime(
        agent, store=store, settings=RuntimeSettings(**settings), clock=clock or Wall()
    )
    async with runtime:
        yield Caller(runtime)


def after_a_crash(store: KeptStore) -> KeptStore:
    """What another process finds if this one dies now."""
    left = copy_of(store)
    left._nodes.clear()
    return left


def after_its_end(store: KeptStore) -> KeptStore:
    """What another process finds after this one stopped in good order."""
    store._nodes = dict.fromkeys(store._nodes, float("-inf"))
    return store


async def long_after(peer: Caller, task: str) -> Any:
    """The task when all that could happen by itself has happened."""
    await anyio.sleep(5_000)
    return await peer.get(task)


async def test_a_line_at_work_beside_an_open_question_goes_on_after_a_stop() -> None:
    calls: list[str] = []
    agent = Agent("Desk")

    async def work() -> None:
        calls.append("begun")
        await anyio.sleep(30)
        calls.append("done")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        name, _ = await ctx.gather(ctx.ask("Who?"), ctx.step(work))
        return str(name)

    store = KeptStore()
    async with running(agent, store) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.INPUT_REQUIRED
        await anyio.sleep(5)
    async with running(agent, after_its_end(store)) as peer:
        await anyio.sleep(100)  # nobody answers
        assert calls == ["begun", "begun", "done"]
        assert (await peer.send("Ada", task=task.id)).status.state is COMPLETED


@pytest.mark.parametrize("into_it", [5, 15, 25])
async def test_a_sleep_ends_in_time_whenever_its_process_stopped(into_it: float) -> None:
    """While it was at work, while it was about to leave memory, and after it did."""
    woke: list[float] = []
    agent = Agent("Clock")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        await ctx.sleep(1000)
        woke.append(anyio.current_time() - began)
        return "done"

    store = KeptStore()
    began = anyio.current_time()
    async with running(agent, store, idle=10.0) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(into_it)
    async with running(agent, after_its_end(store), idle=10.0) as peer:
        assert (await peer.over(task.id)).status.state is COMPLETED
    assert woke == [pytest.approx(1000, abs=10)]


async def test_what_was_over_is_not_cut_off_though_the_time_ran_out_since() -> None:
    """It was over, and what came of it was used, before the process died."""
    agent = Agent("Desk", on_interrupt="resume")

    async def work(what: str, takes: float = 0.001) -> str:
        await anyio.sleep(takes)
        return what

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        paid = None
        try:
            async with ctx.timeout(10):
                paid = await ctx.gather(ctx.step(work, "charge"), ctx.step(work, "book"))
                await ctx.step(work, "ship", 5)
        except TimeoutError:
            return f"late, refund {paid}"
        return "in time"

    store = RecordingStore()
    async with running(agent, store) as peer:
        task = await peer.send("go")
        assert result(task) == "in time"
    told = set()
    for copy in store.copies:
        (scope,) = await copy.scopes()
        entries = await copy.journal(scope, task.id)
        if any(b'"gather"' in entry.body for entry in entries):
            clock = Wall()
            clock.ahead = 100
            async with running(agent, after_a_crash(copy), clock) as peer:
                told.add(result(await peer.over(task.id)))
    assert told == {"late, refund ('charge', 'book')", "in time"}


async def test_what_was_slept_is_not_slept_again_though_the_clock_went_back() -> None:
    agent = Agent("Clock", on_interrupt="resume")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        await ctx.sleep(1000)
        await ctx.status("awake")
        await anyio.sleep(50)
        return await ctx.ask("Who?")

    store = RecordingStore()
    async with running(agent, store) as peer:
        task = await peer.send("go", now=True)
        await peer.until(task.id, lambda task: said(task) == "awake")
        left = store.copies[-1]
    clock = Wall()
    clock.ahead = -anyio.current_time()
    began = anyio.current_time()
    async with running(agent, after_a_crash(left), clock) as peer:
        await peer.over(task.id)
        assert anyio.current_time() - began < 100


async def test_a_full_run_that_dies_restarts_with_what_it_had_done() -> None:
    done: list[int] = []
    agent = Agent("Counter", on_interrupt="resume")

    async def one(number: int) -> None:
        done.append(number)

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        number: int = ctx.restart_state or 0
        try:
            while number < 12:
                await ctx.step(one, number)
                number += 1
        except RuntimeError:
            await anyio.sleep(1)  # the process may die here, too
            await ctx.restart(number)
        return str(number)

    store = RecordingStore()
    async with running(agent, store, run_records=8) as peer:
        task = await peer.send("go")
        assert result(task) == "12"
    assert done == list(range(12))
    for copy in store.copies:
        left = after_a_crash(copy)
        (scope,) = await left.scopes()
        steps = sum(b'"kind":"step"' in e.body for e in await left.journal(scope, task.id))
        done.clear()
        async with running(agent, left, run_records=8) as peer:
            assert result(await peer.over(task.id)) == "12"
        assert done == list(range(steps, 12))


@pytest.mark.parametrize("how", ["shielded step", "finally"])
@pytest.mark.parametrize("who", ["client", "deadline"])
async def test_a_restart_does_not_undo_a_cancel(how: str, who: str) -> None:
    runs: list[int] = []
    agent = Agent("Loop", deadline=5 if who == "deadline" else None)

    async def work() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        runs.append(1)
        if how == "finally":
            try:
                await ctx.sleep(1000)
            finally:
                await ctx.restart()
        await ctx.step(work)
        await ctx.restart()

    async with running(agent, KeptStore()) as peer:
        task = await peer.send("go", now=True)
        if who == "client":
            await anyio.sleep(1)
            assert (await peer.cancel(task.id)).status.state is CANCELED
        assert (await peer.over(task.id)).status.state is CANCELED
        begun = len(runs)
        await anyio.sleep(100)
        assert len(runs) == begun


async def test_a_clean_up_that_listens_does_not_outlive_its_task() -> None:
    agent = Agent("Desk")

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        try:
            await ctx.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await ctx.receive()

    async with running(agent, KeptStore(), cancel_grace=5.0) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(1)
        assert (await peer.cancel(task.id)).status.state is CANCELED
        await anyio.sleep(10)
        statistics = peer.runtime.statistics()
        assert (statistics["handlers_running"], statistics["handlers_waiting"]) == (0, 0)


async def test_a_question_alone_is_nobodys_work_after_a_stop() -> None:
    starts: list[str] = []
    agent = Agent("Desk")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        starts.append(ctx.text)
        return await ctx.ask("Who?")

    store = KeptStore()
    async with running(agent, store) as peer:
        task = await peer.send("go")
    async with running(agent, after_its_end(store)) as peer:
        await long_after(peer, task.id)
        assert starts == ["go"]
        assert (await peer.send("Ada", task=task.id)).status.state is COMPLETED


async def test_a_sleep_of_the_new_run_is_not_ended_by_what_was_due_in_the_old_one() -> None:
    woke: list[float] = []
    agent = Agent("Clock")

    @agent.handler
    async def handle(ctx: TaskContext) -> str | None:
        turn = ctx.restart_state or 0
        if turn == 4:
            return "done"
        await ctx.sleep(60)
        woke.append(anyio.current_time())
        return await ctx.restart(turn + 1)

    class Slow(KeptStore):
        """What is due is answered a while after it was read, as a busy disk does."""

        async def due(self, **query: Any) -> Sequence[DueTimer]:
            answer = await super().due(**query)
            await anyio.sleep(0.5)
            return answer

    async with running(agent, Slow(), sweep_every=1.0) as peer:
        task = await peer.send("go", now=True)
        assert (await long_after(peer, task.id)).status.state is COMPLETED
    assert all(later - earlier >= 60 for earlier, later in pairwise(woke))


async def test_a_sleep_wakes_by_its_row_when_the_clock_of_the_loop_stands_still() -> None:
    agent = Agent("Clock")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        async def late() -> str:
            await ctx.sleep(3600)
            return "slept"

        async def bounded() -> str:
            try:
                async with ctx.timeout(3600):
                    await ctx.ask("Who?")
            except TimeoutError:
                return "nobody"
            return "somebody"

        return " ".join(await ctx.gather(late(), bounded()))

    clock = Wall()
    async with running(agent, KeptStore(), clock) as peer:
        task = await peer.send("go")
        clock.ahead += 3600  # the machine was suspended: the loop's own clock did not move
        await anyio.sleep(10)
        assert result(await peer.get(task.id)) == "slept nobody"


async def stubborn(ctx: TaskContext) -> None:
    """A handler that takes its time to clean up."""
    try:
        while True:
            await ctx.step(anyio.sleep, 20)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3)


async def test_a_deadline_is_kept_though_the_process_dies_in_the_grace() -> None:
    agent = Agent("Desk", deadline=50)
    agent.handler(stubborn)
    store = KeptStore()
    async with running(agent, store) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(51)
        assert not (await peer.get(task.id)).status.state.terminal
        left = after_a_crash(store)
    async with running(agent, left) as peer:
        ended = await long_after(peer, task.id)
        assert (ended.status.state, said(ended)) == (CANCELED, "Out of time.")


async def test_a_deadline_that_comes_while_the_process_stops_is_kept() -> None:
    agent = Agent("Desk", deadline=50)
    agent.handler(stubborn)
    store = KeptStore()
    async with running(agent, store) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(44)
        await peer.runtime.drain(grace=5)  # told to go at 49, out of time at 50, gone at 52
    async with running(agent, after_its_end(store)) as peer:
        assert (await peer.get(task.id)).status.state is CANCELED


async def test_a_cancel_is_kept_though_the_process_dies_in_the_grace() -> None:
    agent = Agent("Desk")
    agent.handler(stubborn)
    store = KeptStore()
    async with running(agent, store) as peer, anyio.create_task_group() as group:
        task = await peer.send("go", now=True)
        await anyio.sleep(10)
        group.start_soon(peer.cancel, task.id)
        await anyio.sleep(2)
        assert not (await peer.get(task.id)).status.state.terminal
        left = after_a_crash(store)
    async with running(agent, left) as peer:
        assert (await long_after(peer, task.id)).status.state is CANCELED


@pytest.mark.parametrize("why", ["cancel", "deadline"])
async def test_a_clean_up_that_its_process_cut_short_is_not_run_again(why: str) -> None:
    began: list[str] = []
    agent = Agent("Desk", deadline=10 if why == "deadline" else None, on_interrupt="resume")

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        began.append("handler")
        try:
            await ctx.step(anyio.sleep, 60)
        finally:
            began.append("clean-up")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)

    store = KeptStore()
    async with running(agent, store) as peer, anyio.create_task_group() as group:
        task = await peer.send("go", now=True)
        await anyio.sleep(9)
        if why == "cancel":
            group.start_soon(peer.cancel, task.id)
        await anyio.sleep(2.5)
        left = after_a_crash(store)
        assert began == ["handler", "clean-up"]
    async with running(agent, left) as peer:
        assert (await long_after(peer, task.id)).status.state is CANCELED
    assert began == ["handler", "clean-up"]


async def test_clean_up_steps_of_a_cancelled_run_are_not_taken_for_the_runs_own() -> None:
    refunds: list[str] = []
    agent = Agent("Shop")

    async def refund() -> None:
        refunds.append("refund")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        try:
            await ctx.step(anyio.sleep, 100)
            await ctx.status("bought")
        finally:
            if ctx.cancelled:
                with anyio.CancelScope(shield=True):
                    await ctx.step(refund)
                    await anyio.sleep(5)
        return "bought"

    store = KeptStore()
    async with running(agent, store) as peer, anyio.create_task_group() as group:
        task = await peer.send("go", now=True)
        await anyio.sleep(10)
        group.start_soon(peer.cancel, task.id)
        await anyio.sleep(2)
        left = after_a_crash(store)
    async with running(agent, left) as peer:
        assert (await long_after(peer, task.id)).status.state is CANCELED
    assert refunds == ["refund"]


@pytest.mark.parametrize("way", ["returns", "fails"])
async def test_a_handler_that_swallows_its_stop_does_not_end_the_task(way: str) -> None:
    agent = Agent("Desk")
    stopped: list[str] = []

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        await ctx.step(anyio.lowlevel.checkpoint)
        if stopped:
            return "whole"
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            stopped.append(way)
            if way == "fails":
                with anyio.CancelScope(shield=True):
                    await ctx.fail("partial")
            return "partial"
        return "never"

    store = KeptStore()
    async with running(agent, store) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(5)
        await peer.runtime.drain(grace=0)
    assert stopped == [way]
    async with running(agent, after_its_end(store)) as peer:
        assert result(await long_after(peer, task.id)) == "whole"


async def test_a_stream_that_comes_further_with_every_start_is_no_attempt_that_failed() -> None:
    agent = Agent("Writer")

    async def write(committed: Sequence[object] = ()) -> AsyncGenerator[str, None]:
        for number in range(len(committed), 30):
            yield f"{number} "
            await anyio.sleep(10)

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        await ctx.stream("text", write, on_restart="continue")

    store: KeptStore = KeptStore()
    async with running(agent, store) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(15)
        store = after_a_crash(store)
    for _ in range(12):  # more often than a run may bring its server down
        async with running(agent, store) as peer:
            await anyio.sleep(15)
            assert (await peer.get(task.id)).status.state is TaskState.WORKING
            store = after_a_crash(store)
    async with running(agent, store) as peer:
        ended = await long_after(peer, task.id)
        assert ended.status.state is COMPLETED
        assert [part.text for part in ended.artifacts[0].parts] == [f"{n} " for n in range(30)]


async def test_a_task_does_not_answer_for_what_another_does_to_the_server() -> None:
    agent = Agent("Desk")
    bad_one_begun = anyio.Event()

    async def work(name: str) -> None:
        if name == "bad":
            bad_one_begun.set()
        await anyio.sleep(30)

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        await ctx.step(work, ctx.text)
        return "done"

    store: KeptStore = KeptStore()
    async with running(agent, store) as peer:
        bad = await peer.send("bad", now=True)
        good = [await peer.send(f"good {number}", now=True) for number in range(3)]
        await anyio.sleep(1)
        store = after_a_crash(store)
    for _ in range(60):
        bad_one_begun = anyio.Event()
        async with running(agent, store):
            with anyio.move_on_after(200):
                await bad_one_begun.wait()
                await anyio.sleep(2)  # and so long after it was tried it brings the server down
            if not bad_one_begun.is_set():
                break
            store = after_a_crash(store)
    async with running(agent, store) as peer:
        assert (await long_after(peer, bad.id)).status.state is FAILED
        for task in good:
            assert (await peer.get(task.id)).status.state is COMPLETED


async def test_no_more_sleepers_are_woken_than_handlers_may_run() -> None:
    agent = Agent("Desk")
    at_work = most = 0

    async def work() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await anyio.sleep(10)
        at_work -= 1

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        await ctx.sleep(1_000)
        await ctx.step(work)

    async with running(agent, KeptStore(), handlers=4, idle=5.0) as peer:
        tasks = [await peer.send("go", now=True) for _ in range(20)]
        await anyio.sleep(100)  # they leave memory
        await long_after(peer, tasks[0].id)
        for task in tasks:
            assert (await peer.get(task.id)).status.state is COMPLETED
    assert most == 4


async def test_time_outs_that_linger_in_their_clean_up_hold_up_nobody() -> None:
    agent = Agent("Desk")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        if ctx.text == "sleep":
            began = ctx.now()
            await ctx.sleep(20)
            return str((ctx.now() - began).total_seconds())
        try:
            async with ctx.timeout(10):
                await ctx.ask("Who?")
        except TimeoutError:
            return "late"
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(300)
        return "in time"

    async with running(agent, KeptStore(), idle=5.0) as peer:
        for _ in range(120):
            await peer.send("linger", now=True)
        sleeper = await peer.send("sleep", now=True)
        slept = float(result(await long_after(peer, sleeper.id)))
    assert 20 <= slept < 25


async def test_what_cannot_be_written_changes_nothing() -> None:
    agent = Agent("Desk", deadline=100)
    odd = {"now": object()}  # which no JSON can hold

    @agent.handler
    async def handle(ctx: TaskContext) -> Any:
        match ctx.text:
            case "status":
                await ctx.status(odd)
            case "ask":
                await ctx.ask(odd)
            case "artifact":
                await ctx.artifact("odd", odd)
            case "fail":
                await ctx.fail(odd)
        return odd

    async with running(agent, KeptStore()) as peer:
        for text in ("status", "ask", "artifact", "fail", "return"):
            ended = await peer.send(text)
            assert ended.status.state is FAILED, text


async def test_a_step_is_not_tried_again_by_a_process_that_has_lost_the_task() -> None:
    from greenroom.runtime.durable.steps import Retry, step_info

    tried: list[tuple[float, int]] = []
    agent = Agent("Desk")

    async def flaky() -> None:
        tried.append((anyio.current_time(), step_info().epoch))
        raise OSError("not now")

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        policy = Retry(attempts=4, delay=60, backoff=1)
        await ctx.with_options(retry=policy).step(flaky)

    class Cut(KeptStore):
        """A node that the store does not hear of any more."""

        deaf = False

        async def heartbeat(self, *args: Any, **kwargs: Any) -> Any:
            if self.deaf:
                raise OSError("no route")
            return await super().heartbeat(*args, **kwargs)

    store = Cut()
    async with running(agent, store, lease=15.0) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(5)
        store.deaf = True
        await anyio.sleep(200)
        assert len(tried) == 1  # its lease is over: whoever has the task now tries again
        store.deaf = False
        assert (await long_after(peer, task.id)).status.state is FAILED
