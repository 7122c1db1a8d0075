"""`greenroom.testing`, used as its users do: with pytest, and without."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom import A2AError, Agent, MemoryStore, SQLiteStore, Task, TaskContext, TaskState
from greenroom.protocol.errors import TaskNotCancelableError, TaskNotFoundError
from greenroom.runtime.journal.store import StoreClosedError
from greenroom.testing import run, served, virtual_time

pytestmark = pytest.mark.anyio

agent = Agent("Kit", "For the tests of the test kit.")


@agent.handler
async def act(ctx: TaskContext) -> str | None:
    match ctx.text:
        case "sleep":
            await anyio.sleep(3600)
        case "ask":
            return f"{await ctx.ask('How many?', int) + 1}"
        case "forever":
            await anyio.sleep_forever()
        case text:
            return text
    return None


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_time(request.param)


async def test_an_hour_takes_no_time() -> None:
    async with served(agent) as client:
        began = anyio.current_time()
        task = await client.send("sleep", wait=False)
        assert isinstance(task, Task)
        assert not task.status.state.terminal
        task = await client.wait(task)
        assert task.status.state is TaskState.COMPLETED
        assert anyio.current_time() - began >= 3600


async def test_a_conversation() -> None:
    async with served(agent) as client:
        task = await client.send("ask")
        assert isinstance(task, Task)
        assert task.status.state is TaskState.INPUT_REQUIRED
        task = await client.reply(task, "41")
        assert task.artifacts is not None
        assert task.artifacts[0].text == "42"
        assert [found.id for found in await client.list()] == [task.id]
        assert len((await client.get(task, history=1)).history or ()) == 1


async def test_cancel_subscribe_and_errors() -> None:
    async with served(agent) as client:
        task = await client.send("forever", wait=False)
        assert isinstance(task, Task)
        async with aclosing(client.subscribe(task)) as events:
            assert (await anext(events)).task is not None
            assert (await client.cancel(task)).status.state is TaskState.CANCELED
            states = [e.status_update.status.state async for e in events if e.status_update]
        assert states[-1] is TaskState.CANCELED
        with pytest.raises(TaskNotCancelableError):
            await client.cancel(task)
        with pytest.raises(TaskNotFoundError):
            await client.get("no-such-task")
        with pytest.raises(A2AError):
            await client.send("more", task=task)


async def test_several_agents_and_their_cards() -> None:
    other = Agent("Other", "Answers otherwise.")

    @other.handler
    async def answer(ctx: TaskContext) -> AsyncGenerator[str, None]:
        yield "other"

    async with served(agent, other) as client:
        assert client.card.name == "Kit"
        assert client.of(other).card.name == "Other"
        task = await client.of("other").send("hi")
        assert isinstance(task, Task)
        assert task.artifacts is not None
        assert task.artifacts[0].text == "other"


async def test_a_restart_over_the_same_store_in_memory() -> None:
    store = MemoryStore()
    async with served(agent, store=store) as client:
        asked = await client.send("ask")
        asleep = await client.send("sleep", wait=False)
        assert isinstance(asked, Task)
        assert isinstance(asleep, Task)
    with pytest.raises(StoreClosedError):
        await store.due(now=0.0, limit=1)
    async with served(agent, store=store) as client:
        assert len(await client.list()) == 2
        task = await client.reply(asked, "1")
        assert task.artifacts is not None
        assert task.artifacts[0].text == "2"
        # nothing that it did is on record, and nobody said that it may be done twice
        failed = await client.wait(asleep)
        assert failed.status.state is TaskState.FAILED
        assert failed.status.message is not None
        assert 'on_interrupt="resume"' in failed.status.message.text


def test_run_wants_the_function_itself() -> None:
    async def test(number: int) -> int:
        return number

    assert run(test, 3) == 3
    with pytest.raises(TypeError, match=r"run\(.*test, ...\), not run\(.*test\(...\)\)"):
        run(test(3))  # type: ignore[arg-type]


def test_without_pytest_and_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"

    async def ask() -> str:
        async with served(agent, store=SQLiteStore(path)) as client:
            task = await client.send("ask")
            assert isinstance(task, Task)
            return task.id

    async def answer(task_id: str) -> str:
        async with served(agent, store=SQLiteStore(path)) as client:
            task = await client.reply(task_id, "1")
            assert task.artifacts is not None
            return task.artifacts[0].text

    assert run(answer, run(ask, virtual=False), virtual=False) == "2"
