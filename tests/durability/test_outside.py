"""What a handler does outside: behind what is durable, and under one key however often."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence

import anyio
import pytest

from greenroom import Agent, BlockingContext, TaskContext, TaskState, step_info
from greenroom.runtime.rows import Append, Outcome

from ..support.crash import RecordingStore, copy_of
from ..support.drive import Caller, KeptStore, running

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
    found: list[bytes] = []
    agent = Agent("Desk")

    async def work(task: str) -> None:
        found.append(await in_store(store, task))

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
    (entries,) = found
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
