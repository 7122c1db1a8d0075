"""Nothing uncommitted is visible outside the actor: not even in the words of a refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal

import anyio
import pytest

from greenroom import Agent, InputRequired, TaskContext, TaskState
from greenroom.protocol import operations as ops
from greenroom.protocol.errors import (
    A2AError,
    TaskGenerationMismatchError,
    TaskNotCancelableError,
    UnavailableError,
    UnsupportedOperationError,
)
from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.runtime.journal.store import StoreError
from greenroom.stores.memory import MemoryStore
from tests.support.drive import Caller, numbers, read, running, settle, states

pytestmark = pytest.mark.anyio


class Held(MemoryStore):
    """A store whose commits can be held back, and made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_on = anyio.Event()
        self.pass_on.set()
        self.broken = False

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        await self.pass_on.wait()
        if self.broken:
            raise StoreError("the disk is gone")
        return await super().append(batch, now=now)


async def ending(peer: Caller, store: Held, go: anyio.Event) -> str:
    """Return the id of a task whose end is accepted but not committed."""
    task = await peer.send("go", now=True)
    await settle()
    store.pass_on = anyio.Event()
    go.set()
    await settle()
    assert (await peer.get(task.id)).status.state is TaskState.WORKING
    return task.id


def ends_when(go: anyio.Event) -> Agent:
    agent = Agent("Patient")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await ctx.status("waiting")
        await go.wait()
        return "done"

    return agent


Ask = Callable[[Caller, str], Awaitable[object]]
REFUSED: list[tuple[Ask, type[A2AError]]] = [
    (lambda peer, task: peer.cancel(task), TaskNotCancelableError),
    (lambda peer, task: peer.send("more", task=task), UnsupportedOperationError),
    (lambda peer, task: peer.stream("more", task=task), UnsupportedOperationError),
]


@pytest.mark.parametrize(("ask", "refusal"), REFUSED, ids=["cancel", "send", "stream"])
@pytest.mark.parametrize("broken", [False, True], ids=["committed", "lost"])
async def test_a_refusal_waits_for_the_commit_of_what_it_tells(
    ask: Ask, refusal: type[A2AError], broken: bool
) -> None:
    store, go = Held(), anyio.Event()
    told: list[A2AError] = []

    async with running(ends_when(go), store=store) as peer:
        task = await ending(peer, store, go)

        async def refused() -> None:
            with pytest.raises(A2AError) as caught:
                await ask(peer, task)
            told.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(refused)
            await settle()
            assert told == []
            store.broken = broken
            store.pass_on.set()
        store.broken = False
        assert type(told[0]) is (UnavailableError if broken else refusal)


async def test_a_mismatch_tells_a_committed_generation() -> None:
    agent, go, store = Agent("Talker"), anyio.Event(), Held()

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.status("one")
        await go.wait()
        await ctx.status("two")
        await ctx.receive()

    async with running(agent, store=store) as peer:
        task = await ending(peer, store, go)
        told: list[TaskGenerationMismatchError] = []

        async def refused() -> None:
            with pytest.raises(TaskGenerationMismatchError) as caught:
                await peer.send("more", task=task, match=1)
            told.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(refused)
            await settle()
            assert told == []
            store.pass_on.set()
        now = await peer.get(task)
        assert told[0].metadata["currentGeneration"] == str(now.generation)


@pytest.mark.parametrize("seen", [1, 2, 3])
async def test_a_streamed_reply_shows_its_own_turn_whatever_was_seen_before(seen: int) -> None:
    """A client that has one cursor for the whole task may send it with every request."""
    agent = Agent("Curious")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        name = await ctx.ask("Who?")
        await anyio.sleep(1.0)
        return f"Hello {name}"

    async with running(agent) as peer:
        task = await peer.send("hi")
        assert task.generation == 3
        request = peer.request("Ada", task=task.id)
        stream = await peer.runtime.dispatch(peer.call(last_event_id=seen), ops.STREAM, request)
        frames = await read(stream)
        assert states(frames) == ["working", "+result", "completed"]
        assert numbers(frames) == [4, 5, 6]


@pytest.mark.parametrize(
    ("policy", "settings"),
    [(None, {"task_delay": 0.0}), ("fail", {})],
    ids=["task_delay=0", "on_interrupt=fail"],
)
@pytest.mark.parametrize("now", [False, True], ids=["blocking", "immediate"])
async def test_a_handler_that_may_not_run_twice_starts_when_its_message_is_committed(
    policy: Literal["fail"] | None, settings: dict[str, Any], now: bool
) -> None:
    agent, paid = Agent("Payer", on_interrupt=policy), list[str]()

    @agent.handler
    async def pay(ctx: TaskContext) -> InputRequired:
        paid.append(ctx.text)
        return InputRequired("Another?")

    store = Held()
    async with (
        running(agent, store=store, **settings) as peer,
        anyio.create_task_group() as group,
    ):
        task = None
        for payment in ("one", "two"):  # a new task, and another turn of it
            store.pass_on = anyio.Event()
            group.start_soon(partial(peer.send, payment, task=task, now=now))
            await anyio.sleep(1.0)
            assert payment not in paid
            store.pass_on.set()
            await settle()
            assert paid[-1] == payment
            task = (await peer.list()).tasks[0].id
