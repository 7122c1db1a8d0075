"""Clauses of ``tasks``."""

from __future__ import annotations

from ...protocol.types import TaskState
from ...runtime.journal.entries import Header, TaskQuery
from ...runtime.journal.store import Store
from .fixtures import MINE, NOW, STRANGERS, GivenTask, MakeStore, committed, event, message, opened

_STATES = (TaskState.WORKING, TaskState.COMPLETED, TaskState.INPUT_REQUIRED)


async def _given(store: Store, count: int = 12) -> list[Header]:
    """Tasks of several contexts and states, many with the same time; newest first."""
    tasks = [
        GivenTask(
            f"task-{n * 7 % count:03d}",
            context_id=f"context-{n % 2}",
            state=_STATES[n % 3],
            updated_at=NOW + n // 4,
        )
        for n in range(count)
    ]
    await committed(store, *(task.writes(message("a")) for task in tasks))
    return sorted((task.header for task in tasks), key=lambda h: (h.updated_at, h.id), reverse=True)


async def check_tasks_are_listed_newest_first_and_ties_by_id(make: MakeStore) -> None:
    async with opened(make) as store:
        headers = await _given(store)
        page = await store.tasks(TaskQuery(MINE, 100))
        assert list(page.headers) == headers
        assert (page.total, page.more) == (len(headers), False)


async def check_pages_follow_each_other_without_gap_or_repeat(make: MakeStore) -> None:
    async with opened(make) as store:
        headers = await _given(store)
        for limit in (1, 3, 4, 11, 12):
            after: tuple[float, str] | None = None
            seen: list[Header] = []
            while True:
                page = await store.tasks(TaskQuery(MINE, limit, after=after))
                assert len(page.headers) <= limit
                assert page.total == len(headers)
                seen += page.headers
                if not page.more:
                    break
                after = (seen[-1].updated_at, seen[-1].id)
            assert seen == headers


async def check_a_page_is_stable_while_tasks_come_and_move(make: MakeStore) -> None:
    async with opened(make) as store:
        headers = await _given(store)
        first = await store.tasks(TaskQuery(MINE, 5))
        after = (first.headers[-1].updated_at, first.headers[-1].id)
        await committed(
            store,
            *(GivenTask(f"new-{n}", updated_at=NOW + 50).writes(message("a")) for n in range(3)),
        )
        seen_again = GivenTask()
        seen_again.header = first.headers[0]
        await committed(store, seen_again.writes(event("x"), updated_at=NOW + 60))
        rest = await store.tasks(TaskQuery(MINE, 100, after=after))
        assert list(rest.headers) == headers[5:]
        assert rest.total == len(headers) + 3


async def check_filters_narrow_the_page_and_the_total(make: MakeStore) -> None:
    async with opened(make) as store:
        headers = await _given(store)
        for context in (None, "context-0", "context-1", "unknown"):
            for state in (None, *_STATES, TaskState.FAILED):
                for updated_after in (None, NOW - 1, NOW, NOW + 1, NOW + 99):
                    wanted = [
                        header
                        for header in headers
                        if (context is None or header.context_id == context)
                        and (state is None or header.state is state)
                        and (updated_after is None or header.updated_at > updated_after)
                    ]
                    for limit in (1, 100):
                        page = await store.tasks(
                            TaskQuery(MINE, limit, context, state, updated_after)
                        )
                        assert list(page.headers) == wanted[:limit]
                        assert page.total == len(wanted)
                        assert page.more == (len(wanted) > limit)
                    cursor = (headers[4].updated_at, headers[4].id)
                    page = await store.tasks(
                        TaskQuery(MINE, 2, context, state, updated_after, cursor)
                    )
                    later = [h for h in wanted if (h.updated_at, h.id) < cursor]
                    assert list(page.headers) == later[:2]
                    assert (page.total, page.more) == (len(wanted), len(later) > 2)


async def check_a_list_follows_the_status_of_its_tasks(make: MakeStore) -> None:
    old, new = GivenTask("old"), GivenTask("new", updated_at=NOW + 1)
    async with opened(make) as store:
        await committed(store, old.writes(message("a")), new.writes(message("a")))
        await committed(store, old.writes(event("chunk")))
        page = await store.tasks(TaskQuery(MINE, 10))
        assert list(page.headers) == [new.header, old.header]
        await committed(
            store, old.writes(event("done"), state=TaskState.COMPLETED, updated_at=NOW + 2)
        )
        page = await store.tasks(TaskQuery(MINE, 10))
        assert list(page.headers) == [old.header, new.header]
        done = await store.tasks(TaskQuery(MINE, 10, state=TaskState.COMPLETED))
        assert list(done.headers) == [old.header]


async def check_a_list_shows_the_scope_only(make: MakeStore) -> None:
    async with opened(make) as store:
        headers = await _given(store)
        for stranger in STRANGERS:
            page = await store.tasks(TaskQuery(stranger, 10))
            assert (list(page.headers), page.total, page.more) == ([], 0, False)
        theirs = GivenTask("theirs", STRANGERS[0], updated_at=NOW + 9)
        await committed(store, theirs.writes(message("a")))
        mine = await store.tasks(TaskQuery(MINE, 100))
        assert list(mine.headers) == headers
        page = await store.tasks(TaskQuery(STRANGERS[0], 100))
        assert list(page.headers) == [theirs.header]
