"""Clauses of stores that outlive ``close``."""

from __future__ import annotations

from ...protocol.types import TaskState
from ...runtime.journal.entries import Outcome, Segment, TaskQuery, Timer, Verdict
from .fixtures import (
    MINE,
    NOW,
    GivenTask,
    MakeStore,
    commit,
    committed,
    event,
    everything,
    message,
    opened,
    record,
    send,
    taken,
)


async def check_all_is_there_after_a_restart(make: MakeStore) -> None:
    task = GivenTask(node="n1", state=TaskState.WORKING)
    async with opened(make) as store:
        await committed(
            store,
            task.writes(
                message("a"), event("b"), record("c"), event("d"), folded=2,
                segment=Segment(2, 2, b"[]"), timers=[Timer("t", NOW + 1)],
                sends=[send(b"key", "task")],
            ),
        )  # fmt: skip
        assert await store.heartbeat("n1", now=NOW, lease=15)
        before = await everything(store, MINE, "task")
    async with opened(make) as store:
        assert await everything(store, MINE, "task") == before
        assert [item.timer for item in await store.due(now=NOW + 1, limit=9)] == [
            Timer("t", NOW + 1)
        ]
        assert (await store.tasks(TaskQuery(MINE, 10))).total == 1
        assert await store.find_send(MINE, b"key") == send(b"key", "task")
        # Sooner, where a restart proves that the node is gone: one process serves from the store.
        assert len(await store.orphans(now=NOW + 15, limit=10)) == 1
        await committed(store, task.writes(event("on")))


async def check_fences_and_duplicates_hold_after_a_restart(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), sends=[send(b"key", "task")]))
        assert await taken(store, task.header, "n2") is not None
        await store.retire("n1", now=NOW)
    async with opened(make) as store:
        repeat = GivenTask("other").writes(message("a"), sends=[send(b"key", "other")])
        outcomes = await commit(store, task.writes(event("late")), repeat)
        assert outcomes[0].verdict is Verdict.LOST
        assert outcomes[1] == Outcome(Verdict.DUPLICATE, send(b"key", "task"))
        assert not await store.heartbeat("n1", now=NOW, lease=15)
