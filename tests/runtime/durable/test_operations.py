"""Each operation of a handler alone: now, after a crash, and when it is used wrongly."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from greenroom import Agent, Principal, TaskContext, TaskRejected, TaskState
from greenroom.protocol.errors import UnavailableError
from greenroom.protocol.frame import Frame
from greenroom.protocol.types import Artifact, Message, Part, Role
from greenroom.runtime.actor.cancellation import StepFailed
from greenroom.runtime.call import TaskScope
from greenroom.runtime.durable.steps import Retry, step_info
from greenroom.runtime.journal.entries import Entry, Kind, SendRecord, TaskRef, Timer
from greenroom.runtime.journal.records import RecordKind, is_kind
from greenroom.runtime.runtime import Runtime
from greenroom.testing import LoopClock
from tests.support.crash import copy_of
from tests.support.drive import START, Caller, KeptStore, read, result, running, said, settle, user

pytestmark = pytest.mark.anyio

HOUR = 3600.0


def agent_of(function: Any, **options: Any) -> Agent:
    agent = Agent("One", **options)
    agent.handler(function)
    return agent


def values(task: Any) -> Any:
    """What the handler returned."""
    return next(a.parts[0].data for a in task.artifacts if a.artifact_id == "result")


async def crashed(store: KeptStore, *agents: Agent, text: str = "go", after: float = 1.0) -> str:
    """Start a task, and leave in ``store`` what a crash ``after`` seconds leaves."""
    lasting = KeptStore()
    async with running(*agents, store=lasting) as peer:
        task = await peer.send(text, now=True)
        await anyio.sleep(after)
        await settle()
        vars(store).update(vars(copy_of(lasting)))
    return task.id


# --- steps --------------------------------------------------------------------------------------


async def test_a_step_that_fails_raises_the_same_now_and_on_replay() -> None:
    calls: list[str] = []

    async def fails() -> None:
        calls.append(step_info().key)
        raise LookupError("nothing there")

    async def handler(ctx: TaskContext) -> list[str]:
        try:
            await ctx.step(fails)
        except StepFailed as failed:
            told = [failed.step, failed.type, failed.message]
        await ctx.sleep(60)
        return told

    store = KeptStore()
    task = await crashed(store, agent_of(handler))
    async with running(agent_of(handler), store=store) as peer:
        assert values(await peer.over(task)) == ["fails", "LookupError", "nothing there"]
    assert len(calls) == 1


async def test_a_step_is_tried_again_as_its_policy_says_with_one_key() -> None:
    seen: list[tuple[str, int, float]] = []

    async def flaky() -> int:
        info = step_info()
        seen.append((info.key, info.attempt, anyio.current_time()))
        if info.attempt < 3:
            raise ConnectionError("not yet")
        return info.attempt

    async def picky() -> None:
        raise ValueError("never again")

    async def handler(ctx: TaskContext) -> list[Any]:
        steps = ctx.with_options(retry=Retry(attempts=3, delay=10, on=(ConnectionError,)))
        told: list[Any] = [await steps.step(flaky)]
        try:
            await steps.step(picky)
        except StepFailed as failed:
            told.append(failed.type)
        return told

    async with running(agent_of(handler)) as peer:
        assert values(await peer.send("go")) == [3, "ValueError"]
    assert [attempt for _, attempt, _ in seen] == [1, 2, 3]
    assert len({key for key, _, _ in seen}) == 1
    assert seen[1][2] - seen[0][2] >= 5
    assert seen[2][2] - seen[1][2] >= 10


async def test_a_step_out_of_time_fails_and_ends_nothing_else() -> None:
    async def handler(ctx: TaskContext) -> str:
        try:
            await ctx.with_options(timeout=5, name="slow").step(anyio.sleep, 100)
        except StepFailed as failed:
            return f"{failed.step}: {failed.type}"
        return "?"

    async with running(agent_of(handler)) as peer:
        assert result(await peer.send("go")) == "slow: TimeoutError"


async def test_a_result_that_cannot_be_kept_is_refused_at_the_call_with_advice() -> None:
    calls: list[int] = []

    async def opens() -> Any:
        calls.append(1)
        return object()

    async def handler(ctx: TaskContext) -> str:
        try:
            await ctx.step(opens)
        except TypeError as refused:
            told = str(refused)
        await ctx.sleep(60)
        return told

    store = KeptStore()
    task = await crashed(store, agent_of(handler))
    async with running(agent_of(handler), store=store) as peer:
        told = result(await peer.over(task))
    assert "object cannot be kept in the journal" in told
    assert "a step must return" in told
    assert len(calls) == 1


async def test_a_result_is_what_its_stored_bytes_give_now_and_later() -> None:
    async def pair() -> tuple[int, str]:
        return 1, "x"

    async def untyped():  # type: ignore[no-untyped-def]
        return (1, "x")

    async def handler(ctx: TaskContext) -> list[str]:
        live = [repr(await ctx.step(pair)), repr(await ctx.step(untyped))]
        await ctx.sleep(60)
        return live

    store = KeptStore()
    task = await crashed(store, agent_of(handler))
    async with running(agent_of(handler)) as peer:
        live = values(await peer.send("go"))
    async with running(agent_of(handler), store=store) as peer:
        assert values(await peer.over(task)) == live == ["(1, 'x')", "[1, 'x']"]


async def ready() -> int:
    return 1


async def chunks() -> AsyncGenerator[str, None]:
    yield "a"


def lines() -> Any:
    yield "a"


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda ctx: ctx.sleep(float("nan")), ValueError, "finite number of seconds"),
        (lambda ctx: ctx.sleep(float("inf")), ValueError, "ctx.receive"),
        (lambda ctx: ctx.sleep(10**400), ValueError, "finite number of seconds"),
        (lambda ctx: ctx.sleep("5"), TypeError, "number of seconds"),
        (lambda ctx: ctx.timeout(float("nan")), ValueError, "finite number of seconds"),
        (lambda ctx: ctx.timeout(float("inf")), ValueError, "leave it out"),
        (lambda ctx: ctx.with_options(timeout=float("nan")), ValueError, "finite"),
        (lambda ctx: ctx.with_options(timeout=0), ValueError, "more than 0"),
        (lambda ctx: Retry(attempts=0), ValueError, "1 or more"),
        (lambda ctx: Retry(delay=float("nan")), ValueError, "finite"),
        (lambda ctx: Retry(max_delay=-1), ValueError, "0 or more"),
        (lambda ctx: ctx.step(ready()), TypeError, "ready, … and not ready(…)"),
        (lambda ctx: ctx.step("ready"), TypeError, "takes a function"),
        (lambda ctx: ctx.stream("x", ready), TypeError, "ready is none"),
        (lambda ctx: ctx.stream("x", chunks()), TypeError, "chunks, … and not chunks(…)"),
        (lambda ctx: ctx.stream("x", lines), TypeError, "`async def` with `yield`"),
        (lambda ctx: ctx.stream("x", lambda: 5), TypeError, "is none"),
        (lambda ctx: ctx.status({"share": float("nan")}), TypeError, "NaN and infinity"),
        (
            lambda ctx: ctx.status("x", metadata={"x": [float("inf")]}),
            TypeError,
            "NaN and infinity",
        ),
        (lambda ctx: ctx.artifact("x", [1.0, float("nan")]), TypeError, "NaN and infinity"),
        (lambda ctx: ctx.restart(float("nan")), TypeError, "NaN and infinity"),
    ],
)
async def test_what_makes_no_sense_is_refused_at_the_call_and_changes_nothing(
    call: Any, error: type[Exception], told: str
) -> None:
    async def attempt(ctx: TaskContext) -> None:
        made = call(ctx)
        if inspect.isawaitable(made):
            await made

    async def handler(ctx: TaskContext) -> str:
        with pytest.raises(error, match=re.escape(told)):
            await attempt(ctx)
        await ctx.sleep(-1)
        return "went on"

    async with running(agent_of(handler)) as peer:
        began = anyio.current_time()
        answer = await peer.send("go")
        assert result(answer) == "went on"
        assert anyio.current_time() - began < 1
        stream = await peer.subscribe(answer.id, after=0)
        frames = await read(stream)
        assert [frame.generation for frame in frames][-1] == answer.generation


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"share": float("-inf")},
        Artifact(artifact_id="a", parts=[Part(data=[None, float("nan")])]),
        Message(message_id="m", role=Role.AGENT, parts=[Part(data=float("nan"))]),
    ],
)
async def test_a_result_that_is_no_json_fails_its_task_and_nothing_else(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: TaskContext) -> Any:
        return value if ctx.text == "odd" else {"none": None}

    async with running(agent_of(handler)) as peer:
        answer = await peer.send("odd")
        assert answer.status.state is TaskState.FAILED
        assert not answer.artifacts
        assert "NaN and infinity cannot be written as JSON" in caplog.text
        assert values(await peer.send("even")) == {"none": None}


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": {"b": float("nan")}}])
async def test_a_step_that_returns_no_json_is_refused(value: Any) -> None:
    async def odd() -> Any:
        return value

    async def even() -> dict[str, None]:
        return {"none": None}

    async def handler(ctx: TaskContext) -> str:
        with pytest.raises(TypeError, match="NaN and infinity cannot be written as JSON"):
            await ctx.step(odd)
        return str(await ctx.step(even))

    async with running(agent_of(handler)) as peer:
        assert result(await peer.send("go")) == "{'none': None}"


def test_a_deadline_is_a_time() -> None:
    for wrong in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match="deadline"):
            Agent("One", deadline=wrong)


async def double(number: int) -> int:
    return 2 * number


def doubling(argument: int, version: str) -> Agent:
    async def handler(ctx: TaskContext) -> int:
        value = await ctx.step(double, argument)
        await ctx.sleep(60)
        return value

    return agent_of(handler, version=version)


async def test_arguments_that_another_version_changed_only_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = KeptStore()
    task = await crashed(store, doubling(1, "1"))
    with caplog.at_level(logging.WARNING, "greenroom.durable"):
        async with running(doubling(5, "2"), store=store) as peer:
            assert values(await peer.over(task)) == 2
    assert "arguments of step 'double'" in caplog.text


async def test_arguments_that_differ_within_one_version_block_the_task() -> None:
    store = KeptStore()
    task = await crashed(store, doubling(1, "1"))
    async with running(doubling(5, "1"), store=store) as peer:
        current = await peer.until(task, lambda task: said(task).startswith("Blocked"))
        assert current.status.state is TaskState.WORKING
        assert "with other arguments" in said(current)
        assert not current.artifacts
    async with running(doubling(1, "1"), store=store) as peer:
        assert values(await peer.over(task)) == 2


async def sleeping(ctx: TaskContext) -> str:
    await ctx.sleep(60)
    return "slept"


async def timing(ctx: TaskContext) -> str:
    async with ctx.timeout(50):
        await ctx.sleep(40)
    return "in time"


async def slept_before(ctx: TaskContext) -> str:
    await ctx.sleep(0.001)
    await ctx.step(double, 1)
    await ctx.sleep(60)
    return "slept"


async def raced(ctx: TaskContext) -> str:
    told = await ctx.race(ctx.step(double, 1), ctx.sleep(50))
    await ctx.sleep(60)
    return f"{told}"


async def failed_beside(ctx: TaskContext) -> str:
    async def fail() -> None:
        await ctx.step(double, 1)
        raise LookupError("no")

    with suppress(LookupError):
        await ctx.gather(fail(), ctx.sleep(50))
    await ctx.sleep(60)
    return "went on"


async def grouped(ctx: TaskContext) -> str:
    async with ctx.group() as group:
        group.start(ctx.step, double, 1)
    await ctx.sleep(60)
    return "went on"


async def gathered(ctx: TaskContext) -> str:
    told = await ctx.gather(ctx.step(double, 1), ctx.step(double, 2))
    await ctx.sleep(60)
    return f"{[*told]}"


def as_earlier(entry: Entry) -> list[Entry]:
    """What earlier builds wrote instead of a record: the moment of a timer as a number, the end of
    a group at its place, and no cut and no end of anything else."""
    if is_kind(entry, RecordKind.CUT, RecordKind.END):
        return []
    body = entry.body
    if is_kind(entry, RecordKind.SLEEP, RecordKind.TIMEOUT):
        body = body.replace(b"[", b"").replace(b"]", b"")
    elif is_kind(entry, RecordKind.GROUP):
        body = body.replace(b"[]", b"[0,[],[1,true]]")
    return [structs.replace(entry, body=body)]


async def left_by_an_earlier_build(store: KeptStore, agent: Agent) -> str:
    task = await crashed(store, agent)
    for owned in store._scopes.values():
        for row in owned.tasks.values():
            row.records = [item for entry in row.records for item in as_earlier(entry)]
    return task


@pytest.mark.parametrize("handler", [timing, raced, failed_beside, grouped])
async def test_a_journal_that_does_not_say_where_blocks_ended_blocks_its_task(handler: Any) -> None:
    store = KeptStore()
    task = await left_by_an_earlier_build(store, agent_of(handler))
    async with running(agent_of(handler), store=store) as peer:
        current = await peer.until(task, lambda task: said(task).startswith("Blocked"))
        assert current.status.state is TaskState.WORKING


@pytest.mark.parametrize(
    ("handler", "ending"), [(sleeping, "slept"), (slept_before, "slept"), (gathered, "[2, 4]")]
)
async def test_a_journal_of_an_earlier_build_that_says_all_is_resumed(
    handler: Any, ending: str
) -> None:
    store = KeptStore()
    task = await left_by_an_earlier_build(store, agent_of(handler))
    async with running(agent_of(handler), store=store) as peer:
        assert result(await peer.over(task)) == ending


async def test_cancellation_is_never_the_failure_of_a_step() -> None:
    async def handler(ctx: TaskContext) -> str:
        try:
            await ctx.step(anyio.sleep, HOUR)
        except StepFailed:
            return "wrong"
        return "wrong"

    async with running(agent_of(handler)) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(1)
        current = await peer.cancel(task.id)
        assert current.status.state is TaskState.CANCELED
        store: Any = peer.runtime.system.store
        entries = await store.journal(TaskScope("", "one", "anonymous"), task.id)
        assert not [e for e in entries if e.kind is Kind.RECORD and e.ordinal]


# --- streams and chunks -------------------------------------------------------------------------


def streaming(
    on_restart: Literal["again", "continue"], stop_after: int | None
) -> tuple[Agent, list[Any]]:
    calls: list[Any] = []

    async def write(count: int, committed: list[Part] | None = None) -> AsyncGenerator[str, None]:
        calls.append(None if committed is None else [part.text for part in committed])
        for number in range(len(committed or []), count):
            if number == stop_after:
                await anyio.sleep(HOUR)
            yield f"{number}"
            await anyio.lowlevel.checkpoint()

    async def handler(ctx: TaskContext) -> str:
        artifact = await ctx.stream("text", write, 4, on_restart=on_restart)
        return artifact.text

    return agent_of(handler), calls


@pytest.mark.parametrize("on_restart", ["again", "continue"])
async def test_an_interrupted_stream_goes_on_as_it_was_told(
    on_restart: Literal["again", "continue"],
) -> None:
    store = KeptStore()
    task = await crashed(store, streaming(on_restart, stop_after=2)[0])
    agent, calls = streaming(on_restart, None)
    async with running(agent, store=store) as peer:
        current = await peer.over(task)
        texts = {a.artifact_id: [p.text for p in a.parts] for a in current.artifacts or []}
        page = await peer.runtime.system.store.events(
            TaskScope("", "one", "anonymous"), task, after=1, limit=100
        )
        assert page is not None
        chunks = [body for _, body in page.events if b'"artifactId":"text"' in body]
        begun = [body for body in chunks if b'"append":true' not in body]
    assert texts["text"] == ["0", "1", "2", "3"]
    assert calls == [None if on_restart == "again" else ["0", "1"]]
    assert len(begun) == (2 if on_restart == "again" else 1)


async def test_chunks_that_differ_on_replay_replace_what_was_streamed() -> None:
    def version(*words: str, stop: bool) -> Agent:
        async def handler(ctx: TaskContext) -> None:
            async with ctx.artifact("text") as text:
                for word in words:
                    await text.write(word)
                if stop:
                    await anyio.sleep(HOUR)

        return agent_of(handler, on_interrupt="resume")

    store = KeptStore()
    task = await crashed(store, version("It ", "was ", "a ", stop=True))
    async with running(version("It ", "is ", "the ", "day", stop=False), store=store) as peer:
        current = await peer.over(task)
        assert result(current) == "It is the day"
        stream = await peer.subscribe(task, after=1)
        frames: list[Frame] = []
        while (more := await stream.next()) is not None:
            frames += more
        stream.close()
    shown = [f.response.artifact_update for f in frames]
    replaced = [e.artifact.text for e in shown if e is not None and not e.append]
    assert replaced == ["It ", "It is "], "the first difference starts it over, once"


# --- wrong use ----------------------------------------------------------------------------------


async def test_two_coroutines_in_one_branch_are_told_so() -> None:
    async def both(ctx: TaskContext) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.sleep, 1)
            group.start_soon(ctx.sleep, 2)

    async def handler(ctx: TaskContext) -> str:
        told = ""
        try:
            await both(ctx)
        except* RuntimeError as errors:
            told = str(errors.exceptions[0])
        return told

    async with running(agent_of(handler)) as peer:
        told = result(await peer.send("go"))
    assert "two coroutines use one branch" in told
    assert "ctx.gather" in told


async def test_a_second_question_while_one_is_open_is_refused() -> None:
    async def handler(ctx: TaskContext) -> tuple[Any, ...]:
        return await ctx.gather(ctx.ask("one?"), ctx.ask("two?"))

    async with running(agent_of(handler)) as peer:
        task = await peer.send("go", now=True)
        assert (await peer.over(task.id)).status.state in (
            TaskState.FAILED,
            TaskState.INPUT_REQUIRED,
        )
        assert (
            await peer.until(task.id, lambda t: t.status.state.terminal)
        ).status.state is TaskState.FAILED


async def test_a_cancellation_that_nobody_asked_for_fails_the_task(
    anyio_backend_name: str,
) -> None:
    async def handler(ctx: TaskContext) -> None:
        if anyio_backend_name == "asyncio":
            raise asyncio.CancelledError
        raise LookupError

    async with running(agent_of(handler)) as peer:
        assert (await peer.send("go")).status.state is TaskState.FAILED


async def test_a_run_that_writes_without_end_is_stopped_with_advice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ctx: TaskContext) -> None:
        while True:
            ctx.now()
            await anyio.lowlevel.checkpoint()

    with caplog.at_level(logging.ERROR):
        async with running(agent_of(handler), run_records=100) as peer:
            assert (await peer.send("go")).status.state is TaskState.FAILED
    assert "ctx.restart(state)" in caplog.text


async def test_restart_begins_a_run_that_keeps_its_state_and_unread_messages() -> None:
    async def handler(ctx: TaskContext) -> str:
        rounds = ctx.restart_state or 0
        if rounds < 200:
            ctx.now()
            await ctx.restart(rounds + 1)
        await ctx.sleep(60)
        return f"{rounds} {(await ctx.receive()).text}"

    store, lasting = KeptStore(), KeptStore()

    async def first(ctx: TaskContext) -> str:
        await anyio.sleep(1)  # while a message comes that this run does not read
        return await handler(ctx)

    async with running(agent_of(first), store=lasting, run_records=100) as peer:
        task = await peer.send("go", now=True)
        await peer.send("unread", task=task.id, now=True)
        await anyio.sleep(300)
        vars(store).update(vars(copy_of(lasting)))
    async with running(agent_of(handler), store=store, run_records=100) as peer:
        assert result(await peer.over(task.id)) == "200 unread"


@pytest.mark.parametrize("orderly", [False, True])
async def test_a_run_that_restart_began_is_resumed_before_its_first_operation(
    orderly: bool,
) -> None:
    began: list[Any] = []

    async def handler(ctx: TaskContext) -> str:
        began.append(ctx.restart_state)
        if ctx.restart_state is None:
            await ctx.restart({"round": 2})
        await anyio.sleep(60 if len(began) == 2 else 0)
        return f"round {ctx.restart_state['round']}"

    agent, store = agent_of(handler), KeptStore()
    if orderly:
        async with running(agent, store=store) as peer:
            task = (await peer.send("go", now=True)).id
            await anyio.sleep(1)
    else:
        task = await crashed(store, agent)
    async with running(agent, store=store) as peer:
        await anyio.sleep(60)
        assert result(await peer.over(task)) == "round 2"
    assert began == [None, {"round": 2}, {"round": 2}]


# --- changes of code ----------------------------------------------------------------------------


async def fly() -> str:
    return "flown"


async def pay() -> str:
    return "paid"


def traveller(*, version: str, inserted: bool, **options: Any) -> Agent:
    async def handler(ctx: TaskContext) -> str:
        if inserted:
            await ctx.step(pay)
        flown = await ctx.step(fly)
        return f"{flown} to {await ctx.ask('Where?')}"

    return agent_of(handler, version=version, slug="traveller", **options)


async def test_what_blocked_a_task_is_not_tried_again_by_the_same_process() -> None:
    starts: list[str] = []

    def version(name: str) -> Agent:
        async def handler(ctx: TaskContext) -> str:
            starts.append(name)
            await ctx.step(fly if name == "1" else pay)
            return await ctx.ask("Where?")

        return agent_of(handler, version=name)

    store = KeptStore()
    async with running(version("1"), store=store) as peer:
        task = (await peer.send("go")).id
    async with running(version("2"), store=store, idle=1.0, unblock_every=10.0) as peer:
        await peer.send("Rome", task=task, now=True)
        await anyio.sleep(1000)
        await peer.get(task)
        await anyio.sleep(1000)
    assert starts == ["1", "2"]


async def test_a_hundred_tasks_outlive_a_wrong_deployment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = KeptStore()
    async with running(traveller(version="1", inserted=False), store=store) as peer:
        tasks = [(await peer.send("go")).id for _ in range(100)]
    async with running(traveller(version="2", inserted=True), store=store) as peer:
        for number, task in enumerate(tasks):
            await peer.send(f"city {number}", task=task, now=True)
        await anyio.sleep(120)
        for task in tasks:
            current = await peer.get(task)
            assert current.status.state is TaskState.WORKING
            told = said(current)
            assert "operation 1 of branch root was step 'fly' and is now step 'pay'" in told
            assert re.search(r"\(test_operations\.py, line \d+\)$", told)
            assert f"{told.removeprefix('Blocked: ')}: await ctx.step(pay)" in caplog.text
    async with running(traveller(version="1", inserted=False), store=store) as peer:
        for number, task in enumerate(tasks):
            current = await peer.over(task)
            assert result(current) == f"flown to city {number}"


async def test_who_waits_for_a_task_that_is_blocked_is_told_at_once() -> None:
    right = traveller(version="1", inserted=False)
    wrong = traveller(version="2 of May", inserted=True)
    store = KeptStore()
    async with running(right, store=store) as peer:
        task = (await peer.send("go")).id
    async with running(wrong, store=store, unblock_every=1e6) as peer:
        began = anyio.current_time()
        message = user("Rome", task_id=task)
        # As it becomes blocked, when it is, and for the repeat of a send that was answered so.
        for sent in (message, user("are you there?", task_id=task), message):
            current = await peer.send(sent)
            assert current.status.state is TaskState.WORKING
            why = (current.metadata or {})["greenroom/blocked"]
            assert str(why).startswith("operation 1 of branch root was step 'fly'")
            assert said(current) == f"Blocked: {why}"
            assert await peer.get(task) == current
            assert (await peer.list()).tasks[0].metadata == current.metadata
        assert anyio.current_time() - began < 10  # of the virtual clock
    async with running(right, store=store) as peer:
        current = await peer.over(task)
        assert result(current) == "flown to Rome"
        assert not current.metadata
        assert (await peer.list()).tasks[0].metadata is None


async def test_a_task_that_is_blocked_no_more_does_not_say_so() -> None:
    async def handler(ctx: TaskContext) -> str:
        where = await ctx.ask("Where?")
        await ctx.step(anyio.sleep, 100)
        return where

    agent, other = agent_of(handler, version="1"), traveller(version="2", inserted=False)
    other.slug = agent.slug
    store = KeptStore()
    async with running(agent, store=store) as peer:
        task = (await peer.send("go")).id
    async with running(other, store=store) as peer:
        assert "Blocked" in said(await peer.send("Rome", task=task))
    async with running(agent, store=store) as peer:
        await anyio.sleep(50)
        current = await peer.get(task)
        assert (current.status.state, said(current), current.metadata) == (
            TaskState.WORKING,
            "",
            None,
        )
        assert result(await peer.over(task)) == "Rome"


async def test_the_right_version_tries_what_is_blocked_as_soon_as_it_starts() -> None:
    store = KeptStore()
    async with running(traveller(version="1", inserted=False), store=store) as peer:
        tasks = [(await peer.send("go")).id for _ in range(250)]
    async with running(traveller(version="2", inserted=True), store=store) as peer:
        for task in tasks:
            await peer.send("Rome", task=task, now=True)
        await peer.until(tasks[-1], lambda found: "Blocked" in said(found))
    with_both = copy_of(store)
    wrong = traveller(version="3", inserted=True)
    right = traveller(version="1", inserted=False)
    async with running(right, store=store, unblock_every=1e6) as peer:
        began = anyio.current_time()
        for task in tasks:
            assert result(await peer.over(task)) == "flown to Rome"
        assert anyio.current_time() - began < 10  # of the virtual clock
    # Two start together, the wrong one first: who tries in vain leaves them to who does not.
    async with running(wrong, store=with_both, unblock_every=1e6):
        await anyio.sleep(1)
        async with running(right, store=with_both, unblock_every=1e6) as peer:
            for task in tasks:
                assert result(await peer.over(task)) == "flown to Rome"
            scope = TaskScope("", "traveller", "anonymous")
            for task in tasks:
                header = await with_both.header(scope, task)
                assert header is not None
                assert header.blocked == ""


async def test_a_blocked_task_can_be_canceled_and_be_let_fail() -> None:
    store = KeptStore()
    async with running(traveller(version="1", inserted=False), store=store) as peer:
        first, second = (await peer.send("go")).id, (await peer.send("go")).id
    async with running(traveller(version="2", inserted=True), store=store) as peer:
        await peer.send("Rome", task=first, now=True)
        await anyio.sleep(1)
        canceled = await peer.cancel(first)
        assert (canceled.status.state, canceled.metadata) == (TaskState.CANCELED, None)
        assert (await peer.get(first)).metadata is None
    agent = traveller(version="2", inserted=True, on_mismatch="fail")
    async with running(agent, store=store) as peer:
        answer = await peer.send("Rome", task=second)
        assert answer.status.state is TaskState.FAILED
        assert "changed" in said(answer)


async def test_patched_guards_a_change_on_both_sides() -> None:
    def version(new: bool) -> Agent:
        async def handler(ctx: TaskContext) -> str:
            told = ""
            if new and ctx.patched("pay first"):
                told = await ctx.step(pay)
            where = await ctx.ask("Where?")
            return f"{told} {await ctx.step(fly)} {where}"

        return agent_of(handler)

    store = KeptStore()
    async with running(version(False), store=store) as peer:
        old = (await peer.send("go")).id
    async with running(version(True), store=store) as peer:
        young = (await peer.send("go")).id
    async with running(version(True), store=store) as peer:
        assert result(await peer.send("Rome", task=old)) == " flown Rome"
        assert result(await peer.send("Oslo", task=young)) == "paid flown Oslo"


async def test_a_handler_that_ends_earlier_than_before_is_a_mismatch() -> None:
    def version(short: bool) -> Agent:
        async def handler(ctx: TaskContext) -> str:
            await ctx.step(fly)
            if not short:
                await ctx.ask("Where?")
            return "there"

        return agent_of(handler)

    store = KeptStore()
    async with running(version(False), store=store) as peer:
        task = (await peer.send("go")).id
    async with running(version(True), store=store) as peer:
        await peer.send("Rome", task=task, now=True)
        await anyio.sleep(1)
        assert "is now the end of the handler" in said(await peer.get(task))


@pytest.mark.parametrize("error", [KeyError("seat"), TaskRejected("no")])
async def test_a_handler_that_fails_earlier_than_it_came_is_a_mismatch(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def version(broken: bool) -> Agent:
        async def handler(ctx: TaskContext) -> str:
            await ctx.step(fly)
            if broken:
                raise error
            return f"to {await ctx.ask('Where?')}"

        return agent_of(handler, version="2" if broken else "1")

    store = KeptStore()
    async with running(version(False), store=store) as peer:
        task = (await peer.send("go")).id
    async with running(version(True), store=store) as peer:
        await peer.send("Rome", task=task, now=True)
        await anyio.sleep(1)
        told = said(await peer.get(task))
        assert f"is now an error ({type(error).__name__})" in told
        assert "raise error" in caplog.text  # with its traceback
    async with running(version(False), store=store) as peer:
        assert result(await peer.over(task)) == "to Rome"


async def test_a_question_whose_answer_fits_no_more_is_a_mismatch() -> None:
    def version(kind: Any) -> Agent:
        async def handler(ctx: TaskContext) -> str:
            seats = await ctx.ask("How many?", kind)
            return f"{seats} to {await ctx.ask('Where?')}"

        return agent_of(handler, version=kind.__name__)

    store = KeptStore()
    async with running(version(str), store=store) as peer:
        task = (await peer.send("go")).id
        await peer.send("two", task=task)
    async with running(version(int), store=store) as peer:
        await peer.send("Rome", task=task, now=True)
        await anyio.sleep(1)
        assert "is now one that the answer does not fit" in said(await peer.get(task))
    async with running(version(str), store=store) as peer:
        assert result(await peer.over(task)) == "two to Rome"


async def test_a_handler_that_waits_for_a_message_waits_again() -> None:
    async def handler(ctx: TaskContext) -> str | None:
        await ctx.status("I am listening")
        return (await ctx.receive()).parts[0].text

    store = KeptStore()
    task = await crashed(store, agent_of(handler))
    async with running(agent_of(handler), store=store) as peer:
        assert result(await peer.send("done", task=task)) == "done"


async def test_a_resumed_handler_knows_its_owner() -> None:
    async def handler(ctx: TaskContext) -> str:
        await ctx.sleep(500)
        who = ctx.principal
        return f"{who.tenant} {who.owner} {who.anonymous}"

    ada = Principal("ada", tenant="acme", subject="ada", scopes=frozenset({"all"}))
    store = KeptStore()
    tasks: list[str] = []
    async with running(agent_of(handler), store=store) as peer:
        for principal in (None, ada):
            sender = Caller(peer.runtime, principal=principal)
            tasks.append((await sender.send("go", now=True)).id)
    async with running(agent_of(handler), store=store) as peer:
        for principal, task, told in (
            (None, tasks[0], " anonymous True"),
            (ada, tasks[1], "acme ada False"),
        ):
            sender = Caller(peer.runtime, principal=principal)
            assert result(await sender.over(task)) == told


# --- interruptions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "stepped", "state", "starts"),
    [
        (None, False, TaskState.FAILED, 1),
        (None, True, TaskState.COMPLETED, 2),
        ("fail", True, TaskState.FAILED, 1),
        ("resume", False, TaskState.COMPLETED, 2),
        ("rerun", True, TaskState.COMPLETED, 2),
    ],
)
async def test_an_interrupted_run_is_resolved_as_its_agent_says(
    policy: str | None, stepped: bool, state: TaskState, starts: int
) -> None:
    began: list[int] = []
    steps: list[int] = []

    async def work() -> int:
        steps.append(1)
        return len(steps)

    async def handler(ctx: TaskContext) -> str:
        began.append(1)
        ctx.uuid()  # a fact alone makes no handler durable
        await ctx.status("at work")
        if stepped:
            await ctx.step(work)
        await anyio.sleep(60 if len(began) == 1 else 0)
        return "done"

    agent = agent_of(handler, on_interrupt=policy)
    store = KeptStore()
    task = await crashed(store, agent)
    async with running(agent, store=store) as peer:
        await anyio.sleep(60)
        assert (await peer.over(task)).status.state is state
    assert len(began) == starts
    assert len(steps) == (0 if not stepped else 2 if policy == "rerun" else 1)


@pytest.mark.parametrize("policy", ["resume", "rerun"])
async def test_a_handler_that_kills_its_server_is_given_up(policy: str) -> None:
    began: list[int] = []

    async def handler(ctx: TaskContext) -> None:
        began.append(1)
        ctx.now()
        await anyio.sleep(HOUR)

    agent = agent_of(handler, on_interrupt=policy)
    store = KeptStore()
    task = await crashed(store, agent)
    for _ in range(6):
        lasting = copy_of(store)
        lasting._nodes.clear()  # or the lease of the dead would have to be waited for
        async with running(agent, store=lasting, attempts=4) as peer:
            await anyio.sleep(30)
            store = copy_of(lasting)
            current = await peer.get(task)
    assert current.status.state is TaskState.FAILED
    assert "4 times" in said(current)
    assert len(began) == 4


async def test_stops_in_good_order_are_no_attempts() -> None:
    async def handler(ctx: TaskContext) -> str:
        await anyio.sleep(100 if ctx.text == "go" else 0)
        return "done"

    agent = agent_of(handler, on_interrupt="resume")
    store = KeptStore()
    async with running(agent, store=store) as peer:
        task = await peer.send("go", now=True)
    for _ in range(8):
        async with running(agent, store=store, attempts=3):
            await anyio.sleep(20)
    async with running(agent, store=store, attempts=3) as peer:
        assert result(await peer.over(task.id)) == "done"


async def test_only_the_client_and_the_deadline_end_a_task() -> None:
    reasons: list[str] = []

    async def handler(ctx: TaskContext) -> str:
        try:
            await ctx.step(anyio.sleep, 1000)
        except anyio.get_cancelled_exc_class():
            reasons.append(str(ctx.cancelled))
            raise
        return "done"

    store = KeptStore()
    agent = agent_of(handler)
    async with running(agent, store=store) as peer:
        task = (await peer.send("go", now=True)).id
        await anyio.sleep(1)
        other = (await peer.send("go", now=True)).id
        await anyio.sleep(1)
        assert (await peer.cancel(other)).status.state is TaskState.CANCELED
    async with running(agent, store=store, lease=10.0) as peer:
        await anyio.sleep(30)
        node = peer.runtime.system.node
        await store.retire(node, now=START)
        await anyio.sleep(30)
        assert (await peer.get(task)).status.state is TaskState.WORKING
        assert peer.runtime.system.node != node
        assert len(reasons) == 2, "the process goes on with the task, under another name"
    dated = agent_of(handler, deadline=50.0)
    async with running(dated, store=store) as peer:
        last = (await peer.send("go", now=True)).id
        assert (await peer.over(last)).status.state is TaskState.CANCELED
        assert "time" in said(await peer.get(last))
    assert reasons[:3] == ["user", "shutdown", "shutdown"]
    assert "deadline" in reasons


@pytest.mark.parametrize("text", ["plain", "step", "sleep"])
async def test_what_came_while_nobody_served_counts_for_more_than_recovery(text: str) -> None:
    """An operator's cancel, and a deadline; however much else is due and is found first."""
    started: list[str] = []

    async def handler(ctx: TaskContext) -> str:
        started.append(ctx.text)
        if ctx.text == "step":
            await ctx.step(anyio.sleep, 1000)
        await ctx.sleep(1000) if ctx.text == "sleep" else await anyio.sleep(1000)
        return "done"

    store = KeptStore()
    async with running(agent_of(handler), store=store) as peer:
        for _ in range(150):
            await peer.send("sleep", now=True)
        task = (await peer.send(text, now=True)).id
        late = (await peer.send(text, now=True)).id
        await anyio.sleep(1)
    started.clear()
    scope = TaskScope("", "one", "anonymous")
    assert await store.remind(TaskRef(scope, task), Timer("cancel", START + 2000))
    assert await store.remind(TaskRef(scope, late), Timer("deadline", START + 2000))
    async with Runtime(agent_of(handler), store=store, clock=LoopClock(START + 3000)) as runtime:
        peer = Caller(runtime)
        current = await peer.over(task)
        await anyio.sleep(5)
        dated = await peer.over(late)
        assert (current.status.state, said(current)) == (
            TaskState.CANCELED, "Canceled by the operator.",
        )  # fmt: skip
        assert (dated.status.state, said(dated)) == (TaskState.CANCELED, "Out of time.")
    assert set(started) <= {"sleep"}
    assert len(started) <= 150


