"""Waiting costs no memory, a restart loses nothing that was acknowledged, and an end is orderly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from greenroom import Agent, InputRequired, Message, Part, Role, TaskContext, TaskState
from greenroom.protocol.errors import A2AError, UnavailableError
from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.runtime.journal.store import StoreError
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from tests.support.drive import (
    KeptStore,
    numbers,
    read,
    result,
    running,
    said,
    settle,
    states,
    take,
)

pytestmark = pytest.mark.anyio


class Traveller:
    """Asks, works a little, asks again, and counts its starts and steps."""

    def __init__(self, **options: Any) -> None:
        self.starts = 0
        self.steps = 0
        self.reasons: list[str] = []
        self.agent = Agent("Traveller", **options)

        @self.agent.handler
        async def handler(ctx: TaskContext) -> Any:
            self.starts += 1
            try:
                return await self._do(ctx)
            except anyio.get_cancelled_exc_class():
                self.reasons.append(str(ctx.cancelled))
                raise

    async def count(self) -> int:
        self.steps += 1
        return self.steps

    async def _do(self, ctx: TaskContext) -> Any:
        match ctx.text:
            case "turn":
                return InputRequired("more?")
            case "plain":
                await ctx.status("paying")
                await anyio.sleep(1000.0)
                return "paid"
            case "silent":
                await anyio.sleep(1000.0)
                return "done"
            case "step":
                number = await ctx.step(self.count)
                await anyio.sleep(1000.0)
                return f"step {number}"
            case "early":
                await anyio.sleep(10.0)
                first = await ctx.ask("one?")
                second = await ctx.receive()
                return f"{first} {second.text}"
        await ctx.status("planning")
        async with ctx.artifact("plan") as plan:
            await plan.write("fly ")
        where = await ctx.ask("Where?")
        number = await ctx.step(self.count)
        when = await ctx.ask("When?", int)
        return f"{where} {when} {number}"


# --- passivation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("idle", [False, True])
async def test_a_waiting_task_leaves_memory_and_is_woken_by_its_answer(idle: bool) -> None:
    traveller = Traveller()
    async with running(traveller.agent, idle=60.0) as peer:
        system = peer.runtime.system
        task = await peer.send("go")
        nap = 200.0 if idle else 1.0
        await anyio.sleep(nap)
        if idle:
            assert task.id not in peer.runtime.directory
            assert len(system.idle) == 0
        assert await peer.get(task.id) == task
        stream = await peer.stream("Rome", task=task.id)
        frames = await read(stream)
        assert states(frames)[-1] == "input_required"
        await anyio.sleep(nap)
        done = await peer.send("7", task=task.id)
        assert result(done) == "fly Rome 7 1"
        # replay emits nothing again: submitted, working, planning, chunk, end, asked, working, …
        assert done.generation == 11
        assert [m.text for m in done.history or []] == [
            "go", "planning", "Where?", "Rome", "When?", "7",
        ]  # fmt: skip
        assert traveller.starts == (3 if idle else 1)
        assert traveller.reasons == (["passivated"] * 2 if idle else [])
        assert traveller.steps == 1


async def test_nothing_is_left_of_tasks_that_are_over() -> None:
    traveller = Traveller()
    async with running(traveller.agent) as peer:
        system = peer.runtime.system
        for _ in range(5):
            task = await peer.send("turn")
            await peer.cancel(task.id)
            task = await peer.send("go")
            await peer.send("Rome", task=task.id)
            await peer.send("7", task=task.id)
            task = await peer.send("silent", now=True)
            await settle()
            await peer.cancel(task.id)
        assert not peer.runtime.directory
        assert not system.sends
        assert system.running == 0
        for lane in (
            system.creations,
            system.waits,
            system.polls,
            system.cancel_deadlines,
            system.idle,
        ):
            assert len(lane) == 0


async def test_messages_unread_before_the_task_slept_are_read_after() -> None:
    traveller = Traveller()
    async with running(traveller.agent, idle=60.0) as peer:
        task = await peer.send("early", now=True)
        await peer.send("unread", task=task.id, now=True)
        asked = await peer.over(task.id)
        assert said(asked) == "one?"
        await anyio.sleep(200.0)
        assert not peer.runtime.directory
        done = await peer.send("answer", task=task.id)
        assert result(done) == "answer unread"


async def test_a_blocking_sender_keeps_a_sleeping_handler_awake() -> None:
    agent = Agent("Sleeper")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await ctx.sleep(250.0)
        return "rested"

    async with running(agent, idle=10.0, blocking_wait=300.0) as peer:
        assert result(await peer.send("go")) == "rested"


async def test_a_task_that_sleeps_while_working_leaves_memory_and_comes_back() -> None:
    agent = Agent("Sleeper")
    starts: list[str] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        starts.append("start")
        await ctx.sleep(1000.0)
        return "rested"

    async with running(agent, idle=10.0) as peer:
        began = anyio.current_time()
        task = await peer.send("go", now=True)
        await anyio.sleep(500.0)
        assert not peer.runtime.directory
        assert (await peer.get(task.id)).status.state is TaskState.WORKING
        done = await peer.over(task.id)
        assert result(done) == "rested"
        assert anyio.current_time() == pytest.approx(began + 1000.0, abs=2.5)
        assert len(starts) >= 2


# --- interruption ---------------------------------------------------------------------------------


async def interrupted(traveller: Traveller, text: str, **settings: Any) -> Any:
    """Run a task, stop its runtime in the middle, and return it as the next runtime leaves it."""
    store = KeptStore()
    async with running(traveller.agent, store=store) as peer:
        task = await peer.send(text, now=True)
        await anyio.sleep(10.0)
    assert traveller.reasons == ["shutdown"]
    async with running(traveller.agent, store=store, **settings) as peer:
        return await peer.over(task.id)


async def test_a_plain_handler_is_not_run_twice() -> None:
    traveller = Traveller()
    task = await interrupted(traveller, "plain")
    assert task.status.state is TaskState.FAILED
    assert "interrupted" in said(task)
    assert traveller.starts == 1


async def test_a_handler_with_a_step_is_resumed() -> None:
    traveller = Traveller()
    task = await interrupted(traveller, "step")
    assert result(task) == "step 1"
    assert (traveller.starts, traveller.steps) == (2, 1)


@pytest.mark.parametrize(
    ("policy", "text", "starts", "steps", "expected"),
    [
        ("fail", "step", 1, 1, ""),
        ("resume", "plain", 2, 0, "paid"),
        ("rerun", "plain", 2, 0, "paid"),
        ("rerun", "step", 2, 2, "step 2"),
    ],
)
async def test_the_agent_may_decide_what_an_interruption_means(
    policy: str, text: str, starts: int, steps: int, expected: str
) -> None:
    traveller = Traveller(on_interrupt=policy)
    task = await interrupted(traveller, text)
    assert result(task) == expected
    assert (traveller.starts, traveller.steps) == (starts, steps)


async def test_a_waiting_task_is_answered_after_a_restart() -> None:
    traveller = Traveller()
    store = KeptStore()
    async with running(traveller.agent, store=store) as peer:
        task = await peer.send("go")
        other = await peer.send("turn")
    for text, expected in (("Rome", "When?"), ("soon", ""), ("7", "")):
        async with running(traveller.agent, store=store) as peer:
            answer = await peer.send(text, task=task.id)
            if expected:
                assert said(answer) == expected
    assert result(answer) == "fly Rome 7 1"
    assert traveller.steps == 1
    async with running(traveller.agent, store=store) as peer:
        assert said(await peer.send("turn", task=other.id)) == "more?"


async def test_orphans_of_an_agent_that_is_not_served_wait_and_harm_nobody() -> None:
    gone = Traveller(slug="gone")
    traveller = Traveller()
    store = KeptStore()
    async with running(gone.agent, store=store) as peer:
        for _ in range(120):
            await peer.send("silent", now=True)
        await settle()
    async with running(traveller.agent, store=store) as peer:
        await anyio.sleep(100.0)
        assert peer.runtime.statistics()["tasks_recovered_total"] == 0
        assert said(await peer.send("go")) == "Where?"


# --- draining -------------------------------------------------------------------------------------


async def test_draining_lets_handlers_finish_within_the_grace() -> None:
    agent = Agent("Slow")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await anyio.sleep(3.0)
        return "done"

    async with running(agent) as peer:
        answers: list[Any] = []

        async def send() -> None:
            answers.append(await peer.send("go"))

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await settle()
            began = anyio.current_time()
            await peer.runtime.drain(grace=5.0)
            assert anyio.current_time() == pytest.approx(began + 3.0)
            assert not peer.runtime.ready
        assert result(answers[0]) == "done"
        with pytest.raises(UnavailableError):
            await peer.answer("more")
        await peer.runtime.drain()


async def test_draining_stops_what_does_not_finish_and_tells_streams_to_come_back() -> None:
    traveller = Traveller()
    store = KeptStore()
    async with running(traveller.agent, store=store) as peer:
        stream = await peer.stream("step")
        waiting = await peer.stream("go")
        await take(stream, 2)
        ended: list[Any] = []

        async def reader() -> None:
            ended.append(await read(stream))

        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            await settle()
            began = anyio.current_time()
            await peer.runtime.drain(grace=5.0)
            assert anyio.current_time() == pytest.approx(began + 5.0, abs=0.1)
        assert stream.retry
        assert "shutdown" in traveller.reasons
        waiting.close()
    async with running(traveller.agent, store=store) as peer:
        done = await peer.over((await peer.list(status=TaskState.WORKING)).tasks[0].id)
        assert result(done) == "step 1"


async def test_draining_tells_the_end_of_what_ends_and_sends_away_who_waits_at_once() -> None:
    agent = Agent("Slow")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        match ctx.text:
            case "wait":
                return await ctx.ask("?")
            case "doze":
                await ctx.sleep(1000.0)
            case "ask":
                await anyio.sleep(2.0)
                return await ctx.ask("?")
        for number in range(3):
            await anyio.sleep(1.0)
            await ctx.status(f"{number}")
        return "done"

    class Late(KeptStore):
        async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
            await anyio.sleep(0.5)
            return await super().append(batch, now=now)

    ends: dict[str, tuple[str, bool, float]] = {}
    async with running(agent, store=Late()) as peer, anyio.create_task_group() as group:
        waiting = await peer.subscribe((await peer.send("wait")).id)
        streams = {text: await peer.stream(text) for text in ("work", "doze", "ask")}
        asking = await peer.subscribe(streams["ask"].task_id)
        began = anyio.current_time()

        async def reader(name: str, stream: Any) -> None:
            frames = []
            while (batch := await stream.next()) is not None:
                frames += batch
                await anyio.sleep(0.7)  # a client that is slow to read
            stream.close()
            ends[name] = states(frames)[-1], stream.retry, anyio.current_time() - began

        for name, stream in {**streams, "waiting": waiting, "asking": asking}.items():
            group.start_soon(reader, name, stream)
        await settle()
        await peer.runtime.drain(grace=20.0)
        assert anyio.current_time() - began < 10
    assert {name: end[:2] for name, end in ends.items()} == {
        "work": ("completed", False),
        "ask": ("input_required", False),  # the end of a send; what subscribes is sent away
        "asking": ("input_required", True),
        "doze": ("working", True),
        "waiting": ("input_required", True),
    }
    assert max(ends["waiting"][2], ends["doze"][2]) < 3


async def test_who_waits_for_a_task_that_goes_on_later_is_told_that_the_server_stops() -> None:
    traveller = Traveller()
    store = KeptStore()
    errors: dict[str, UnavailableError] = {}
    async with running(traveller.agent, store=store) as peer:

        async def send(text: str) -> None:
            try:
                await peer.send(text)
            except UnavailableError as error:
                errors[text] = error

        async with anyio.create_task_group() as group:
            for text in ("step", "early"):
                group.start_soon(send, text)
            await anyio.sleep(1.0)
            await peer.runtime.drain(grace=1.0)
    assert errors.keys() == {"step", "early"}
    for error in errors.values():
        assert "stopping" in error.message
        assert error.headers["Retry-After"] == "1"


@pytest.mark.parametrize("direct", [False, True])
async def test_what_was_not_acknowledged_is_refused_at_the_end(direct: bool) -> None:
    agent = Agent("Slow")

    async def promise(ctx: TaskContext) -> Message:
        await anyio.sleep(1000.0)
        return Message(message_id="x", role=Role.AGENT, parts=[Part(text="re")])

    async def work(ctx: TaskContext) -> Any:
        await anyio.sleep(1000.0)

    agent.handler(promise if direct else work)
    errors: list[A2AError] = []
    async with running(agent, task_delay=5.0) as peer:

        async def send() -> None:
            try:
                await peer.answer("go")
            except A2AError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await settle()
            await peer.runtime.drain(grace=0.0)
    assert [type(error) for error in errors] == [UnavailableError]


async def test_a_runtime_may_be_started_again() -> None:
    traveller = Traveller()
    runtime = Runtime(traveller.agent, store=KeptStore())
    for _ in range(2):
        async with runtime:
            assert runtime.ready
            with pytest.raises(RuntimeError, match="running already"):
                await runtime.__aenter__()
        assert not runtime.ready


# --- a store that fails ---------------------------------------------------------------------------


class Failing(KeptStore):
    """Fails a commit when told to, before or after it happened."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after = after
        self.fail = False

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        if self.fail and not self.after:
            self.fail = False
            raise OSError("the disk is gone")
        answer = await super().append(batch, now=now)
        if self.fail:
            self.fail = False
            raise OSError("the disk is gone")
        return answer


