"""What a handler does outside: behind what is durable, and under one key however often."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

from greenroom import Agent, BlockingContext, TaskContext, TaskState, step_info
from greenroom.runtime.journal.entries import Append, Outcome
from tests.support.crash import RecordingStore, copy_of
from tests.support.drive import Caller, KeptStore, running

pytestmark = pytest.mark.anyio


class SlowStore(KeptStore):
    """A store whose commits take a second."""

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        await anyio.sleep(1)
        return await super().append(batch, now=now)


async def in_store(store: KeptStore, task: str) -> bytes:
    (scope,) = await store.scopes()
    return b"".join([entry.body for entry in await store.journal(scope, task)])


@pytest.mark.parametrize("how", ["step", "stream"])
async def test_what_came_before_is_durable(how: str) -> None:
    store = SlowStore()
    collected: list[bytes] = []
    agent = Agent("Desk")

    async def work(task: str) -> None:
        collected.append(await in_store(store, task))

    async def chunks(task: str) -> AsyncGenerator[str, None]:
        await work(task)
        yield "x"

    @agent.handler
    async def handle(ctx: TaskContext) -> None:
        await ctx.artifact("note", "said before")
        if how == "step":
            await ctx.step(work, ctx.task_id)
        else:
            await ctx.stream("text", chunks, ctx.task_id)

    async with running(agent, store=store) as peer:
        assert (await peer.send("go")).status.state is TaskState.COMPLETED
    (entries,) = collected
    assert b"said before" in entries


@pytest.mark.parametrize("plain", [False, True])
async def test_a_stream_has_one_key_at_every_attempt(plain: bool) -> None:
    infos: list[tuple[str, int]] = []
    agent = Agent("Desk")
    if plain:

        def lines() -> Generator[str, None, None]:
            infos.append((step_info().key, step_info().epoch))
            yield "one"
            yield "two"

        @agent.handler
        def talk(ctx: BlockingContext) -> None:
            with pytest.raises(LookupError, match=r"ctx\.stream"):
                step_info()
            ctx.stream("first", lines)
            ctx.stream("second", lines)

    else:

        async def chunks() -> AsyncGenerator[str, None]:
            infos.append((step_info().key, step_info().epoch))
            yield "one"
            yield "two"

        @agent.handler
        async def handle(ctx: TaskContext) -> None:
            with pytest.raises(LookupError, match=r"ctx\.stream"):
                step_info()
            await ctx.stream("first", chunks)
            await ctx.stream("second", chunks)

    store = RecordingStore()
    async with running(agent, store=store) as peer:
        task = await peer.send("go", now=True)
        await peer.over(task.id)
    (first, _), (second, _) = infos
    assert first != second
    for copy in store.copies:
        left = copy_of(copy)
        left._nodes.clear()
        async with running(agent, store=left) as peer:
            if await left.scopes():
                assert (await Caller(peer.runtime).over(task.id)).status.state in (
                    TaskState.COMPLETED,
                    TaskState.FAILED,  # nothing was begun
                )
    assert {key for key, _ in infos} == {first, second}
    assert max(epoch for _, epoch in infos) > 1


Calls = list[tuple[str, str]]


class CountingStore(RecordingStore):
    """Knows with each copy how much had been done outside by then, and before the next one."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls
        self.done: list[set[int]] = []

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        if self.done:
            self.done[-1].add(len(self.calls))
        outcomes = await super().append(batch, now=now)
        self.done.append({len(self.calls)})
        return outcomes


async def cut_off_by_a_group(ctx: TaskContext, do: Callable[[str, float], Any]) -> None:
    """The process may end between the failure and what came of the step that it cuts off."""

    async def fails() -> None:
        await ctx.sleep(1)
        raise LookupError

    with suppress(LookupError):
        async with ctx.group() as group:
            group.start(fails)
            await ctx.step(do, "charge", 100.0)
    await ctx.step(do, "refund", 0.0)


async def cut_off_in_a_branch(ctx: TaskContext, do: Callable[[str, float], Any]) -> None:
    async def child() -> None:
        try:
            await ctx.step(do, "charge", 100.0)
        finally:
            with anyio.CancelScope(shield=True):
                await ctx.step(do, "refund", 5.0)

    async def fails() -> None:
        await ctx.sleep(2)
        raise LookupError

    with suppress(LookupError):
        async with ctx.group() as group:
            group.start(child)
            group.start(fails)


async def cut_off_by_time(ctx: TaskContext, do: Callable[[str, float], Any]) -> None:
    with suppress(TimeoutError):
        async with ctx.timeout(2):
            await anyio.sleep(1)
            await ctx.step(do, "charge", 100.0)
    await ctx.step(do, "refund", 0.0)


@pytest.mark.parametrize("handler", [cut_off_by_a_group, cut_off_in_a_branch, cut_off_by_time])
async def test_no_two_steps_have_one_key_and_no_step_has_two(
    handler: Callable[..., Awaitable[None]],
) -> None:
    calls: Calls = []

    async def do(what: str, takes: float) -> None:
        calls.append((what, step_info().key))
        try:
            await anyio.sleep(takes)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0 if takes == 5 else 5)

    def agent() -> Agent:
        made = Agent("Desk", on_interrupt="resume")

        @made.handler
        async def handle(ctx: TaskContext) -> None:
            await handler(ctx, do)

        return made

    store = CountingStore(calls)
    async with running(agent(), store=store) as peer:
        task = await peer.send("go", now=True)
        assert (await peer.over(task.id)).status.state is TaskState.COMPLETED
    whole = list(calls)
    for copy, done in zip(store.copies, store.done, strict=True):
        for before in done:
            left = copy_of(copy)
            left._nodes.clear()
            calls[:] = whole[:before]
            async with running(agent(), store=left) as peer:
                assert (await peer.over(task.id)).status.state is TaskState.COMPLETED
            names: dict[str, set[str]] = {}
            keys: dict[str, set[str]] = {}
            for name, key in calls:
                names.setdefault(name, set()).add(key)
                keys.setdefault(key, set()).add(name)
            assert all(len(found) == 1 for found in (*names.values(), *keys.values())), calls
