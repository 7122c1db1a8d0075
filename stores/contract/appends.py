"""Clauses of ``append``, ``find_send`` and the life of a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ...protocol.types import TaskState
from ...runtime.journal.entries import (
    COMMITTED,
    LOST,
    Append,
    Kind,
    Outcome,
    Segment,
    TaskQuery,
    Verdict,
)
from ...runtime.journal.store import StoreClosedError
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
    taken,
)


async def check_an_append_returns_what_was_written(make: MakeStore) -> None:
    task = GivenTask(metadata=b'{"a":1}', handler="1.2", blocked="why", attempts=3, node="n1")
    async with opened(make) as store:
        lines = [message("hi"), event("working"), record("step", "/1", 2), event("chunk", "", 3)]
        await committed(store, task.writes(*lines))
        assert await store.header(MINE, "task") == task.header
        loaded = await store.load(MINE, "task")
        assert loaded is not None
        assert list(loaded.entries) == task.entries
        assert [entry.sequence for entry in loaded.entries] == [1, 2, 3, 4]


async def check_every_field_of_the_header_can_change(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("hi")))
        await committed(
            store,
            task.writes(
                event("done"), state=TaskState.COMPLETED, status=b"{}", updated_at=NOW + 1, run=2,
                run_start=2, node="n2", folded=2, floor=1, metadata=b'{"b":2}', handler="2",
                blocked="b", attempts=7,
            ),
        )  # fmt: skip
        assert await store.header(MINE, "task") == task.header


async def check_a_wrong_sequence_is_refused_and_nothing_written(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("one"), event("two")))
        before = await everything(store, MINE, "task")
        for expected in (1, 3, 99):
            right = GivenTask()
            right.header = task.header
            wrong = msgspec.structs.replace(
                right.writes(event("no"), sends=[send(b"k", "task")], state=TaskState.FAILED),
                expected=expected,
            )
            assert await commit(store, wrong) == [LOST]
        assert await everything(store, MINE, "task") == before
        assert await store.find_send(MINE, b"k") is None


async def check_a_stale_epoch_is_refused_and_nothing_written(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("one")))
        assert await taken(store, task.header, "n2") is not None
        before = await everything(store, MINE, "task")
        assert await commit(store, task.writes(event("late"))) == [LOST]
        assert await everything(store, MINE, "task") == before


async def check_an_actor_that_wakes_raises_the_epoch(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("one")))
        asleep = GivenTask()
        asleep.header = task.header
        await committed(store, task.writes(event("awake"), epoch=2, row_epoch=1))
        await committed(store, task.writes(event("on")))
        late = asleep.writes(event("too late"), epoch=2, row_epoch=1)
        assert await commit(store, late) == [LOST]
        assert await store.header(MINE, "task") == task.header


async def check_a_task_is_created_once(make: MakeStore) -> None:
    task, again = GivenTask(), GivenTask(context_id="else")
    async with opened(make) as store:
        await committed(store, task.writes(message("one")))
        assert await commit(store, again.writes(message("two"))) == [LOST]
        assert await store.header(MINE, "task") == task.header
        assert await commit(store, GivenTask("new", sequence=4).writes(event("x"))) == [LOST]
        assert await store.header(MINE, "new") is None


async def check_the_same_id_under_another_owner_is_another_task(make: MakeStore) -> None:
    mine = GivenTask()
    others = [GivenTask(scope=scope) for scope in STRANGERS]
    async with opened(make) as store:
        await committed(store, mine.writes(message("mine")))
        for other in others:
            await committed(store, other.writes(message(repr(other.header.scope)), event("x")))
        for task in (mine, *others):
            loaded = await store.load(task.header.scope, "task")
            assert loaded is not None
            assert loaded.header == task.header
            assert list(loaded.entries) == task.entries


async def check_outcomes_of_a_batch_are_independent(make: MakeStore) -> None:
    async with opened(make) as store:
        known = GivenTask("known")
        await committed(store, known.writes(message("x"), sends=[send(b"old", "known")]))
        tasks = [GivenTask(f"t{n}") for n in range(5)]
        stale = msgspec.structs.replace(known.writes(event("x")), expected=9)
        outcomes = await commit(
            store,
            tasks[0].writes(message("a")),
            stale,
            tasks[1].writes(message("b"), sends=[send(b"old", "t1")]),
            tasks[2].writes(message("c"), sends=[send(b"new", "t2")]),
            tasks[3].writes(message("d"), sends=[send(b"new", "t3")]),
            tasks[2].writes(event("e")),
            Append(sends=[send(b"direct")], scope=MINE),
            tasks[4].writes(message("f")),
        )
        assert outcomes == [
            COMMITTED,
            LOST,
            Outcome(Verdict.DUPLICATE, send(b"old", "known")),
            COMMITTED,
            Outcome(Verdict.DUPLICATE, send(b"new", "t2")),
            COMMITTED,
            COMMITTED,
            COMMITTED,
        ]
        there = [await store.header(MINE, task.header.id) is not None for task in tasks]
        assert there == [True, False, True, False, True]
        assert await store.header(MINE, "t2") == tasks[2].header


async def check_a_batch_may_append_to_one_task_many_times(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(
            store,
            task.writes(message("a")),
            task.writes(event("b"), state=TaskState.WORKING, updated_at=NOW + 1, node="n"),
            task.writes(event("c")),
        )
        await committed(
            store,
            task.writes(event("d")),
            task.writes(event("e"), state=TaskState.COMPLETED, updated_at=NOW + 2, node=""),
            task.writes(),
        )
        assert await store.header(MINE, "task") == task.header
        assert list(await store.journal(MINE, "task")) == task.entries


async def check_an_empty_batch_is_harmless(make: MakeStore) -> None:
    async with opened(make) as store:
        assert await commit(store) == []


async def check_large_batches_and_tasks(make: MakeStore) -> None:
    tasks = [GivenTask(f"t{n}") for n in range(150)]
    async with opened(make) as store:
        await committed(store, *(task.writes(message("a"), event("b")) for task in tasks))
        await committed(store, *(task.writes(event("c")) for task in tasks))
        await committed(store, tasks[7].writes(*(event(str(n)) for n in range(1000))))
        for task in tasks:
            loaded = await store.load(MINE, task.header.id)
            assert loaded is not None
            assert list(loaded.entries) == task.entries


async def check_a_repeated_send_gets_the_first_record(make: MakeStore) -> None:
    first, second = GivenTask("first"), GivenTask("second")
    async with opened(make) as store:
        await committed(store, first.writes(message("a"), sends=[send(b"key", "first")]))
        known = Outcome(Verdict.DUPLICATE, send(b"key", "first"))
        repeat = second.writes(message("a"), sends=[send(b"fresh"), send(b"key", "second")])
        assert await commit(store, repeat) == [known]
        assert await store.header(MINE, "second") is None
        assert await store.find_send(MINE, b"fresh") is None
        assert await commit(store, Append(sends=[send(b"key")], scope=MINE)) == [known]
        assert await store.find_send(MINE, b"key") == send(b"key", "first")


async def check_a_duplicate_is_told_before_a_lost_race(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), sends=[send(b"key", "task")]))
        repeat = GivenTask().writes(message("a"), sends=[send(b"key", "task")])
        assert await commit(store, repeat) == [Outcome(Verdict.DUPLICATE, send(b"key", "task"))]


async def check_a_direct_reply_is_found_by_its_key_and_owner_only(make: MakeStore) -> None:
    async with opened(make) as store:
        await committed(store, Append(sends=[send(b"key"), send(b"\x00\xff")], scope=MINE))
        assert await store.find_send(MINE, b"key") == send(b"key")
        assert await store.find_send(MINE, b"\x00\xff") == send(b"\x00\xff")
        assert await store.find_send(MINE, b"ke") is None
        for stranger in STRANGERS:
            assert await store.find_send(stranger, b"key") is None
            await committed(store, Append(sends=[send(b"key", repr(stranger))], scope=stranger))
            assert await store.find_send(stranger, b"key") == send(b"key", repr(stranger))


async def check_segments_take_the_place_of_events(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("m"), *(event(str(n)) for n in range(5))))
        folds = Segment(2, 4, b"[1]")
        await committed(store, task.writes(event("5"), segment=folds, folded=4))
        await committed(store, task.writes(event("6"), segment=Segment(5, 7, b"[2]"), folded=7))
        snapshot = await store.snapshot(MINE, "task", history=0)
        assert snapshot is not None
        assert list(snapshot.segments) == [b"[1]", b"[2]"]
        assert list(snapshot.events) == task.bodies(Kind.EVENT)[6:]
        loaded = await store.load(MINE, "task")
        assert loaded is not None
        assert list(loaded.tail) == [e for e in task.entries if e.generation > 7]
        assert list(loaded.entries) == task.entries
        page = await store.events(MINE, "task", after=1, limit=100)
        assert page is not None
        assert [body for _, body in page.events] == task.bodies(Kind.EVENT)


async def check_a_raised_floor_deletes_events(make: MakeStore) -> None:
    task, other = GivenTask(), GivenTask("other")
    async with opened(make) as store:
        await committed(store, task.writes(*(event(str(n)) for n in range(5))))
        await committed(store, other.writes(*(event(str(n)) for n in range(5))))
        await committed(store, task.writes(folded=4, floor=4, segment=Segment(2, 4, b"[]")))
        page = await store.events(MINE, "task", after=0, limit=100)
        assert page is not None
        assert page.header.floor == 4
        assert [generation for generation, _ in page.events] == [5, 6]
        assert (await store.events(MINE, "other", after=0, limit=100)) is not None
        untouched = await store.load(MINE, "other")
        assert untouched is not None
        assert list(untouched.entries) == other.entries


async def check_odd_names_and_bodies_come_back_as_they_were(make: MakeStore) -> None:
    odd = [
        "",
        " ",
        "a\x00b",
        "a\x00c",
        "%",
        "'; DROP TABLE task; --",
        "ü",
        "u\u0308",
        "🎭",
        "A",
        "a",
    ]
    async with opened(make) as store:
        tasks = [
            GivenTask(name, MINE._replace(owner=name), context_id=name, metadata=b"\x00\xff")
            for name in odd
        ]
        lines = (message("🎭\x00"), event("\ufeff"), (Kind.RECORD, b"", ("b\x00🎭", 1)))
        await committed(store, *(task.writes(*lines) for task in tasks))
        for task in tasks:
            loaded = await store.load(task.header.scope, task.header.id)
            assert loaded is not None
            assert (loaded.header, list(loaded.entries)) == (task.header, task.entries)


async def check_closing_twice_is_harmless_and_later_calls_fail(make: MakeStore) -> None:
    store = make()
    await store.close()
    store = make()
    await store.open(now=NOW)
    await committed(store, GivenTask().writes(message("a")))
    await store.close()
    await store.close()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: commit(store, GivenTask("new").writes(message("a"))),
        lambda: store.header(MINE, "task"),
        lambda: store.load(MINE, "task"),
        lambda: store.tasks(TaskQuery(MINE, 10)),
        lambda: store.heartbeat("n", now=NOW, lease=1.0),
        lambda: store.due(now=NOW, limit=1),
    ]
    for call in calls:
        try:
            await call()
        except StoreClosedError:
            continue
        raise AssertionError("a closed store answered")
