"""Plain ``def`` handlers: worker threads, so by the machine's clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from greenroom import Agent, InputRequired, Message, Part, Role, TaskContext, TaskState
from greenroom.runtime.actor.cancellation import StepFailed, TaskCancelled
from greenroom.runtime.call import ANONYMOUS, TaskScope
from greenroom.runtime.durable.steps import Retry
from greenroom.runtime.handler.blocking import BlockingContext
from tests.support.drive import KeptStore, read, result, running, said, states

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(real_backend: str) -> str:
    return real_backend


class Plain:
    """An agent with a plain handler, and what it left behind."""

    def __init__(self) -> None:
        self.agent = Agent("Plain")
        self.begun = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.thread = 0

        @self.agent.handler
        def handler(ctx: BlockingContext) -> Any:
            self.thread = threading.get_ident()
            try:
                return self._do(ctx)
            except BaseException as error:
                self.error = error
                raise
            finally:
                self.ended.set()

    def _do(self, ctx: BlockingContext) -> Any:
        match ctx.text:
            case "say":
                ctx.status("looking")
                ctx.artifact("whole", {"n": 1})
                with ctx.artifact("chunks") as chunks:
                    chunks.write("a")
                    chunks.write("b")
                return " ".join(message.text for message in ctx.history())
            case "ask":
                return f"{ctx.ask('How many?', int) + 1}"
            case "auth":
                return ctx.require_auth("Sign in").text
            case "receive":
                self.begun.set()
                return ctx.receive().text
            case "reject":
                ctx.reject("no")
            case "boom":
                raise ValueError("secret")
            case "turn":
                return InputRequired("more?")
            case "direct":
                return Message(message_id="m", role=Role.AGENT, parts=[Part(text="hi")])
            case "busy":
                self.begun.set()
                self.go.wait(10)
                ctx.status("still here")
        return "done"

    async def until(self, event: threading.Event) -> None:
        assert await anyio.to_thread.run_sync(event.wait, 10)


async def test_it_runs_in_a_thread_with_a_blocking_context() -> None:
    plain = Plain()
    async with running(plain.agent) as peer:
        frames = await read(await peer.stream("say"))
        assert states(frames) == [
            "submitted", "working", "working", "+whole", "+chunks", "+chunks", "+chunks",
            "+result", "completed",
        ]  # fmt: skip
        [task] = (await peer.list(include_artifacts=True)).tasks
        whole, chunks, last = task.artifacts or []
        assert whole.parts == [Part(data={"n": 1})]
        assert chunks.parts == [Part(text="a"), Part(text="b")]
        assert last.text == "say"
        assert plain.thread != threading.get_ident()


async def test_it_may_ask() -> None:
    plain = Plain()
    async with running(plain.agent) as peer:
        task = await peer.send("ask")
        assert task.status.state is TaskState.INPUT_REQUIRED
        task = await peer.send("many", task=task.id)
        assert task.status.state is TaskState.INPUT_REQUIRED
        assert result(await peer.send("41", task=task.id)) == "42"
        task = await peer.send("auth")
        assert task.status.state is TaskState.AUTH_REQUIRED
        assert result(await peer.send("key", task=task.id)) == "key"
        task = await peer.send("turn")
        assert said(task) == "more?"
        assert result(await peer.send("end", task=task.id)) == "done"


async def test_it_may_receive_refuse_fail_and_answer_directly() -> None:
    plain = Plain()
    async with running(plain.agent, task_delay=5.0) as peer:
        task = await peer.send("receive", now=True)
        await plain.until(plain.begun)
        assert result(await peer.send("heard", task=task.id)) == "heard"
        task = await peer.send("reject")
        assert (task.status.state, said(task)) == (TaskState.REJECTED, "no")
        task = await peer.send("boom")
        assert task.status.state is TaskState.FAILED
        assert "secret" not in str(task)
        answer = await peer.answer("direct")
        assert isinstance(answer, Message)


async def test_a_cancel_raises_at_the_next_call() -> None:
    plain = Plain()
    async with running(plain.agent) as peer:
        task = await peer.send("busy", now=True)
        await plain.until(plain.begun)
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                done = await peer.cancel(task.id)
                assert done.status.state is TaskState.CANCELED

            group.start_soon(cancel)
            while peer.runtime.directory[task.id].execution.reason is None:  # type: ignore[union-attr]
                await anyio.lowlevel.checkpoint()
            plain.go.set()
        await plain.until(plain.ended)
        assert isinstance(plain.error, TaskCancelled)


@pytest.mark.parametrize("what", ["ask", "auth", "receive"])
async def test_a_cancel_raises_in_a_call_that_waits(what: str) -> None:
    plain = Plain()
    async with running(plain.agent, cancel_grace=60.0) as peer:
        task = await peer.send(what, now=True)
        if what == "receive":
            await plain.until(plain.begun)
        else:
            await peer.over(task.id)
        with anyio.fail_after(5.0):
            done = await peer.cancel(task.id)
        assert done.status.state is TaskState.CANCELED
        await plain.until(plain.ended)
        assert isinstance(plain.error, TaskCancelled)


async def test_a_thread_that_does_not_stop_is_left_behind() -> None:
    plain = Plain()
    async with running(plain.agent, cancel_grace=0.05) as peer:
        task = await peer.send("busy", now=True)
        await plain.until(plain.begun)
        done = await peer.cancel(task.id)
        assert done.status.state is TaskState.CANCELED
        plain.go.set()
        await plain.until(plain.ended)
        assert isinstance(plain.error, TaskCancelled)
        assert await peer.get(task.id) == done


@pytest.mark.parametrize("what", ["ask", "receive"])
async def test_no_thread_outlives_the_runtime(what: str) -> None:
    plain = Plain()
    async with running(plain.agent) as peer:
        task = await peer.send(what, now=True)
        if what == "receive":
            await plain.until(plain.begun)
        else:
            await peer.over(task.id)
    await plain.until(plain.ended)


async def test_a_passivated_task_gives_its_thread_back_and_goes_on_later() -> None:
    plain = Plain()
    async with running(plain.agent, idle=0.05, threads=1) as peer:
        task = await peer.send("ask")
        await plain.until(plain.ended)
        other = await peer.send("ask")
        assert result(await peer.send("1", task=task.id)) == "2"
        assert result(await peer.send("2", task=other.id)) == "3"


async def test_a_thread_that_was_left_behind_does_not_count() -> None:
    """Its call to the context may end only after its handler has: that is for the loop to say."""
    agent = Agent("Plain")
    ended = threading.Semaphore(0)
    many = 10

    @agent.handler
    def handler(ctx: BlockingContext) -> None:
        try:
            ctx.receive()
        finally:
            ended.release()

    async with running(agent, idle=0.01) as peer:
        system = peer.runtime.system
        for _ in range(many):
            await peer.send("go", now=True)
        for _ in range(many):
            assert await anyio.to_thread.run_sync(ended.acquire, True, 10)
        with anyio.fail_after(10):
            while peer.runtime.directory or system.running:
                await anyio.lowlevel.checkpoint()
        mine = TaskScope("", peer.runtime.default.slug, ANONYMOUS.owner)
        assert (system.waiting, system.at_work(mine)) == (0, 0)


async def test_the_number_of_threads_is_bounded() -> None:
    lock = threading.Lock()
    counts = {"now": 0, "most": 0}
    agent = Agent("Plain")

    @agent.handler
    def handler(ctx: BlockingContext) -> str:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        ctx.status("one")
        with lock:
            counts["now"] -= 1
        return "done"

    async with running(agent, threads=2) as peer:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(peer.send, "go")
        assert counts["most"] <= 2
        assert (await peer.list(status=TaskState.COMPLETED)).total_size == 20


# --- the rest of the face -------------------------------------------------------------------------


def only(handler: Callable[[BlockingContext], Any], **options: Any) -> Agent:
    agent = Agent("Plain", **options)
    agent.handler(handler)
    return agent


async def test_a_plain_generator_is_streamed_from_the_handlers_own_thread() -> None:
    threads: list[int] = []

    def words(count: int, *, last: str) -> Iterator[str]:
        for number in range(count):
            threads.append(threading.get_ident())
            yield f"{number} "
        yield last

    def handler(ctx: BlockingContext) -> str:
        threads.append(threading.get_ident())
        return f"{ctx.stream('words', words, 3, last='end').text}!"

    async with running(only(handler)) as peer:
        frames = await read(await peer.stream("go"))
        assert states(frames) == [
            "submitted", "working", *["+words"] * 5, "+result", "completed"
        ]  # fmt: skip
        [task] = (await peer.list(include_artifacts=True)).tasks
        streamed, last = task.artifacts or []
        assert [part.text for part in streamed.parts] == ["0 ", "1 ", "2 ", "end"]
        assert last.text == f"{streamed.text}!"
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()


async def test_an_async_generator_may_be_streamed_too() -> None:
    async def words() -> AsyncGenerator[str, None]:
        yield "a"
        yield "b"

    def handler(ctx: BlockingContext) -> None:
        ctx.stream("words", words)

    async with running(only(handler)) as peer:
        assert result(await peer.send("go")) == "ab"


async def test_what_was_recorded_comes_back_after_a_rest() -> None:
    calls: list[str] = []
    facts: list[tuple[Any, ...]] = []
    ended = threading.Event()

    def words() -> Iterator[str]:
        calls.append("words")
        yield "a"

    def double(number: int) -> int:
        calls.append("double")
        return 2 * number

    def flaky() -> int:
        calls.append("flaky")
        if calls.count("flaky") < 3:
            raise ValueError("not yet")
        return 7

    def handler(ctx: BlockingContext) -> str:
        artifact = ctx.stream("words", words)
        retried = ctx.with_options(retry=Retry(delay=0.0)).step(flaky)
        facts.append(
            (artifact, ctx.step(double, 4), retried, ctx.now(), ctx.uuid(), ctx.random(),
             ctx.patched("new"))
        )  # fmt: skip
        try:
            return ctx.ask("more?")
        finally:
            ended.set()

    async with running(only(handler), idle=0.05) as peer:
        task = await peer.send("go")
        assert await anyio.to_thread.run_sync(ended.wait, 10)
        assert result(await peer.send("end", task=task.id)) == "aend"
    assert calls == ["words", "flaky", "flaky", "flaky", "double"]
    first, second = facts
    assert first == second
    assert first[1:3] == (8, 7)
    assert first[-1] is True


async def test_an_interrupted_stream_goes_on_behind_what_was_committed() -> None:
    store = KeptStore()
    seen: list[list[str | None]] = []
    first = threading.Event()
    hold = threading.Event()

    def words(committed: Sequence[Part] = ()) -> Iterator[str]:
        seen.append([part.text for part in committed])
        for number in range(len(committed), 3):
            if number == 2 and not committed:
                first.set()
                hold.wait(10)
            yield str(number)

    def handler(ctx: BlockingContext) -> None:
        ctx.stream("words", words, on_restart="continue")

    async with running(only(handler), store=store, cancel_grace=0.05) as peer:
        task = await peer.send("go", now=True)
        assert await anyio.to_thread.run_sync(first.wait, 10)
        await peer.until(task.id, lambda task: len(result(task)) == 2)
    hold.set()
    async with running(only(handler), store=store) as peer:
        await peer.over(task.id)
        assert result(await peer.get(task.id)) == "012"
    assert seen == [[], ["0", "1"]]


async def test_it_may_restart_with_a_state() -> None:
    def handler(ctx: BlockingContext) -> str:
        count: int = ctx.restart_state or 0
        if count < 3:
            ctx.restart(count + 1)
        return f"{count} restarts"

    async with running(only(handler)) as peer:
        assert result(await peer.send("go")) == "3 restarts"


async def test_a_step_with_a_time_out_fails() -> None:
    hold = threading.Event()

    def handler(ctx: BlockingContext) -> str:
        try:
            ctx.with_options(timeout=0.05, name="slow").step(hold.wait, 10)
        except StepFailed as failed:
            return f"{failed.step} {failed.type}"
        return "in time"

    async with running(only(handler)) as peer:
        assert result(await peer.send("go")) == "slow TimeoutError"
    hold.set()


@pytest.mark.parametrize("name", ["gather", "race", "group", "timeout"])
async def test_what_needs_a_coroutine_says_so(name: str) -> None:
    def handler(ctx: BlockingContext) -> str:
        assert not hasattr(ctx, name)
        with pytest.raises(AttributeError, match=f"ctx.{name} is for `async def` handlers"):
            getattr(ctx, name)()
        with pytest.raises(AttributeError, match="no 'gathr'"):
            ctx.gathr()  # type: ignore[attr-defined]
        return "told"

    async with running(only(handler)) as peer:
        assert result(await peer.send("go")) == "told"


@pytest.mark.parametrize("what", ["status", "artifact", "step", "fail", "ask", "now"])
async def test_a_context_is_for_the_thread_of_its_runtime(what: str) -> None:
    agent = Agent("Async")
    told: list[str] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        async def act() -> None:
            match what:
                case "status":
                    await ctx.status("from elsewhere")
                case "artifact":
                    await ctx.artifact("a", "from elsewhere")
                case "step":
                    await ctx.step(str, 1)
                case "fail":
                    await ctx.fail("from elsewhere")
                case "ask":
                    await ctx.ask("from elsewhere")
                case "now":
                    ctx.now()

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="belongs to the thread of its runtime") as error:
                asyncio.run(act())
            told.append(str(error.value))

        await anyio.to_thread.run_sync(elsewhere)
        await ctx.status("from here")
        return "done"

    async with running(agent) as peer:
        frames = await read(await peer.stream("go"))
        assert states(frames) == ["submitted", "working", "working", "+result", "completed"]
    assert len(told) == 1


async def test_an_interrupt_in_a_thread_fails_its_task() -> None:
    def handler(ctx: BlockingContext) -> None:
        raise KeyboardInterrupt

    async with running(only(handler)) as peer:
        assert (await peer.send("go")).status.state is TaskState.FAILED
        assert (await peer.send("go")).status.state is TaskState.FAILED


async def test_as_many_handlers_as_threads_may_all_be_at_a_step() -> None:
    together = threading.Barrier(2)

    def meet() -> str:
        together.wait(10)
        return "met"

    def handler(ctx: BlockingContext) -> Any:
        return ctx.step(meet)

    async with running(only(handler), threads=2) as peer:
        collected: list[str] = []

        async def go() -> None:
            collected.append(result(await peer.send("go")))

        with anyio.fail_after(5.0):
            async with anyio.create_task_group() as group:
                group.start_soon(go)
                group.start_soon(go)
        assert collected == ["met", "met"]


async def test_a_long_history_comes_in_pages() -> None:
    heard: list[str] = []

    def handler(ctx: BlockingContext) -> Any:
        if ctx.text != "look":
            return InputRequired("more?")
        heard.extend(message.text for message in ctx.history(150))
        return "done"

    async with running(only(handler)) as peer:
        task = await peer.send("0", history=0)
        for number in range(1, 80):
            await peer.send(str(number), task=task.id, history=0)
        await peer.send("look", task=task.id, history=0)
    assert len(heard) == 150
    assert heard[-3:] == ["79", "more?", "look"]


async def test_what_cannot_be_called_or_streamed_is_refused_at_the_call() -> None:
    agent = Agent("Plain")

    def lines() -> Iterator[str]:
        yield "a"

    def number() -> int:
        return 1

    @agent.handler
    def handler(ctx: BlockingContext) -> str:
        for wrong in (lines(), len, "lines"):
            with pytest.raises(TypeError, match=r"ctx\.stream takes"):
                ctx.stream("x", wrong, "a")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"ctx\.step takes"):
            ctx.step(number())  # type: ignore[call-overload]
        return ctx.stream("x", lines).text

    async with running(agent) as peer:
        assert "a" in result(await peer.send("go"))