@pytest.mark.parametrize("after", [False, True])
async def test_a_commit_that_fails_is_told_and_the_task_read_again(after: bool) -> None:
    traveller = Traveller()
    store = Failing(after=after)
    async with running(traveller.agent, store=store) as peer:
        task = await peer.send("go")
        neighbour = await peer.send("go")
        message = peer.request("Rome", task=task.id).message
        store.fail = True
        with pytest.raises(UnavailableError):
            await peer.answer(message)
        # the same send again: done once, whether or not the first was committed
        answer = await peer.send(message)
        assert said(answer) == "When?"
        assert result(await peer.send("7", task=task.id)) == "fly Rome 7 1"
        await peer.send("Oslo", task=neighbour.id)
        assert not peer.runtime.system.sends
        assert peer.runtime.statistics()["journal_failures_total"] == 1


@pytest.mark.parametrize("after", [False, True])
async def test_a_task_whose_commit_failed_goes_on_without_being_asked(after: bool) -> None:
    traveller = Traveller(on_interrupt="resume")
    store = Failing(after=after)
    async with running(traveller.agent, store=store) as peer:
        task = await peer.send("plain", now=True)
        await settle()
        agent_actor = peer.runtime.directory[task.id]
        store.fail = True
        agent_actor.set_status(TaskState.WORKING)
        await settle()
        assert not store.fail
        await anyio.sleep(3000.0)
        assert result(await peer.get(task.id)) == "paid"


