"""Clauses of timers and of ``prune``."""

from __future__ import annotations

from ...protocol.types import TERMINAL, TaskState
from ...runtime.journal.entries import (
    ALL_TIMERS,
    LOST,
    Append,
    DueTimer,
    Segment,
    TaskQuery,
    TaskRef,
    Timer,
)
from .fixtures import (
    MINE,
    NOW,
    STRANGERS,
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
)


def _due(task: GivenTask, name: str, at: float) -> DueTimer:
    return DueTimer(TaskRef(task.header.scope, task.header.id), Timer(name, at))


async def check_timers_are_due_earliest_first_and_stay(make: MakeStore) -> None:
    task, theirs = GivenTask(), GivenTask(scope=STRANGERS[0])
    async with opened(make) as store:
        assert list(await store.due(now=NOW, limit=10)) == []
        await committed(
            store,
            task.writes(message("a"), timers=[Timer("late", NOW + 3), Timer("soon", NOW + 1)]),
            theirs.writes(message("a"), timers=[Timer("soon", NOW + 2)]),
        )
        soon = [_due(task, "soon", NOW + 1), _due(theirs, "soon", NOW + 2)]
        assert list(await store.due(now=NOW + 0.999, limit=10)) == []
        assert list(await store.due(now=NOW + 1, limit=10)) == soon[:1]
        assert list(await store.due(now=NOW + 2, limit=10)) == soon
        assert list(await store.due(now=NOW + 2, limit=1)) == soon[:1]
        assert list(await store.due(now=NOW + 9, limit=9)) == [*soon, _due(task, "late", NOW + 3)]
        late = await store.due(now=NOW + 9, limit=1, name="late", agents=(MINE.agent,))
        assert list(late) == [_due(task, "late", NOW + 3)]
        assert list(await store.due(now=NOW + 9, limit=9, name="la")) == []


async def check_all_timers_of_a_task_can_be_cleared_at_once(make: MakeStore) -> None:
    task, other = GivenTask(), GivenTask("other")
    async with opened(make) as store:
        for each in (task, other):
            await committed(
                store, each.writes(message("a"), timers=[Timer("a", NOW + 1), Timer("b", NOW + 2)])
            )
        last = Timer("after", NOW + 3)
        await committed(store, task.writes(event("end"), cleared=[ALL_TIMERS], timers=[last]))
        left = [_due(other, "a", NOW + 1), _due(other, "b", NOW + 2), _due(task, "after", NOW + 3)]
        assert list(await store.due(now=NOW + 9, limit=9)) == left


async def check_timers_and_orphans_of_other_agents_stand_in_nobodys_way(make: MakeStore) -> None:
    task, theirs = GivenTask(node="gone"), GivenTask(scope=STRANGERS[1], node="gone")
    async with opened(make) as store:
        await committed(
            store,
            theirs.writes(message("a"), timers=[Timer("t", NOW)]),
            task.writes(message("a"), timers=[Timer("t", NOW + 1)]),
        )
        agents = (MINE.agent, "unheard of")
        assert list(await store.due(now=NOW + 2, limit=1, agents=agents)) == [
            _due(task, "t", NOW + 1)
        ]
        ref = TaskRef(MINE, task.header.id)
        assert list(await store.orphans(now=NOW, limit=1, agents=agents)) == [ref]
        assert list(await store.due(now=NOW + 2, limit=9, agents=())) == []


async def check_a_reminder_from_outside_changes_nothing_else(make: MakeStore) -> None:
    task, over = GivenTask(), GivenTask("over", state=TaskState.COMPLETED)
    async with opened(make) as store:
        await committed(store, task.writes(message("a")), over.writes(message("a")))
        ref = TaskRef(MINE, task.header.id)
        assert await store.remind(ref, Timer("cancel", NOW))
        assert not await store.remind(TaskRef(MINE, "over"), Timer("cancel", NOW))
        assert not await store.remind(TaskRef(MINE, "nobody"), Timer("cancel", NOW))
        assert not await store.remind(TaskRef(STRANGERS[0], ref.id), Timer("cancel", NOW))
        assert list(await store.due(now=NOW, limit=9)) == [_due(task, "cancel", NOW)]
        assert await store.header(MINE, task.header.id) == task.header
        await committed(store, task.writes(event("its owner writes on")))


async def check_setting_a_timer_again_moves_it(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), timers=[Timer("t", NOW + 5)]))
        await committed(store, task.writes(timers=[Timer("t", NOW + 9)]))
        assert list(await store.due(now=NOW + 8, limit=10)) == []
        assert list(await store.due(now=NOW + 9, limit=10)) == [_due(task, "t", NOW + 9)]
        await committed(store, task.writes(timers=[Timer("t", NOW + 1)]))
        assert list(await store.due(now=NOW + 9, limit=10)) == [_due(task, "t", NOW + 1)]


