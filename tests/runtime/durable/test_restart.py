"""On a file, over a restart: the generation counts on, and what was pruned is said."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.protocol.errors import TaskGenerationMismatchError, UnavailableError
from greenroom.protocol.types import Task
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.stores.sqlite import SQLiteStore
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import Response, request
from tests.support.clock import real_backend
from tests.support.drive import Caller, result, user

__all__ = ["real_backend"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(real_backend: str) -> str:
    return real_backend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def desk() -> Agent:
    agent = Agent("Desk")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        match ctx.text.split():
            case ["count", number]:
                async with ctx.artifact("count") as out:
                    for index in range(int(number)):
                        await out.write(f"{index} ")
                return "counted"
            case _:
                return f"Hello {await ctx.ask('Who are you?')}"

    return agent


def runtime_on(path: Path, **settings: Any) -> Runtime:
    return Runtime(desk(), store=SQLiteStore(path), settings=RuntimeSettings(**settings))


@asynccontextmanager
async def served(path: Path, **settings: Any) -> AsyncIterator[Caller]:
    async with runtime_on(path, **settings) as runtime:
        yield Caller(runtime)


async def test_a_long_poll_goes_on_where_the_last_process_stopped(path: Path) -> None:
    async with served(path) as peer:
        asked = await peer.send("hi")
    async with served(path) as peer, anyio.create_task_group() as group:
        assert asked.generation is not None
        with anyio.fail_after(10):  # what it has not seen is there at once
            assert await peer.get(asked.id, newer_than=asked.generation - 1) == asked
        polled: list[Task] = []
        back = anyio.Event()

        async def poll() -> None:
            polled.append(await peer.get(asked.id, newer_than=asked.generation))
            back.set()

        group.start_soon(poll)
        await anyio.wait_all_tasks_blocked()
        assert not polled
        done = await peer.send("Ada", task=asked.id)
        with anyio.fail_after(10):
            await back.wait()
        assert polled[0].generation is not None
        assert polled[0].generation > asked.generation
        assert done.generation is not None
        with anyio.fail_after(10):  # the task is over: nothing newer will come
            assert (await peer.get(asked.id, newer_than=done.generation)) == done
    async with served(path) as peer:
        with anyio.fail_after(10):
            assert (await peer.get(asked.id, newer_than=done.generation)) == done


async def test_a_long_poll_that_waits_in_vain_gets_the_task_as_it_stands(path: Path) -> None:
    async with served(path) as peer:
        asked = await peer.send("hi")
    async with served(path, long_poll_wait=0.05) as peer:
        with anyio.fail_after(10):
            assert await peer.get(asked.id, newer_than=asked.generation) == asked


async def test_a_message_for_a_generation_is_measured_by_what_was_committed(path: Path) -> None:
    async with served(path) as peer:
        asked = await peer.send("hi")
    assert asked.generation is not None
    async with served(path) as peer:
        for wrong in (asked.generation - 1, asked.generation + 1):
            with pytest.raises(TaskGenerationMismatchError) as caught:
                await peer.send("Eve", task=asked.id, match=wrong)
            assert caught.value.metadata["currentGeneration"] == str(asked.generation)
        assert await peer.get(asked.id) == asked, "a refused message changes nothing"
        answer = user("Ada", task_id=asked.id)
        done = await peer.send(answer, match=asked.generation)
        assert result(done) == "Hello Ada"
    async with served(path) as peer:
        # A repeat is known as one before its generation is looked at: it was right at its time.
        assert await peer.send(answer, match=asked.generation) == done
        texts = [m.text for m in (await peer.get(asked.id)).history or ()]
        assert texts.count("Ada") == 1
        assert "Eve" not in texts


async def test_a_reader_is_told_that_what_it_asks_for_was_pruned(path: Path) -> None:
    async with served(path, tail_events=8) as peer:
        task = await peer.send("count 30")
        short = await peer.send("count 2")
    assert task.generation is not None
    header = [("a2a-version", "1.1")]

    async def resume(app: Application, task_id: str, cursor: int) -> Response:
        fields = [*header, ("last-event-id", str(cursor))]
        return await request(app, "GET", f"/tasks/{task_id}:subscribe", headers=fields)

    app = Application(runtime_on(path, tail_events=8), HttpSettings())
    async with app.lifespan():
        answer = await resume(app, task.id, 5)
        assert [int(e.id or 0) for e in answer.events] == list(range(5, task.generation + 1))
        assert b"no longer kept" not in answer.body
    again = Application(runtime_on(path, tail_events=8, event_retention=0.0), HttpSettings())
    async with again.lifespan():
        runtime = again.runtime
        await runtime.housekeeping.prune()
        answer = await resume(again, task.id, 5)
        assert answer.status == 200
        assert answer.body.startswith(b": the events asked for are no longer kept")
        assert [int(e.id or 0) for e in answer.events] == [task.generation]
        assert await Caller(runtime).get(task.id) == task, "pruning changes nothing that is shown"
        # What was not folded is kept: there a reader still resumes.
        answer = await resume(again, short.id, 2)
        assert int(answer.events[0].id or 0) == 2
        assert b"no longer kept" not in answer.body


async def test_while_the_file_is_locked_sends_are_refused_and_later_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool holds SQLite's own lock: nothing is told that is not in the file."""
    monkeypatch.setattr("greenroom.stores.sqlite.store._BUSY_TIMEOUT", 0.05)
    async with served(path, sweep_every=0.05) as peer:
        asked = await peer.send("hi")
        hello, answer = user("hi"), user("Ada", task_id=asked.id)
        with closing(sqlite3.connect(path, isolation_level=None)) as tool:
            tool.execute("BEGIN IMMEDIATE")
            for message in (hello, answer):
                with pytest.raises(UnavailableError):
                    await peer.send(message)
            assert await peer.get(asked.id) == asked
            assert (await peer.list()).total_size == 1
            tool.execute("ROLLBACK")
        with anyio.fail_after(10):
            assert result(await peer.send(answer)) == "Hello Ada"
            assert (await peer.send(hello)).status.state is TaskState.INPUT_REQUIRED
            assert (await peer.list()).total_size == 2
        texts = [m.text for m in (await peer.get(asked.id)).history or ()]
        assert texts.count("Ada") == 1


class Narrow(SQLiteStore):
    """A database whose values are small: SQLite's own limit is a gigabyte."""

    def _connect_writer(self) -> sqlite3.Connection:
        db = super()._connect_writer()
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        return db


async def test_what_cannot_be_written_fails_alone(path: Path) -> None:
    """The others of its commit are none the worse for it, and the server stays ready."""
    agent = Agent("Desk")
    together: list[str] = []
    met = anyio.Event()

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        await ctx.status("here")
        if not met.is_set():
            together.append(ctx.text)
            if len(together) == 4:
                met.set()
            await met.wait()
        return "x" * (200_000 if ctx.text == "large" else 2)

    async with Runtime(agent, store=Narrow(path)) as runtime:
        peer = Caller(runtime)
        collected: dict[str, str] = {}

        async def send(text: str) -> None:
            try:
                collected[text] = result(await peer.send(text))
            except UnavailableError as error:
                collected[text] = str(error)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for text in ("a", "b", "large", "c"):
                    group.start_soon(send, text)
        assert collected.pop("large").startswith("The store failed")
        assert collected == {"a": "xx", "b": "xx", "c": "xx"}
        assert runtime.ready
