"""GetTask, ListTasks, long-polls, and who sees what (sections 3.1.3, 3.1.4; 3.2.7 of 1.1)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from greenroom import Agent, InputRequired, TaskContext, TaskState
from greenroom.protocol.errors import A2AError, InvalidParamsError, TaskNotFoundError
from greenroom.runtime.call import Principal
from greenroom.stores.memory import MemoryStore
from tests.support.drive import Caller, result, running, said, settle

pytestmark = pytest.mark.anyio


def turns() -> Agent:
    agent = Agent("Turns")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        match ctx.text.split():
            case ["wait", seconds]:
                await anyio.sleep(float(seconds))
                return "waited"
            case ["done"]:
                return "done"
            case ["reject"]:
                await ctx.reject("no")
        return InputRequired("more?")

    return agent


# --- GetTask --------------------------------------------------------------------------------------


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 5), (0, 0), (1, 1), (3, 3), (100, 5)],
)
async def test_history_is_the_newest_messages_oldest_first(
    limit: int | None, expected: int, asleep: bool
) -> None:
    everything = ["a", "more?", "b", "more?", "done"]
    async with running(turns(), idle=60.0) as peer:
        task = await peer.send("a")
        await peer.send("b", task=task.id)
        if asleep:
            await anyio.sleep(200.0)
            assert peer.runtime.statistics()["actors"] == 0
        shown = await peer.send("done", task=task.id, history=limit)
        for found in (shown, await peer.get(task.id, history=limit)):
            heard = [message.text for message in found.history or []]
            assert heard == everything[5 - expected :]


async def test_history_of_a_long_task() -> None:
    async with running(turns()) as peer:
        task = await peer.send("a")
        for index in range(60):
            await peer.send(f"m{index}", task=task.id, history=0)
        current = await peer.get(task.id, history=3)
        assert [m.text for m in current.history or []] == ["m58", "more?", "m59"]
        assert len((await peer.get(task.id)).history or []) == 121


async def test_the_server_may_bound_what_history_shows_by_default() -> None:
    async with running(turns(), history_limit=2) as peer:
        task = await peer.send("a")
        task = await peer.send("b", task=task.id)
        assert [m.text for m in task.history or []] == ["more?", "b"]
        assert len((await peer.get(task.id)).history or []) == 2
        assert len((await peer.get(task.id, history=3)).history or []) == 3


async def test_generation_is_shown_under_1_1_only() -> None:
    async with running(turns()) as peer:
        task = await peer.send("done")
        assert task.generation == 4
        old = Caller(peer.runtime, version="1.0")
        assert (await old.get(task.id)).generation == 0
        assert (await old.send("done")).generation == 0
        assert (await old.list()).tasks[0].generation == 0


# --- long-polls -----------------------------------------------------------------------------------


async def test_a_long_poll_waits_for_something_newer() -> None:
    async with running(turns()) as peer:
        task = await peer.send("wait 10", now=True)
        await settle()
        present = await peer.get(task.id)
        began = anyio.current_time()
        assert await peer.get(task.id, newer_than=present.generation - 1) == present
        assert anyio.current_time() == began
        newer = await peer.get(task.id, newer_than=present.generation)
        assert newer.generation > present.generation
        assert anyio.current_time() == pytest.approx(began + 10.0)


async def test_a_long_poll_is_held_only_so_long() -> None:
    async with running(turns(), long_poll_wait=60.0) as peer:
        task = await peer.send("a")
        began = anyio.current_time()
        assert await peer.get(task.id, newer_than=task.generation) == task
        assert anyio.current_time() == pytest.approx(began + 60.0)


async def test_a_long_poll_on_a_finished_task_answers_at_once() -> None:
    async with running(turns()) as peer:
        task = await peer.send("done")
        began = anyio.current_time()
        assert await peer.get(task.id, newer_than=99) == task
        assert anyio.current_time() == began
        with pytest.raises(TaskNotFoundError):
            await peer.get("nowhere", newer_than=1)


async def test_a_long_poll_outlives_the_idle_time() -> None:
    async with running(turns(), long_poll_wait=1000.0, idle=10.0) as peer:
        task = await peer.send("a")
        async with anyio.create_task_group() as group:

            async def poll() -> None:
                current = await peer.get(task.id, newer_than=task.generation)
                assert current.generation > task.generation

            group.start_soon(poll)
            await anyio.sleep(100.0)
            await peer.send("done", task=task.id)


# --- ListTasks ------------------------------------------------------------------------------------


async def test_pages_show_every_task_once_newest_first() -> None:
    async with running(turns()) as peer:
        made = []
        for _ in range(25):
            made.append((await peer.send("a")).id)
            await anyio.sleep(1.0)
        seen: list[str] = []
        token = ""
        while True:
            page = await peer.list(page_size=7, page_token=token or None)
            assert page.total_size >= 25
            assert page.page_size == 7
            seen += [task.id for task in page.tasks]
            token = page.next_page_token
            if not token:
                break
            await peer.send("a")  # a newer one disturbs nobody
        assert seen == made[::-1]


async def test_tasks_that_changed_at_the_same_moment_are_paged_too() -> None:
    async with running(turns()) as peer:
        made = {(await peer.send("a")).id for _ in range(10)}
        first = await peer.list(page_size=4)
        second = await peer.list(page_size=4, page_token=first.next_page_token)
        third = await peer.list(page_size=4, page_token=second.next_page_token)
        seen = [task.id for page in (first, second, third) for task in page.tasks]
        assert len(seen) == 10
        assert set(seen) == made
        assert third.next_page_token == ""


async def test_filters() -> None:
    async with running(turns()) as peer:
        one = await peer.send("a", context="x")
        two = await peer.send("done", context="x")
        await anyio.sleep(10.0)
        three = await peer.send("reject", context="y")

        async def ids(**filters: Any) -> set[str]:
            found = await peer.list(**filters)
            assert found.total_size == len(found.tasks)
            return {task.id for task in found.tasks}

        assert await ids() == {one.id, two.id, three.id}
        assert await ids(context_id="x") == {one.id, two.id}
        assert await ids(status=TaskState.COMPLETED) == {two.id}
        assert await ids(context_id="x", status=TaskState.REJECTED) == set()
        # at that time or after it, as the proto file says
        assert two.id in await ids(status_timestamp_after=two.status.timestamp)
        after = three.status.timestamp
        assert await ids(status_timestamp_after=after) == {three.id}
        assert await ids(context_id="x", status_timestamp_after=after) == set()


async def test_artifacts_and_history_are_listed_when_asked_for() -> None:
    async with running(turns()) as peer:
        await peer.send("a")
        await peer.send("done")
        for task in (await peer.list()).tasks:
            assert task.artifacts is None
            assert task.history is None
        newest, other = (await peer.list(include_artifacts=True, history_length=1)).tasks
        if newest.status.state is not TaskState.COMPLETED:
            newest, other = other, newest
        assert result(newest) == "done"
        assert other.artifacts == []
        assert len(newest.history or []) == 1
        assert said(other) == "more?"


async def test_a_page_with_artifacts_and_history_is_read_at_once() -> None:
    reads: list[str] = []

    class CountingStore(MemoryStore):
        async def snapshot(self, *args: Any, **options: Any) -> Any:
            reads.append("snapshot")
            return await super().snapshot(*args, **options)

        async def snapshots(self, *args: Any, **options: Any) -> Any:
            reads.append("snapshots")
            return await super().snapshots(*args, **options)

    async with running(turns(), store=CountingStore()) as peer:
        made = [(await peer.send("done")).id for _ in range(10)]
        reads.clear()
        tasks = (await peer.list(include_artifacts=True, history_length=1, page_size=8)).tasks
        assert reads == ["snapshots"]
        assert {task.id for task in tasks} < set(made)
        assert [result(task) for task in tasks] == ["done"] * 8


@pytest.mark.parametrize("size", [0, -1, 101])
async def test_page_sizes_have_bounds(size: int) -> None:
    async with running(turns()) as peer:
        with pytest.raises(InvalidParamsError) as caught:
            await peer.list(page_size=size)
        assert caught.value.violations[0][0] == "pageSize"


@pytest.mark.parametrize("token", ["x", "AAAA", "WzEsMiwzXQ", "é"])
async def test_a_foreign_page_token_is_refused(token: str) -> None:
    async with running(turns()) as peer:
        with pytest.raises(InvalidParamsError, match="pageToken"):
            await peer.list(page_token=token)


async def test_a_page_token_is_for_the_filters_it_was_given_for() -> None:
    async with running(turns()) as peer:
        for _ in range(3):
            await peer.send("a", context="x")
        page = await peer.list(page_size=1, context_id="x")
        with pytest.raises(InvalidParamsError, match="pageToken"):
            await peer.list(page_size=1, page_token=page.next_page_token)
        assert (
            len(
                (
                    await peer.list(page_size=2, context_id="x", page_token=page.next_page_token)
                ).tasks
            )
            == 2
        )


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01T00:00:00Z"])
async def test_a_wrong_time_is_refused(when: str) -> None:
    async with running(turns()) as peer:
        with pytest.raises(InvalidParamsError, match="RFC 3339"):
            await peer.list(status_timestamp_after=when)


# --- whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("asleep", [False, True])
async def test_what_is_not_yours_does_not_exist(asleep: bool) -> None:
    other_agent = turns()
    other_agent.slug = "other"
    async with running(turns(), other_agent, idle=60.0) as peer:
        ann = Caller(peer.runtime, principal=Principal("ann"))
        strangers = [
            Caller(peer.runtime, principal=Principal("bob")),
            Caller(peer.runtime, principal=Principal("ann", tenant="elsewhere")),
            Caller(peer.runtime, principal=Principal("ann"), agent="other"),
            Caller(peer.runtime),
        ]
        task = await ann.send("a", context="shared")
        if asleep:
            await anyio.sleep(200.0)
        for stranger in strangers:
            for attempt in (
                stranger.get(task.id),
                stranger.get(task.id, newer_than=99),
                stranger.cancel(task.id),
                stranger.answer("b", task=task.id),
                stranger.subscribe(task.id),
                stranger.subscribe(task.id, after=1),
            ):
                with pytest.raises(TaskNotFoundError):
                    await attempt
            assert (await stranger.list()).total_size == 0
            assert (await stranger.list(context_id="shared")).total_size == 0
        assert await ann.get(task.id) == task


async def test_a_runtime_that_was_not_started_says_so() -> None:
    from greenroom.runtime.runtime import Runtime
    from greenroom.stores.memory import MemoryStore

    peer = Caller(Runtime(turns(), store=MemoryStore()))
    with pytest.raises(A2AError, match="not been started"):
        await peer.get("x")
