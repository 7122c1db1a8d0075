"""Clauses of ``header``, ``load``, ``snapshot``, ``events`` and ``messages``."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from ...protocol.types import TaskState
from ...runtime.journal.entries import BORDERS, Kind, Segment, Snapshot
from .fixtures import (
    MINE,
    STRANGERS,
    GivenTask,
    MakeStore,
    committed,
    event,
    everything,
    message,
    opened,
    record,
)


async def check_what_is_not_yours_does_not_exist(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), event("b"), record("c")))
        for stranger in STRANGERS:
            assert not any(await everything(store, stranger, "task"))
        assert not any(await everything(store, MINE, "tas"))
        assert await store.header(MINE, "task") == task.header


async def check_load_gives_the_current_run_and_the_unfolded_tail(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        first = (message("a"), event("b"), record("c"), event("d"), record("e", "/1", 1))
        await committed(store, task.writes(*first))
        second = (message("f"), event("g"), record("h"), event("i"), record("j"))
        await committed(store, task.writes(*second, run=2, run_start=6, folded=2))
        await committed(store, task.writes(event("k"), message("l")))
        loaded = await store.load(MINE, "task")
        assert loaded is not None
        assert loaded.header == task.header
        assert list(loaded.entries) == task.entries[5:]
        assert [entry.body for entry in loaded.tail] == task.bodies(Kind.EVENT)[1:]
        assert list(loaded.tail) == [e for e in task.entries if e.generation > 2]


async def check_load_tells_where_a_log_may_be_cut(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a")))
        for number in range(1, 2 * BORDERS):
            segment = Segment(2 * number, 2 * number + 1, b"[]")
            lines = (event("a"), event("b"))
            await committed(store, task.writes(*lines, segment=segment, folded=2 * number + 1))
        ends = range(3, 4 * BORDERS, 2)
        for floor in (0, 3, 4, 5, 2 * BORDERS, 4 * BORDERS - 3, 4 * BORDERS - 1):
            await committed(store, task.writes(floor=floor))
            loaded = await store.load(MINE, "task")
            assert loaded is not None
            assert list(loaded.borders) == [end for end in ends if end > floor][:BORDERS]
        await committed(store, task.writes(event("c"), state=TaskState.COMPLETED, floor=0))
        loaded = await store.load(MINE, "task")
        assert loaded is not None
        assert list(loaded.borders) == []


async def check_of_a_task_that_is_over_nothing_is_loaded_to_be_run(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("a"), event("b"), record("c"), event("d")))
        await committed(store, task.writes(event("e"), state=TaskState.COMPLETED, folded=2))
        loaded = await store.load(MINE, "task")
        assert loaded is not None
        assert loaded.header == task.header
        assert list(loaded.entries) == []
        assert list(loaded.tail) == [e for e in task.entries if e.generation > 2]
        assert list(await store.journal(MINE, "task")) == task.entries


async def check_a_task_is_read_as_it_was(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(store, task.writes(message("m"), *(event(str(n)) for n in range(4))))
        await committed(store, task.writes(segment=Segment(2, 5, b"[1]"), folded=5))
        await committed(store, task.writes(*(event(str(n)) for n in range(4, 7))))
        await committed(store, task.writes(segment=Segment(6, 8, b"[2]"), folded=8))
        await committed(store, task.writes(event("7"), record("r"), event("8")))
        events = task.bodies(Kind.EVENT)

        async def past(generation: int) -> tuple[list[bytes], list[bytes]] | None:
            snapshot = await store.as_of(MINE, "task", generation)
            if snapshot is None:
                return None
            assert snapshot.header == task.header
            assert list(snapshot.messages) == []
            return list(snapshot.segments), list(snapshot.events)

        folded = {5: [b"[1]"], 8: [b"[1]", b"[2]"]}
        for floor in (0, 5, 7, 8):
            await committed(store, task.writes(floor=floor))
            for generation in range(-1, 13):
                border = max((b for b in folded if b <= generation), default=1)
                known = 1 <= generation <= 10 and border >= floor
                shown = folded.get(border, []), events[border - 1 : generation - 1]
                assert await past(generation) == (shown if known else None)
        assert await store.as_of(MINE, "nobody", 3) is None
        for stranger in STRANGERS:
            assert await store.as_of(stranger, "task", 9) is None


async def check_a_snapshot_shows_the_newest_messages_oldest_first(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        await committed(
            store, task.writes(message("a"), event("b"), message("c"), record("d"), message("e"))
        )
        messages = task.bodies(Kind.MESSAGE)
        for history, shown in ((None, 3), (0, 0), (1, 1), (2, 2), (3, 3), (100, 3)):
            snapshot = await store.snapshot(MINE, "task", history=history)
            assert snapshot is not None
            assert snapshot.header == task.header
            assert list(snapshot.messages) == messages[3 - shown :]
            assert list(snapshot.events) == task.bodies(Kind.EVENT)
        bare = await store.snapshot(MINE, "task", history=1, artifacts=False)
        assert bare is not None
        assert (list(bare.events), list(bare.segments)) == ([], [])
        assert list(bare.messages) == messages[2:]


async def check_a_snapshot_is_of_one_moment(make: MakeStore) -> None:
    task = GivenTask()
    seen: list[Snapshot] = []
    async with opened(make) as store:
        await committed(store, task.writes(event("0")))

        async def write() -> None:
            for number in range(40):
                await committed(store, task.writes(event(str(number)), message(str(number))))
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

        async def read() -> None:
            while True:
                snapshot = await store.snapshot(MINE, "task", history=None)
                assert snapshot is not None
                seen.append(snapshot)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            for _ in range(3):
                group.start_soon(read)
        for snapshot in seen:
            assert snapshot.header.generation == 1 + len(snapshot.events)
            assert snapshot.header.sequence == len(snapshot.events) + len(snapshot.messages)


async def check_events_are_read_from_any_cursor_in_pages(make: MakeStore) -> None:
    task, other = GivenTask(), GivenTask("other")
    async with opened(make) as store:
        await committed(store, other.writes(*(event(f"x{n}") for n in range(3))))
        for n in range(5):
            await committed(store, task.writes(event(str(n)), record(str(n))))
        await committed(store, other.writes(event("y")))
        events = list(enumerate(task.bodies(Kind.EVENT), start=2))
        for after in range(9):
            for limit in (1, 2, 100):
                page = await store.events(MINE, "task", after=after, limit=limit)
                assert page is not None
                assert page.header == task.header
                assert list(page.events) == [e for e in events if e[0] > after][:limit]


async def check_messages_are_read_backwards_in_pages(make: MakeStore) -> None:
    task, other = GivenTask(), GivenTask("other")
    async with opened(make) as store:
        await committed(store, other.writes(message("x")))
        for n in range(4):
            await committed(store, task.writes(event(str(n)), message(str(n))))
        newest_first = [(e.sequence, e.body) for e in task.entries if e.kind is Kind.MESSAGE][::-1]
        for before in (None, 0, 1, 2, 3, 4, 8, 9, 10**12):
            for limit in (1, 2, 100):
                page = await store.messages(MINE, "task", before=before, limit=limit)
                wanted = [m for m in newest_first if before is None or m[0] < before]
                assert list(page) == wanted[:limit]


async def check_messages_are_read_forwards_in_pages(make: MakeStore) -> None:
    task, other = GivenTask(), GivenTask("other")
    async with opened(make) as store:
        await committed(store, other.writes(message("x")))
        for n in range(4):
            await committed(store, task.writes(event(str(n)), message(str(n))))
        await committed(store, other.writes(message("y")))
        oldest_first = [(e.sequence, e.body) for e in task.entries if e.kind is Kind.MESSAGE]
        for after in (-1, 0, 1, 2, 3, 4, 7, 8, 9, 10**12):
            for before in (None, 0, 5, 8, 10**12):
                for limit in (1, 2, 100):
                    page = await store.messages(
                        MINE, "task", after=after, before=before, limit=limit
                    )
                    wanted = [m for m in oldest_first if m[0] > after]
                    wanted = [m for m in wanted if before is None or m[0] < before]
                    assert list(page) == wanted[:limit]


async def check_several_snapshots_are_what_each_is_alone(make: MakeStore) -> None:
    tasks = [GivenTask(f"task-{number}") for number in range(3)]
    async with opened(make) as store:
        for number, task in enumerate(tasks):
            await committed(store, task.writes(message("a"), event("b"), message("c"), record("d")))
            for _ in range(number):
                await committed(store, task.writes(event("e"), message("f")))
        await committed(store, GivenTask("theirs", STRANGERS[0]).writes(message("g")))
        asked = ["task-2", "nobody", "task-0", "theirs", "task-1"]
        for history in (None, 0, 2):
            for artifacts in (True, False):
                snapshots = await store.snapshots(MINE, asked, history=history, artifacts=artifacts)
                alone = [
                    await store.snapshot(MINE, name, history=history, artifacts=artifacts)
                    for name in ("task-2", "task-0", "task-1")
                ]
                assert list(snapshots) == alone
        assert not await store.snapshots(MINE, [], history=None)


async def check_several_snapshots_are_of_one_moment(make: MakeStore) -> None:
    first, second = GivenTask("first"), GivenTask("second")
    seen: list[Sequence[Snapshot]] = []
    async with opened(make) as store:
        await committed(store, first.writes(event("0")), second.writes(event("0")))

        async def write() -> None:
            for number in range(40):
                for task in (first, second):
                    await committed(store, task.writes(event(str(number))))
                    await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

        async def read() -> None:
            while True:
                seen.append(await store.snapshots(MINE, ["first", "second"], history=0))
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            group.start_soon(read)
    for one, two in seen:
        assert one.header.generation - two.header.generation in (0, 1)


async def check_what_was_appended_is_read_at_once(make: MakeStore) -> None:
    task = GivenTask()
    async with opened(make) as store:
        for number in range(30):
            await committed(store, task.writes(event(str(number))))
            assert await store.header(MINE, "task") == task.header


async def check_tools_find_every_scope_and_the_whole_journal(make: MakeStore) -> None:
    task, theirs = GivenTask(), GivenTask(scope=STRANGERS[0])
    async with opened(make) as store:
        assert list(await store.scopes()) == []
        await committed(store, task.writes(message("a"), record("b", "/1", 1), event("c")))
        await committed(store, theirs.writes(message("a")))
        await committed(store, task.writes(message("d"), event("e"), run=2, run_start=4))
        assert set(await store.scopes()) == {MINE, STRANGERS[0]}
        assert list(await store.journal(MINE, task.header.id)) == task.entries
        assert list(await store.journal(STRANGERS[1], task.header.id)) == []
        assert list(await store.journal(MINE, "nobody")) == []


async def check_tools_find_tasks_by_the_beginning_of_their_ids(make: MakeStore) -> None:
    ids = ("a", "ab", "abc", "abd", "b", "Ab", "a%", "a\u00e9")
    mine = [GivenTask(task_id) for task_id in ids]
    theirs = [GivenTask(task_id, scope) for scope in STRANGERS for task_id in ("ab", "xy")]
    async with opened(make) as store:
        await committed(store, *(task.writes(message("a")) for task in (*mine, *theirs)))
        headers = [task.header for task in (*mine, *theirs)]
        for beginning in ("", "a", "ab", "abc", "abcd", "a%", "A", "_", "x"):
            expected = sorted(
                (header for header in headers if header.id.startswith(beginning)),
                key=lambda header: (header.id, header.scope),
            )
            assert list(await store.find(beginning, limit=100)) == expected
            assert list(await store.find(beginning, limit=2)) == expected[:2]
