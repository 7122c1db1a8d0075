"""Clauses of ``Leases``, and of taking a task over."""

from __future__ import annotations

import anyio
import msgspec

from ...protocol.types import TaskState
from ...runtime.journal.entries import Header, TaskRef
from ...runtime.journal.store import Store
from .fixtures import (
    MINE,
    NOW,
    STRANGERS,
    GivenTask,
    MakeStore,
    committed,
    event,
    message,
    opened,
    taken,
)

LEASE = 15.0


async def _owned_by(store: Store, node: str, task_id: str = "task") -> GivenTask:
    task = GivenTask(task_id, node=node, state=TaskState.WORKING)
    await committed(store, task.writes(message("a")))
    return task


async def check_a_task_is_taken_over_at_the_epoch_that_was_seen(make: MakeStore) -> None:
    async with opened(make) as store:
        task = await _owned_by(store, "")
        seen = task.header
        mine = await taken(store, seen, "n2")
        assert mine == msgspec.structs.replace(seen, node="n2", epoch=2)
        assert await store.header(MINE, "task") == mine
        for epoch in (0, 1, 3):
            late = msgspec.structs.replace(seen, epoch=epoch)
            assert await taken(store, late, "n3") is None
        assert await store.header(MINE, "task") == mine


async def check_a_lease_ends_at_its_last_moment(make: MakeStore) -> None:
    async with opened(make) as store:
        await _owned_by(store, "n1")
        assert await store.heartbeat("n1", now=NOW, lease=LEASE)
        end = NOW + LEASE
        assert list(await store.orphans(now=end - 0.001, limit=10)) == []
        assert list(await store.orphans(now=end, limit=10)) == [TaskRef(MINE, "task")]


async def check_a_heartbeat_prolongs_the_lease(make: MakeStore) -> None:
    async with opened(make) as store:
        await _owned_by(store, "n1")
        for beat in range(4):
            assert await store.heartbeat("n1", now=NOW + 10 * beat, lease=LEASE)
        assert list(await store.orphans(now=NOW + 44, limit=10)) == []
        assert list(await store.orphans(now=NOW + 45, limit=10)) == [TaskRef(MINE, "task")]


async def check_dead_nodes_never_come_back(make: MakeStore) -> None:
    async with opened(make) as store:
        assert await store.heartbeat("n1", now=NOW, lease=LEASE)
        assert await store.heartbeat("n2", now=NOW, lease=LEASE)
        assert not await store.heartbeat("n1", now=NOW + LEASE, lease=LEASE)
        assert not await store.heartbeat("n1", now=NOW + LEASE + 1, lease=LEASE)
        await store.retire("n2", now=NOW + 1)
        assert not await store.heartbeat("n2", now=NOW + 2, lease=LEASE)
        await store.retire("never seen", now=NOW)
        assert not await store.heartbeat("never seen", now=NOW, lease=LEASE)
        assert await store.heartbeat("n3", now=NOW + 99, lease=LEASE)


async def check_the_tasks_of_a_retired_node_are_orphans_at_once(make: MakeStore) -> None:
    async with opened(make) as store:
        task = await _owned_by(store, "n1")
        assert await store.heartbeat("n1", now=NOW, lease=LEASE)
        await store.retire("n1", now=NOW + 1)
        assert list(await store.orphans(now=NOW + 1, limit=10)) == [TaskRef(MINE, "task")]
        assert await taken(store, task.header, "n2") is not None
        assert await store.heartbeat("n2", now=NOW + 1, lease=LEASE)
        assert list(await store.orphans(now=NOW + 1, limit=10)) == []


async def check_of_many_that_take_a_task_over_one_wins(make: MakeStore) -> None:
    async with opened(make) as store:
        task = await _owned_by(store, "dead")
        won: list[Header] = []

        async def take(node: str) -> None:
            mine = await taken(store, task.header, node)
            if mine is not None:
                won.append(mine)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(take, f"n{number}")
        (winner,) = won
        assert await store.header(MINE, "task") == winner
        assert winner.epoch == 2


async def check_orphans_are_unfinished_tasks_of_dead_nodes(make: MakeStore) -> None:
    async with opened(make) as store:
        assert await store.heartbeat("alive", now=NOW, lease=LEASE)
        await _owned_by(store, "", "waits")
        await _owned_by(store, "alive", "runs")
        over = GivenTask("over", node="dead", state=TaskState.FAILED)
        theirs = GivenTask("theirs", STRANGERS[0], node="dead", state=TaskState.WORKING)
        await committed(store, over.writes(message("a")), theirs.writes(message("a")))
        lost = await _owned_by(store, "unknown", "lost")
        refs = {(ref.scope, ref.id) for ref in await store.orphans(now=NOW, limit=10)}
        assert refs == {(STRANGERS[0], "theirs"), (MINE, "lost")}
        assert len(await store.orphans(now=NOW, limit=1)) == 1
        await committed(store, lost.writes(event("done"), state=TaskState.COMPLETED, node=""))
        refs = {(ref.scope, ref.id) for ref in await store.orphans(now=NOW, limit=10)}
        assert refs == {(STRANGERS[0], "theirs")}


async def check_a_node_finds_what_is_its_own(make: MakeStore) -> None:
    async with opened(make) as store:
        assert list(await store.owned("n1")) == []
        assert await store.heartbeat("n1", now=NOW, lease=LEASE)
        task = await _owned_by(store, "n1")
        await _owned_by(store, "n2", "other")
        await _owned_by(store, "", "waits")
        over = GivenTask("over", node="n1", state=TaskState.FAILED)
        theirs = GivenTask("theirs", STRANGERS[0], node="n1", state=TaskState.WORKING)
        await committed(store, over.writes(message("a")), theirs.writes(message("a")))
        refs = {(ref.scope, ref.id) for ref in await store.owned("n1")}
        assert refs == {(MINE, "task"), (STRANGERS[0], "theirs")}
        assert await store.owned("n1", agents=()) == []
        agents = (MINE.agent,)
        assert all(ref.scope.agent == MINE.agent for ref in await store.owned("n1", agents=agents))
        await committed(store, task.writes(event("done"), state=TaskState.COMPLETED, node=""))
        assert [ref.id for ref in await store.owned("n1")] == ["theirs"]
