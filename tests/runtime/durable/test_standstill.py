"""A replay that never comes where its journal was blocks its task, visibly, and does not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.journal.entries import Entry
from greenroom.runtime.journal.records import RecordKind, is_kind
from tests.support.crash import RecordingStore, copy_of
from tests.support.drive import KeptStore, running, said

from .test_crash_matrix import SCOPE, work

pytestmark = pytest.mark.anyio

Block = Callable[[TaskContext, Any], Awaitable[Any]]


async def failing(ctx: TaskContext) -> None:
    await ctx.step(work, "before the failure", 5)
    raise LookupError("no")


async def as_it_was(ctx: TaskContext, group: Any) -> None:
    group.start(ctx.sleep, 100)
    await ctx.step(work, "a", 1)
    await ctx.step(work, "b", 100)


async def elsewhere(ctx: TaskContext, group: Any) -> None:
    group.start(ctx.sleep, 100)
    await anyio.sleep_forever()


async def before_that(ctx: TaskContext, group: Any) -> None:
    group.start(ctx.sleep, 100)
    await ctx.step(work, "a", 1)
    await anyio.sleep_forever()


async def one_branch_less(ctx: TaskContext, group: Any) -> None:
    await ctx.step(work, "a", 1)
    await ctx.step(work, "b", 100)


async def one_operation_less(ctx: TaskContext, group: Any) -> None:
    group.start(ctx.sleep, 100)
    await ctx.step(work, "a", 1)


def agent(block: Block) -> Agent:
    made = Agent("Matrix", version="1", on_interrupt="resume")

    @made.handler
    async def handle(ctx: TaskContext) -> str:
        try:
            async with ctx.timeout(50), ctx.group() as group:
                group.start(failing, ctx)
                await block(ctx, group)
        except LookupError:
            return str(await ctx.step(work, "after"))
        return "?"

    return made


async def left_by(block: Block, wanted: Callable[[list[Entry]], bool]) -> tuple[KeptStore, str]:
    """Return the first commit whose journal is as ``wanted``, and the task."""
    recorded = RecordingStore()
    async with running(agent(block), store=recorded, idle=1e6) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
    for copy in recorded.copies:
        if wanted(list(await copy.journal(SCOPE, task.id))):
            left = copy_of(copy)
            left._nodes.clear()
            return left, task.id
    raise AssertionError("no such commit")


def has_cut(entries: list[Entry]) -> bool:
    return any(is_kind(entry, RecordKind.CUT) for entry in entries)


def has_step(entries: list[Entry]) -> bool:
    return any(is_kind(entry, RecordKind.STEP) for entry in entries)


async def blocked(left: KeptStore, task_id: str, block: Block) -> str:
    """Serve the task with another block; return what its status says a while later."""
    async with running(agent(block), store=left, idle=1e6) as peer:
        with anyio.move_on_after(300):
            task = await peer.get(task_id)
            while not (task.status.state.terminal or said(task).startswith("Blocked")):
                task = await peer.get(task_id, newer_than=task.generation)
        task = await peer.get(task_id)
        assert task.status.state is TaskState.WORKING
        return said(task)


@pytest.mark.parametrize("other", [elsewhere, before_that, one_branch_less])
async def test_a_block_that_does_not_come_where_its_cut_found_it_blocks_the_task(
    other: Block,
) -> None:
    left, task_id = await left_by(as_it_was, has_cut)
    told = await blocked(left, task_id, other)
    assert told.startswith("Blocked: operation ")
    assert "not reached again" in told


async def test_a_block_that_ends_before_the_place_of_its_cut_blocks_the_task() -> None:
    left, task_id = await left_by(as_it_was, has_cut)
    told = await blocked(left, task_id, one_operation_less)
    assert "begun when its block was cut off and is now not reached again" in told


async def test_a_block_that_does_not_come_to_its_entries_blocks_the_task() -> None:
    left, task_id = await left_by(as_it_was, has_step)
    told = await blocked(left, task_id, elsewhere)
    assert told.startswith("Blocked: operation 1 of branch /1.b/1.b was step 'work'")


async def test_the_task_ends_when_the_handler_is_what_it_was() -> None:
    left, task_id = await left_by(as_it_was, has_cut)
    await blocked(left, task_id, elsewhere)
    left._nodes.clear()
    async with running(agent(as_it_was), store=left, idle=1e6) as peer:
        task = await peer.get(task_id)
        with anyio.move_on_after(300):
            while not task.status.state.terminal:
                task = await peer.get(task_id, newer_than=task.generation)
        assert task.status.state is TaskState.COMPLETED
