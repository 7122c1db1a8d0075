"""Contexts and results, as a program sees them that runs the agents."""

from __future__ import annotations

import anyio
import pytest

from greenroom import Agent, Message, Part, Role, RuntimeSettings, TaskContext, TaskState
from greenroom.protocol.errors import TaskNotFoundError
from greenroom.protocol.types import Task
from greenroom.runtime.call import Principal, TaskScope
from greenroom.runtime.contexts.contexts import Contexts, NotOverError
from greenroom.runtime.contexts.events import ContextEvent
from tests.support.drive import Caller, KeptStore, result, running, settle, user

pytestmark = pytest.mark.anyio
SCOPE = TaskScope("", "clerk", "ann")
ANN = Principal("ann")


def clerk() -> Agent:
    agent = Agent("Clerk")

    @agent.handler
    async def handle(ctx: TaskContext) -> str | Message:
        match ctx.text.split():
            case ["direct"]:
                return Message(message_id="reply", role=Role.AGENT, parts=[Part(text="directly")])
            case ["ask"]:
                return f"Hello {await ctx.ask('Who are you?')}"
            case ["wait", seconds]:
                await ctx.sleep(float(seconds))
        return f"You said: {ctx.text}"

    return agent


async def test_contexts_begin_with_their_first_task_and_are_listed_with_their_tasks() -> None:
    async with running(clerk(), context_idle=100.0) as peer:
        contexts, ann = peer.runtime.contexts, Caller(peer.runtime, principal=ANN)
        assert list(await contexts.list(SCOPE)) == []
        first = await ann.send("a", context="trip")
        await anyio.sleep(50)
        asked = await ann.send("ask", context="trip")
        other = await ann.send("b")
        await Caller(peer.runtime, principal=Principal("bob")).send("c", context="trip")

        listed = await contexts.list(SCOPE)
        assert {context.id for context in listed} == {"trip", other.context_id}
        trip = await contexts.get(SCOPE, "trip")
        assert trip is not None
        assert trip in listed
        assert (trip.tasks, trip.live) == (2, 1)
        assert trip.active_at - trip.created_at == pytest.approx(50, abs=1)
        tasks = await contexts.tasks(SCOPE, "trip")
        assert [header.id for header in tasks.headers] == [asked.id, first.id]
        page = await contexts.list(SCOPE, limit=1)
        assert [*page, *await contexts.list(SCOPE, after=page[-1])] == list(listed)

        assert not contexts.is_idle(trip)
        await anyio.sleep(100)
        assert contexts.is_idle(trip)
        assert result(await ann.send("Ada", task=asked.id)) == "Hello Ada"
        trip = await contexts.get(SCOPE, "trip")
        assert trip is not None
        assert not contexts.is_idle(trip)
        assert trip.live == 0


async def test_an_expired_context_goes_with_its_tasks_and_can_be_begun_anew() -> None:
    async with running(clerk(), context_retention=3600.0, sweep_every=50.0) as peer:
        contexts, ann = peer.runtime.contexts, Caller(peer.runtime, principal=ANN)
        gone = [await ann.send(text, context="gone") for text in ("a", "b")]
        asked = await ann.send("ask", context="kept")
        await ann.send("c", context="kept")
        await anyio.sleep(3500)
        assert await contexts.get(SCOPE, "gone") is not None
        await anyio.sleep(400)
        assert [context.id for context in await contexts.list(SCOPE)] == ["kept"]
        for task in gone:
            assert await peer.runtime.results.by_task(SCOPE, task.id) is None
        assert peer.runtime.statistics()["contexts_expired_total"] == 1
        # Nobody's question is dropped, however late the answer comes.
        await anyio.sleep(3600 * 24)
        assert result(await ann.send("Ada", task=asked.id)) == "Hello Ada"
        await ann.send("again", context="gone")
        again = await contexts.get(SCOPE, "gone")
        assert again is not None
        assert again.tasks == 1


def fail(event: ContextEvent) -> None:
    raise LookupError(event.kind)


class Heard:
    """What a listener was told: (kind, context, tasks)."""

    def __init__(self, contexts: Contexts) -> None:
        self.events: list[ContextEvent] = []
        contexts.listen(self.events.append)

    def take(self) -> list[tuple[str, str, int]]:
        told: list[tuple[str, str, int]] = [
            (event.kind, event.context.id, event.context.tasks) for event in self.events
        ]
        self.events.clear()
        return told


