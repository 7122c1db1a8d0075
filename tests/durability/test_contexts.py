"""Contexts and results, as a program sees them that runs the agents."""

from __future__ import annotations

import anyio
import pytest

from greenroom import Agent, Message, Part, Role, TaskContext, TaskState
from greenroom.protocol.types import Task
from greenroom.runtime.call import Principal, Scope

from ..support.drive import Caller, KeptStore, result, running, settle, user

pytestmark = pytest.mark.anyio
SCOPE = Scope("", "clerk", "ann")
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

        found = await contexts.list(SCOPE)
        assert {context.id for context in found} == {"trip", other.context_id}
        trip = await contexts.get(SCOPE, "trip")
        assert trip is not None
        assert trip in found
        assert (trip.tasks, trip.live) == (2, 1)
        assert trip.active_at - trip.created_at == pytest.approx(50, abs=1)
        tasks = await contexts.tasks(SCOPE, "trip")
        assert [header.id for header in tasks.headers] == [asked.id, first.id]
        page = await contexts.list(SCOPE, limit=1)
        assert [*page, *await contexts.list(SCOPE, after=page[-1])] == list(found)

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
        found = await results.by_task(SCOPE, task.id)
        assert found is not None
        assert result(found) == "You said: hi"
        assert found.history is None
        assert await results.by_message(SCOPE, "m1") == found
        assert await results.by_message(SCOPE, "m2") == reply
        for message_id in ("m3", "m4"):
            turn = await results.by_message(SCOPE, message_id, history=None)
            assert isinstance(turn, Task)
            assert (turn.id, result(turn)) == (asked.id, "Hello Ada")
            assert [m.message_id for m in turn.history or () if m.role is Role.USER] == [
                "m3", "m4",
            ]  # fmt: skip
        for stranger in (Scope("", "clerk", "bob"), Scope("x", "clerk", "ann")):
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
        found = await results.by_message(SCOPE, "m", wait=10)
        assert isinstance(found, Task)
        assert found.status.state is TaskState.WORKING
        assert anyio.current_time() - began == pytest.approx(10, abs=1)
        found = await results.by_task(SCOPE, task.id, wait=1000)
        assert found is not None
        assert result(found) == "You said: wait 50"
        assert anyio.current_time() - began == pytest.approx(50, abs=2)
        assert await results.by_task(SCOPE, task.id, wait=1000) == found
        assert anyio.current_time() - began == pytest.approx(50, abs=2)