async def check_a_cleared_timer_is_gone(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        timers = [Timer("a", NOW + 1), Timer("b", NOW + 2)]
        await committed(store, task.writes(message("a"), timers=timers))
        await committed(store, task.writes(cleared=["a", "unknown"]))
        assert list(await store.due(now=NOW + 9, limit=10)) == [_due(task, "b", NOW + 2)]
        await committed(store, task.writes(cleared=["b"], timers=[Timer("b", NOW + 3)]))
        assert list(await store.due(now=NOW + 9, limit=10)) == [_due(task, "b", NOW + 3)]
        await committed(store, task.writes(cleared=["b"]))
        assert list(await store.due(now=NOW + 9, limit=10)) == []


async def check_timers_of_a_refused_append_are_not_touched(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), timers=[Timer("t", NOW + 5)]))
        stale = GivenTask(sequence=9).writes(timers=[Timer("u", NOW)], cleared=["t"])
        assert await commit(store, stale) == [LOST]
        assert list(await store.due(now=NOW + 9, limit=10)) == [_due(task, "t", NOW + 5)]


async def check_prune_deletes_all_that_belongs_to_old_finished_tasks(make: MakeStore) -> None:
    old = [
        GivenTask(f"old-{n}", state=state, updated_at=NOW + n)
        for n, state in enumerate(sorted(TERMINAL))
    ]
    kept = [
        GivenTask("young", state=TaskState.COMPLETED, updated_at=NOW + 10),
        GivenTask("waits", state=TaskState.INPUT_REQUIRED),
        GivenTask("works", state=TaskState.WORKING),
        GivenTask("theirs", STRANGERS[0], state=TaskState.COMPLETED, updated_at=NOW + 11),
    ]
    async with opened(make) as store:
        for task in (*kept, *old):
            await committed(
                store,
                task.writes(
                    message("a"), event("b"), record("c"), folded=2,
                    segment=Segment(2, 2, b"[]"), timers=[Timer("t", NOW)],
                ),
            )  # fmt: skip
        before = [await everything(store, t.header.scope, t.header.id) for t in kept]
        pruned = await store.prune(tasks_before=NOW + 10, sends_before=0, limit=100)
        assert (pruned.tasks, pruned.sends) == (len(old), 0)
        for task in old:
            assert await store.header(MINE, task.header.id) is None
            assert await store.load(MINE, task.header.id) is None
        assert [await everything(store, t.header.scope, t.header.id) for t in kept] == before
        assert (await store.tasks(TaskQuery(MINE, 100))).total == 3
        timers = await store.due(now=NOW + 99, limit=100)
        assert {timer.ref.id for timer in timers} == {task.header.id for task in kept}
        # Nothing of the old ones shows through in a task that takes the place.
        again = GivenTask("old-0", run_start=0, folded=2)
        await committed(store, again.writes(event("new")))
        loaded = await store.load(MINE, "old-0")
        assert loaded is not None
        assert list(loaded.entries) == again.entries
        snapshot = await store.snapshot(MINE, "old-0", history=None)
        assert snapshot is not None
        assert (list(snapshot.segments), list(snapshot.messages)) == ([], [])
        assert list(await store.due(now=NOW + 99, limit=100)) == list(timers)


async def check_prune_takes_the_oldest_first_and_not_more_than_asked(make: MakeStore) -> None:
    tasks = [
        GivenTask(f"t{n}", STRANGERS[n % 2], state=TaskState.COMPLETED, updated_at=NOW + n)
        for n in range(5)
    ]
    async with opened(make) as store:
        await committed(store, *(task.writes(message("a")) for task in tasks))
        for left in (3, 1, 0):
            pruned = await store.prune(tasks_before=NOW + 99, sends_before=0, limit=2)
            assert pruned.tasks == (1 if left == 0 else 2)
            there = [await store.header(t.header.scope, t.header.id) is not None for t in tasks]
            assert there == [False] * (5 - left) + [True] * left


async def check_sends_are_pruned_by_their_own_age(make: MakeStore) -> None:
    task = GivenTask(state=TaskState.COMPLETED)
    async with opened(make) as store:
        old, new = send(b"old", "task", NOW), send(b"new", "task", NOW + 1)
        await committed(store, task.writes(message("a"), sends=[old, new]))
        await committed(store, Append(sends=[send(b"direct", at=NOW - 1)], scope=STRANGERS[0]))
        pruned = await store.prune(tasks_before=NOW + 1, sends_before=NOW + 1, limit=10)
        assert (pruned.tasks, pruned.sends) == (1, 2)
        assert await store.find_send(MINE, b"old") is None
        assert await store.find_send(STRANGERS[0], b"direct") is None
        assert await store.find_send(MINE, b"new") == new