async def test_a_touched_context_lives_on_and_a_pinned_one_for_ever() -> None:
    settings = RuntimeSettings(
        context_retention=3600.0, task_retention=7200.0, context_idle=600.0, sweep_every=50.0
    )
    async with running(clerk(), settings=settings) as peer:
        contexts, ann = peer.runtime.contexts, Caller(peer.runtime, principal=ANN)
        tasks = {name: await ann.send("a", context=name) for name in ("plain", "held", "pinned")}
        for mark in (contexts.touch, contexts.pin, contexts.unpin):
            assert not await mark(SCOPE, "unknown")
            assert not await mark(TaskScope("", "clerk", "bob"), "held")
        assert await contexts.pin(SCOPE, "pinned")
        await anyio.sleep(3000)
        assert [found.id for found in await contexts.list(SCOPE, idle=True)] == [
            "plain", "pinned", "held",
        ]  # fmt: skip
        assert await contexts.touch(SCOPE, "held")
        assert [found.id for found in await contexts.list(SCOPE, idle=True)] == ["plain", "pinned"]
        await anyio.sleep(1000)
        assert [found.id for found in await contexts.list(SCOPE)] == ["held", "pinned"]
        await anyio.sleep(86_400)
        pinned = await contexts.get(SCOPE, "pinned")
        assert pinned is not None
        assert pinned.pinned
        assert [found.id for found in await contexts.list(SCOPE)] == ["pinned"]
        assert await peer.runtime.results.by_task(SCOPE, tasks["pinned"].id) is not None
        assert await contexts.unpin(SCOPE, "pinned")
        await anyio.sleep(200)
        assert await contexts.get(SCOPE, "pinned") is None
        assert await peer.runtime.results.by_task(SCOPE, tasks["pinned"].id) is None


async def test_a_context_is_deleted_with_its_tasks_unless_one_is_not_over() -> None:
    async with running(clerk()) as peer:
        contexts, ann = peer.runtime.contexts, Caller(peer.runtime, principal=ANN)
        done = await ann.send(user("a", id="m", context_id="trip"))
        asked = await ann.send("ask", context="trip")
        other = await ann.send("b", context="other")
        assert await contexts.pin(SCOPE, "trip")
        with pytest.raises(NotOverError, match="1 of the 2 tasks"):
            await contexts.delete(SCOPE, "trip")
        assert (await ann.get(done.id)).status.state is TaskState.COMPLETED
        await ann.cancel(asked.id)
        assert not await contexts.delete(TaskScope("", "clerk", "bob"), "trip")
        assert await contexts.delete(SCOPE, "trip")
        assert not await contexts.delete(SCOPE, "trip")
        for task in (done, asked):
            with pytest.raises(TaskNotFoundError):
                await ann.get(task.id)
        with pytest.raises(TaskNotFoundError):  # what it asked for was done once, and is gone
            await ann.send(user("a", id="m", context_id="trip"))
        assert await contexts.get(SCOPE, "trip") is None
        assert (await ann.get(other.id)).id == other.id
        # Who names it later begins it anew.
        assert (await ann.send("c", context="trip")).context_id == "trip"
        trip = await contexts.get(SCOPE, "trip")
        assert trip is not None
        assert (trip.tasks, trip.pinned) == (1, False)


async def test_what_happens_to_contexts_is_told() -> None:
    store = KeptStore()
    settings = RuntimeSettings(context_retention=3600.0, context_idle=600.0)
    async with running(clerk(), store=store, settings=settings) as peer:
        contexts, ann = peer.runtime.contexts, Caller(peer.runtime, principal=ANN)
        heard = Heard(contexts)
        contexts.listen(fail)  # it harms nobody
        await anyio.sleep(0.5)  # between two sweeps
        await ann.send("a", context="trip")
        asked = await ann.send("ask", context="trip")
        await anyio.sleep(2)
        assert heard.take() == [("created", "trip", 2)]
        await ann.send("b", context="trip")
        await anyio.sleep(2)
        assert heard.take() == []
        await ann.send("Ada", task=asked.id)
        await anyio.sleep(2)
        assert heard.take() == [("completed", "trip", 3)]
        await anyio.sleep(500)
        assert await contexts.touch(SCOPE, "trip")
        await anyio.sleep(500)
        assert heard.take() == []
        await anyio.sleep(200)
        assert heard.take() == [("idle", "trip", 3)]
    # Another process takes it from there.
    async with running(clerk(), store=store, settings=settings) as peer:
        contexts, ann = peer.runtime.contexts, Caller(peer.runtime, principal=ANN)
        heard = Heard(contexts)
        await anyio.sleep(1000.5)
        assert heard.take() == []
        await ann.send("c", context="trip")
        await anyio.sleep(700)
        assert heard.take() == [("completed", "trip", 4), ("idle", "trip", 4)]
        await anyio.sleep(3600)
        event = heard.events[0]
        assert event.scope == SCOPE
        assert event.at - event.context.created_at > 3600
        assert heard.take() == [("expired", "trip", 4), ("pruned", "trip", 4)]
        await ann.send("a", context="again")
        assert await contexts.delete(SCOPE, "again")
        single = await ann.send("a", context="single")
        assert await peer.runtime.results.delete(SCOPE, single.id)
        await anyio.sleep(10)
        assert heard.take() == [("pruned", "again", 1), ("pruned", "single", 1)]
        counted = peer.runtime.statistics()
        assert (counted["contexts_expired_total"], counted["contexts_pruned_total"]) == (1, 3)