async def test_deadlines_and_sleeps_outlive_the_process() -> None:
    async def handler(ctx: TaskContext) -> str:
        await ctx.ask("Well?")
        return "?"

    agent = agent_of(handler, deadline=100.0)
    store = KeptStore()
    async with running(agent, store=store) as peer:
        task = await peer.send("go")
    async with running(agent, store=store) as peer:
        await anyio.sleep(150)
        assert (await peer.get(task.id)).status.state is TaskState.CANCELED
        assert not await peer.runtime.system.store.due(now=float("inf"), limit=1)


async def test_a_finished_task_leaves_no_timer_and_no_actor() -> None:
    async def handler(ctx: TaskContext) -> str:
        async with ctx.timeout(HOUR):
            await ctx.race(ctx.sleep(10), ctx.sleep(HOUR))
        return "done"

    async with running(agent_of(handler, deadline=HOUR), idle=1.0) as peer:
        await peer.send("go")
        assert not await peer.runtime.system.store.due(now=float("inf"), limit=1)
        assert not peer.runtime.directory


async def test_asleep_or_asking_in_every_line_a_task_is_put_to_rest_and_comes_back() -> None:
    began: list[int] = []

    async def handler(ctx: TaskContext) -> tuple[Any, ...]:
        began.append(1)

        async def nap() -> str:
            await ctx.sleep(500)
            await ctx.step(fly)
            return "rested"

        return await ctx.gather(nap(), ctx.ask("Well?"), ctx.step(fly))

    async with running(agent_of(handler), idle=10.0) as peer:
        task = await peer.send("go")
        await anyio.sleep(60)
        assert not peer.runtime.directory
        await anyio.sleep(1000)
        assert len(began) == 2, "its timer woke it"
        assert not peer.runtime.directory
        assert values(await peer.send("well", task=task.id)) == ["rested", "well", "flown"]