async def test_a_first_commit_that_fails_leaves_no_trace() -> None:
    traveller = Traveller()
    store = Failing(after=False)
    async with running(traveller.agent, store=store) as peer:
        message = peer.request("turn").message
        store.fail = True
        with pytest.raises(UnavailableError):
            await peer.answer(message)
        assert not peer.runtime.directory
        assert said(await peer.send(message)) == "more?"
        assert (await peer.list()).total_size == 1


class Dying(MemoryStore):
    """Forgets this node's lease once."""

    dead = False
    fails = 0
    """How many heartbeats fail after that."""

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        if self.dead:
            self.dead = False
            await self.retire(node, now=now)
        elif self.fails:
            self.fails -= 1
            raise StoreError("the disk is full")
        return await super().heartbeat(node, now=now, lease=lease)


@pytest.mark.parametrize("fails", [0, 2])
async def test_a_node_whose_lease_ran_out_keeps_its_tasks_under_another_name(fails: int) -> None:
    traveller = Traveller()
    store = Dying()
    async with running(traveller.agent, store=store) as peer:
        task = await peer.send("step", now=True)
        await settle()
        node = peer.runtime.system.node
        stream = await peer.subscribe(task.id)
        first = await take(stream, 1)
        store.dead, store.fails = True, fails
        await anyio.sleep(60.0)
        refs = await store.owned(peer.runtime.system.node)
        assert [ref.id for ref in refs] == [task.id], "the task has the node's new name"
        frames = await read(stream)
        assert not stream.retry
        assert numbers(frames) == [first[0].generation + n + 1 for n in range(len(frames))]
        assert peer.runtime.system.node != node
        done = await peer.over(task.id)
        assert result(done) == "step 1"
        assert traveller.steps == 1
        assert traveller.starts == 1


async def test_a_lease_that_runs_out_again_and_again_fails_no_plain_task() -> None:
    traveller = Traveller()
    store = Dying()
    async with running(traveller.agent, store=store, attempts=3) as peer:
        task = await peer.send("silent", now=True)
        for _ in range(5):
            await anyio.sleep(30.0)
            assert (await peer.get(task.id)).status.state is TaskState.WORKING
            store.dead = True
        assert (await peer.over(task.id)).status.state is TaskState.COMPLETED
        assert traveller.starts == 1