async def test_a_result_is_deleted_once_its_task_is_over() -> None:
    async with running(clerk()) as peer:
        results, ann = peer.runtime.results, Caller(peer.runtime, principal=ANN)
        task = await ann.send(user("ask", id="m"))
        with pytest.raises(NotOverError):
            await results.delete(SCOPE, task.id)
        assert result(await ann.send("Ada", task=task.id)) == "Hello Ada"
        assert not await results.delete(TaskScope("", "clerk", "bob"), task.id)
        assert await results.delete(SCOPE, task.id)
        assert not await results.delete(SCOPE, task.id)
        assert await results.by_task(SCOPE, task.id) is None
        assert await results.by_message(SCOPE, "m") is None
        assert (await ann.list()).total_size == 0


async def test_results_are_found_by_task_and_by_message_after_a_restart() -> None:
    store = KeptStore()
    async with running(clerk(), store=store) as peer:
        ann = Caller(peer.runtime, principal=ANN)
        task = await ann.send(user("hi", id="m1"))
        reply = await ann.answer(user("direct", id="m2"))
        asked = await ann.send(user("ask", id="m3"))
        await ann.send(user("Ada", id="m4", task_id=asked.id))
    async with running(clerk(), store=store, send_retention=1000.0) as peer:
        results = peer.runtime.results
        kept = await results.by_task(SCOPE, task.id)
        assert kept is not None
        assert result(kept) == "You said: hi"
        assert kept.history is None
        assert await results.by_message(SCOPE, "m1") == kept
        assert await results.by_message(SCOPE, "m2") == reply
        for message_id in ("m3", "m4"):
            turn = await results.by_message(SCOPE, message_id, history=None)
            assert isinstance(turn, Task)
            assert (turn.id, result(turn)) == (asked.id, "Hello Ada")
            assert [m.message_id for m in turn.history or () if m.role is Role.USER] == [
                "m3", "m4",
            ]  # fmt: skip
        for stranger in (TaskScope("", "clerk", "bob"), TaskScope("x", "clerk", "ann")):
            assert await results.by_task(stranger, task.id) is None
            assert await results.by_task(stranger, task.id, wait=1.0) is None
            assert await results.by_message(stranger, "m1") is None
        await anyio.sleep(1100)
        assert await results.by_message(SCOPE, "m1") is None
        assert await results.by_task(SCOPE, task.id) is not None


async def test_who_waits_for_a_result_gets_it_when_it_is_there() -> None:
    async with running(clerk(), idle=1.0) as peer:
        ann, results = Caller(peer.runtime, principal=ANN), peer.runtime.results
        task = await ann.send(user("wait 50", id="m"), now=True)
        await settle()
        began = anyio.current_time()
        kept = await results.by_message(SCOPE, "m", wait=10)
        assert isinstance(kept, Task)
        assert kept.status.state is TaskState.WORKING
        assert anyio.current_time() - began == pytest.approx(10, abs=1)
        kept = await results.by_task(SCOPE, task.id, wait=1000)
        assert kept is not None
        assert result(kept) == "You said: wait 50"
        assert anyio.current_time() - began == pytest.approx(50, abs=2)
        assert await results.by_task(SCOPE, task.id, wait=1000) == kept
        assert anyio.current_time() - began == pytest.approx(50, abs=2)