async def test_a_line_at_work_keeps_the_task_in_memory() -> None:
    began: list[int] = []

    async def handler(ctx: TaskContext) -> tuple[Any, ...]:
        began.append(1)
        return await ctx.gather(ctx.ask("Well?"), ctx.step(anyio.sleep, 300))

    async with running(agent_of(handler), idle=10.0) as peer:
        task = await peer.send("go")
        await anyio.sleep(100)
        assert len(peer.runtime.directory) == 1
        await anyio.sleep(300)
        assert not peer.runtime.directory
        assert values(await peer.send("well", task=task.id)) == ["well", None]
    assert len(began) == 2


async def test_a_crash_beside_an_open_question_is_noticed() -> None:
    steps: list[int] = []

    async def work() -> str:
        steps.append(1)
        await anyio.sleep(HOUR if len(steps) == 1 else 1)
        return "worked"

    async def handler(ctx: TaskContext) -> tuple[Any, ...]:
        return await ctx.gather(ctx.ask("Well?"), ctx.step(work))

    store = KeptStore()
    task = await crashed(store, agent_of(handler))
    async with running(agent_of(handler), store=store) as peer:
        await anyio.sleep(30)
        assert len(steps) == 2, "nobody asked for it: the owner was missed"
        assert (await peer.get(task)).status.state is TaskState.INPUT_REQUIRED
        assert values(await peer.send("well", task=task)) == ["well", "worked"]


class SlowStore(KeptStore):
    """Looks for repeated sends as slowly as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go: anyio.Event | None = None

    async def find_send(self, scope: TaskScope, key: bytes) -> SendRecord | None:
        if self.go is not None:
            await self.go.wait()
        return await super().find_send(scope, key)


async def test_an_answer_that_comes_while_the_server_goes_is_left_to_the_next() -> None:
    async def handler(ctx: TaskContext) -> str:
        if ctx.text == "busy":
            await anyio.sleep(5)
        return await ctx.ask("Well?")

    store = SlowStore()
    refused: list[BaseException] = []
    async with running(agent_of(handler), store=store) as peer:
        task = (await peer.send("go")).id
        await peer.send("busy", now=True)
        answer = user("well", task_id=task)

        async def send() -> None:
            try:
                await peer.send(answer)
            except UnavailableError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            store.go = anyio.Event()
            group.start_soon(send)
            await settle()
            group.start_soon(peer.runtime.drain, 3.0)
            await settle()
            store.go.set()  # the drain has begun, and the handler of the task is gone
    store.go = None
    assert refused
    async with running(agent_of(handler), store=store) as peer:
        assert result(await peer.send(answer)) == "well"
