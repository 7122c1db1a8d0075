"""Clauses of ``contexts``, ``context`` and ``sends``, and of what is pruned beside whole tasks."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ...protocol.types import TaskState
from ...runtime.journal.entries import Append, Context, Gone, Pruned, Segment, TaskQuery
from .fixtures import (
    MINE,
    NOW,
    STRANGERS,
    GivenTask,
    MakeStore,
    committed,
    event,
    everything,
    message,
    opened,
    send,
)

_DONE, _WAITS = TaskState.COMPLETED, TaskState.INPUT_REQUIRED


async def check_contexts_are_what_their_tasks_say(make: MakeStore) -> None:
    async with opened(make) as store:
        assert list(await store.contexts(MINE, limit=10)) == []
        old = GivenTask("old", context_id="b", state=_WAITS)
        tasks = [
            old,
            GivenTask("new", context_id="b", state=_DONE, created_at=NOW + 1, updated_at=NOW + 3),
            GivenTask("a", context_id="a", state=_DONE, updated_at=NOW + 2),
            GivenTask("theirs", STRANGERS[0], context_id="b", updated_at=NOW + 9),
        ]
        await committed(store, *(task.writes(message("a")) for task in tasks))
        first, second = Context("b", NOW, NOW + 3, 2, 1), Context("a", NOW, NOW + 2, 1, 0)
        assert list(await store.contexts(MINE, limit=10)) == [first, second]
        assert await store.context(MINE, "b") == first
        assert await store.context(MINE, "unknown") is None
        assert await store.context(STRANGERS[1], "b") is None
        assert await store.context(STRANGERS[0], "b") == Context("b", NOW, NOW + 9, 1, 1)
        await committed(store, old.writes(event("end"), state=_DONE, updated_at=NOW + 4))
        assert await store.context(MINE, "b") == Context("b", NOW, NOW + 4, 2, 0)


async def check_pages_of_contexts_follow_each_other(make: MakeStore) -> None:
    async with opened(make) as store:
        tasks = [
            GivenTask(f"t{n}", context_id=f"c{n % 5}", updated_at=NOW + n // 4) for n in range(10)
        ]
        await committed(store, *(task.writes(message("a")) for task in tasks))
        every = list(await store.contexts(MINE, limit=10))
        assert len(every) == 5
        keys = [(context.active_at, context.id) for context in every]
        assert keys == sorted(keys, reverse=True)
        for limit in (1, 2, 5):
            seen: list[Context] = []
            after: tuple[float, str] | None = None
            while page := await store.contexts(MINE, limit=limit, after=after):
                assert len(page) <= limit
                seen += page
                after = (seen[-1].active_at, seen[-1].id)
            assert seen == every


async def check_an_outdated_context_goes_with_its_tasks_but_never_with_a_live_one(
    make: MakeStore,
) -> None:
    async with opened(make) as store:
        tasks = [
            GivenTask("gone-1", context_id="gone", state=_DONE),
            GivenTask("gone-2", context_id="gone", state=_DONE, updated_at=NOW + 1),
            GivenTask("young", context_id="young", state=_DONE, updated_at=NOW + 2),
            GivenTask("old", context_id="young", state=_DONE),
            GivenTask("waits", context_id="waits", state=_WAITS),
            GivenTask("done", context_id="waits", state=_DONE),
            GivenTask("theirs", STRANGERS[0], context_id="waits", state=_DONE),
        ]
        for task in tasks:
            await committed(store, task.writes(message("a"), sends=[send(task.header.id.encode())]))
        pruned = await store.prune(
            tasks_before=0, sends_before=0, contexts_before=NOW + 2, limit=10
        )
        assert replace(pruned, contexts=()) == Pruned()
        assert sorted(pruned.contexts, key=lambda gone: gone.context.id) == [
            Gone(MINE, Context("gone", NOW, NOW + 1, 2, 0), expired=True),
            Gone(STRANGERS[0], Context("waits", NOW, NOW, 1, 0), expired=True),
        ]
        left = (await store.tasks(TaskQuery(MINE, 10))).headers
        assert {header.id for header in left} == {"young", "old", "waits", "done"}
        assert await store.load(MINE, "gone-1") is None
        assert (await store.tasks(TaskQuery(STRANGERS[0], 10))).total == 0
        # A late repeat is still known as one.
        assert await store.find_send(MINE, b"gone-1") is not None


async def check_not_more_contexts_go_than_asked(make: MakeStore) -> None:
    async with opened(make) as store:
        tasks = [GivenTask(f"t{n}", context_id=f"c{n}", state=_DONE) for n in range(5)]
        await committed(store, *(task.writes(message("a")) for task in tasks))
        for count in (2, 2, 1, 0):
            pruned = await store.prune(
                tasks_before=0, sends_before=0, contexts_before=NOW + 1, limit=2
            )
            assert (len(pruned.contexts), pruned.tasks) == (count, 0)


async def check_a_touched_context_is_active_and_a_pinned_one_stays(make: MakeStore) -> None:
    async with opened(make) as store:
        for name in ("touched", "pinned", "plain"):
            task = GivenTask(name, context_id=name, state=_DONE)
            await committed(store, task.writes(message("a")))
        theirs = GivenTask("theirs", STRANGERS[0], context_id="pinned", state=_DONE)
        await committed(store, theirs.writes(message("a")))
        assert not await store.mark_context(MINE, "nothing", pinned=True)
        assert not await store.mark_context(STRANGERS[1], "pinned", pinned=True)
        assert await store.mark_context(MINE, "touched", touched_at=NOW + 5)
        assert await store.mark_context(MINE, "touched", touched_at=NOW + 4), "it only grows"
        assert await store.mark_context(MINE, "pinned", pinned=True)
        assert await store.mark_context(MINE, "pinned", touched_at=NOW - 1)
        pinned = Context("pinned", NOW, NOW, 1, 0, pinned=True)
        touched = Context("touched", NOW, NOW + 5, 1, 0)
        plain = Context("plain", NOW, NOW, 1, 0)
        assert list(await store.contexts(MINE, limit=9)) == [touched, plain, pinned]
        quiet = await store.quiet_contexts(after=NOW - 1, until=NOW)
        assert sorted(quiet, key=lambda item: (item[0], item[1].id)) == [
            (MINE, pinned), (MINE, plain), (STRANGERS[0], replace(pinned, pinned=False)),
        ]  # fmt: skip
        assert list(await store.quiet_contexts(after=NOW, until=NOW + 5)) == [(MINE, touched)]

        pruned = await store.prune(tasks_before=0, sends_before=0, contexts_before=NOW + 5, limit=9)
        assert {(gone.scope, gone.context.id) for gone in pruned.contexts} == {
            (MINE, "plain"), (STRANGERS[0], "pinned"),
        }  # fmt: skip
        # Its tasks stay by themselves too, for without them it would be gone.
        pruned = await store.prune(tasks_before=NOW + 9, sends_before=0, limit=9)
        assert pruned == Pruned(1, contexts=(Gone(MINE, touched, expired=False),))
        assert await store.mark_context(MINE, "pinned", pinned=False)
        pruned = await store.prune(tasks_before=NOW + 9, sends_before=0, limit=9)
        assert pruned.tasks == 1
        # What was marked is forgotten with it.
        again = GivenTask("again", context_id="touched", state=_DONE)
        await committed(store, again.writes(message("a")))
        assert await store.context(MINE, "touched") == replace(touched, active_at=NOW)


async def check_a_context_is_deleted_whole_or_not_at_all(make: MakeStore) -> None:
    tasks = [
        GivenTask("a-1", context_id="a", state=_DONE),
        GivenTask("a-2", context_id="a", state=_DONE),
        GivenTask("b-1", context_id="b", state=_DONE),
        GivenTask("b-2", context_id="b", state=_WAITS),
        GivenTask("theirs", STRANGERS[0], context_id="a", state=_DONE),
    ]
    async with opened(make) as store:
        for task in tasks:
            await committed(store, task.writes(message("a"), sends=[send(task.header.id.encode())]))
        assert await store.mark_context(MINE, "a", pinned=True)
        before = [await everything(store, t.header.scope, t.header.id) for t in tasks[2:]]
        assert await store.delete_context(MINE, "nothing") is None
        assert await store.delete_context(STRANGERS[1], "a") is None
        assert await store.delete_context(MINE, "b") == Context("b", NOW, NOW, 2, 1)
        assert await store.delete_context(MINE, "a") == Context("a", NOW, NOW, 2, 0, pinned=True)
        assert await store.context(MINE, "a") is None
        assert await store.load(MINE, "a-1") is None
        assert await store.find_send(MINE, b"a-1") is not None
        after = [await everything(store, t.header.scope, t.header.id) for t in tasks[2:]]
        assert after == before


async def check_only_a_task_that_is_over_is_deleted(make: MakeStore) -> None:
    over, waits = GivenTask("over", state=_DONE), GivenTask("waits", state=_WAITS)
    async with opened(make) as store:
        for task in (over, waits):
            lines = (message("a"), event("b"))
            await committed(store, task.writes(*lines, sends=[send(task.header.id.encode())]))
        before = await everything(store, MINE, "waits")
        assert await store.delete_task(MINE, "nobody") is None
        assert await store.delete_task(STRANGERS[0], "over") is None
        assert await store.delete_task(MINE, "waits") == waits.header
        assert await store.delete_task(MINE, "over") == over.header
        assert await everything(store, MINE, "waits") == before
        assert not any(await everything(store, MINE, "over"))
        assert await store.find_send(MINE, b"over") is not None
        assert await store.context(MINE, "context") == Context("context", NOW, NOW, 1, 1)


async def check_sends_are_found_by_how_their_keys_begin(make: MakeStore) -> None:
    async with opened(make) as store:
        keys = [b"ab2", b"ab", b"a", b"b", b"ab1", b"ab\xff\xff", b"ac", b"\xff\xff\xff"]
        sends = {key: send(key, "task" if len(key) == 2 else "") for key in keys}
        for each in sends.values():
            await committed(store, Append(sends=[each], scope=MINE))
        for begin in (b"ab", b"a", b"\xff", b"ab1", b"x", b"ab\xff"):
            wanted = [each for key, each in sends.items() if key.startswith(begin)]
            assert list(await store.sends(MINE, begin)) == wanted
            for stranger in STRANGERS:
                assert list(await store.sends(stranger, begin)) == []


async def check_events_of_old_finished_tasks_go_once_they_are_folded(make: MakeStore) -> None:
    def given(task_id: str, **fields: Any) -> GivenTask:
        return GivenTask(task_id, **{"state": _DONE, **fields})

    gone = given("gone")
    kept = [given("young", updated_at=NOW + 5), given("waits", state=_WAITS)]
    small = given("small")
    async with opened(make) as store:
        for task in (gone, *kept):
            segment = Segment(2, 3, b"[]")
            lines = [message("a"), *(event(f"{n}") for n in range(4))]
            await committed(store, task.writes(*lines, folded=3, segment=segment))
        await committed(store, small.writes(message("a"), event("b")))
        before = [await everything(store, MINE, t.header.id) for t in (*kept, small)]
        shown = await store.snapshot(MINE, "gone", history=None)
        assert shown is not None

        async def prune() -> Pruned:
            return await store.prune(
                tasks_before=0, sends_before=0, events_before=NOW + 5, limit=10
            )

        assert await prune() == Pruned(logs=1)
        after = await store.snapshot(MINE, "gone", history=None)
        assert after is not None
        assert after.header == replace(shown.header, floor=3)
        assert replace(after, header=shown.header) == shown, "what it shows does not change"
        page = await store.events(MINE, "gone", after=0, limit=10)
        assert page is not None
        assert [generation for generation, _ in page.events] == [4, 5]
        assert [await everything(store, MINE, t.header.id) for t in (*kept, small)] == before
        assert await prune() == Pruned()
