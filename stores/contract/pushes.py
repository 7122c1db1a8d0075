"""Clauses of push configurations."""

from __future__ import annotations

from msgspec.structs import replace

from ...protocol.types import TaskState
from ...runtime.call import TaskScope
from ...runtime.journal.entries import PushLimits, PushRow
from .fixtures import (
    MINE,
    NOW,
    STRANGERS,
    GivenTask,
    MakeStore,
    commit,
    committed,
    event,
    message,
    opened,
)

LIMITS = PushLimits(per_task=2, per_owner=3)


def given(push_id: str = "one", task_id: str = "task", scope: TaskScope = MINE) -> PushRow:
    return PushRow(scope, task_id, push_id, NOW, b"where", generation=1)


async def check_push_configurations_are_kept_in_order(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a")))
        for name in ("b", "a"):
            assert await store.put_push(given(name)) == given(name)
        assert list(await store.pushes(MINE, "task")) == [given("b"), given("a")]
        assert await store.push(MINE, "task", "a") == given("a")
        assert await store.push(MINE, "task", "c") is None
        assert await store.push(MINE, "other", "a") is None
        assert await store.put_push(given(task_id="nobody")) is None


async def check_push_configurations_of_others_do_not_exist(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a")))
        await store.put_push(given())
        for scope in STRANGERS:
            assert await store.push(scope, "task", "one") is None
            assert list(await store.pushes(scope, "task")) == []
            assert not await store.delete_push(scope, "task", "one")
            assert await store.put_push(given(scope=scope)) is None
            assert list(await store.save_pushes([given(scope=scope)])) == [False]
        assert await store.push(MINE, "task", "one") == given()


async def check_a_push_configuration_put_again_keeps_its_cursor(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a")))
        await store.put_push(given())
        moved = replace(given(), generation=7, health=b"{1}", due_at=NOW + 9, open=False)
        assert list(await store.save_pushes([moved])) == [True]
        again = replace(given(), config=b"elsewhere", created_at=NOW + 5, due_at=NOW, generation=9)
        expected = replace(again, created_at=NOW, generation=7, revision=3)
        assert await store.put_push(again) == expected
        assert await store.push(MINE, "task", "one") == expected


async def check_push_configurations_change_by_revision(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a")))
        first, second = given(), given("two")
        for row in (first, second):
            await store.put_push(row)
        ahead = replace(first, generation=2)
        assert list(await store.save_pushes([ahead, replace(second, revision=9)])) == [True, False]
        assert list(await store.save_pushes([replace(first, generation=3)])) == [False]
        assert await store.push(MINE, "task", "one") == replace(ahead, revision=2)
        assert await store.push(MINE, "task", "two") == second
        assert list(await store.save_pushes([given("none")])) == [False]


async def check_push_configurations_are_deleted_once(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a")))
        await store.put_push(given())
        assert await store.delete_push(MINE, "task", "one")
        assert not await store.delete_push(MINE, "task", "one")
        assert list(await store.pushes(MINE, "task")) == []


async def check_push_configurations_have_limits(make: MakeStore) -> None:
    async with opened(make) as store:
        for name in ("task", "other", "third"):
            await committed(store, GivenTask(name).writes(message("a")))
        assert await store.put_push(given("a"), limits=LIMITS) is not None
        assert await store.put_push(given("b"), limits=LIMITS) is not None
        assert await store.put_push(given("c"), limits=LIMITS) is None
        assert await store.put_push(given("b"), limits=LIMITS) is not None
        assert await store.put_push(given("a", "other"), limits=LIMITS) is not None
        assert await store.put_push(given("a", "third"), limits=LIMITS) is None
        assert list(await store.pushes(MINE, "third")) == []
        assert len(await store.pushes(MINE, "task")) == 2


async def check_a_push_configuration_commits_with_its_append(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, replace(task.writes(message("a")), pushes=[given()]))
        assert list(await store.pushes(MINE, "task")) == [given()]
        stale = replace(GivenTask(sequence=9).writes(event("b")), pushes=[given("two")])
        await commit(store, stale)
        assert list(await store.pushes(MINE, "task")) == [given()]


async def check_due_push_configurations_come_earliest_first(make: MakeStore) -> None:
    task, theirs = GivenTask(), GivenTask(scope=STRANGERS[1])
    async with opened(make) as store:
        await committed(store, task.writes(message("a")), theirs.writes(message("a")))
        late, soon = replace(given("late"), due_at=NOW + 2), replace(given("soon"), due_at=NOW + 1)
        closed = replace(given("closed"), due_at=NOW, open=False)
        others = replace(given(scope=STRANGERS[1]), due_at=NOW)
        for row in (late, soon, closed, given("idle"), others):
            await store.put_push(row)
        assert list(await store.due_pushes(now=NOW - 1, limit=9)) == []
        assert list(await store.due_pushes(now=NOW + 2, limit=9)) == [others, soon, late]
        mine = await store.due_pushes(now=NOW + 2, limit=1, agents=(MINE.agent,))
        assert list(mine) == [soon]


async def check_open_push_configurations_tell_of_their_tasks(make: MakeStore) -> None:
    task, over = GivenTask(), GivenTask("over", state=TaskState.COMPLETED)
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), event("b")), over.writes(message("a")))
        closed = replace(given("closed"), open=False)
        for row in (given(), closed, given("two", "over")):
            await store.put_push(row)
        first, last = await store.open_pushes(limit=9)
        assert (first.row, first.generation, first.over) == (given(), 2, False)
        assert (last.row, last.generation, last.over) == (given("two", "over"), 1, True)
        assert first.updated_at == NOW
        assert list(await store.open_pushes(limit=1)) == [first]
        assert list(await store.open_pushes(limit=9, after=first.number)) == [last]
        assert list(await store.open_pushes(limit=9, agents=())) == []
        everyone = [pending.row for pending in await store.all_pushes(limit=9)]
        assert everyone == [given(), closed, given("two", "over")]


async def check_push_configurations_go_with_their_task(make: MakeStore) -> None:
    over = GivenTask(state=TaskState.COMPLETED)
    async with opened(make) as store:
        await committed(store, over.writes(message("a")))
        await store.put_push(given())
        assert await store.delete_task(MINE, "task") is not None
        await committed(store, GivenTask().writes(message("a")))
        assert list(await store.pushes(MINE, "task")) == []
        assert list(await store.all_pushes(limit=9)) == []


async def check_a_push_configuration_keeps_its_task_until_it_is_told(make: MakeStore) -> None:
    over = GivenTask(state=TaskState.COMPLETED)
    old = {"tasks_before": NOW + 9, "sends_before": 0.0, "contexts_before": NOW + 9}
    async with opened(make) as store:
        await committed(store, over.writes(message("a"), event("b")))
        await store.put_push(given())
        pruned = await store.prune(limit=9, **old)
        assert (pruned.tasks, pruned.contexts) == (0, ())
        assert await store.header(MINE, "task") is not None
        await store.save_pushes([replace(given(), generation=2)])
        pruned = await store.prune(limit=9, **old)
        assert pruned.tasks + len(pruned.contexts) == 1
        assert await store.header(MINE, "task") is None
        assert list(await store.all_pushes(limit=9)) == []
