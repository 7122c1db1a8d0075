"""One application for all conformance tests: real runtime, real bindings, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from greenroom.testing import LoopClock
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage, WatchedRuntime
from tests.support.clock import virtual_backend
from tests.support.servers import in_memory

from .dialects import DIALECTS, Answer, Dialect, Json

__all__ = ["virtual_backend"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test speak its first dialect on both event loops, and the others on asyncio alone.

    `make test-long` runs the rest of the square: what a dialect means is up to no event loop.
    """
    first: dict[tuple[Path, str], object] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.path.is_relative_to(HERE):
            params = item.callspec.params if hasattr(item, "callspec") else {}
            spoken = params.get("dialect")
            on_trio = first.setdefault((item.path, item.originalname), spoken)
            if params.get("virtual_backend") == "trio" and spoken is not on_trio:
                item.add_marker("long")


START = 1_800_000_000.0


@pytest.fixture
def anyio_backend(
    virtual_backend: tuple[str, Mapping[str, Any]],
) -> tuple[str, Mapping[str, Any]]:
    return virtual_backend


@pytest.fixture(params=DIALECTS, ids=str)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Every binding in every version, unless a test names its own."""
    chosen: Dialect = request.param
    return chosen


class Served:
    """The application, its agents, and the requests that tests make most."""

    def __init__(self, app: Application, runtime: WatchedRuntime, stage: Stage) -> None:
        self.app = app
        self.runtime = runtime
        self.stage = stage

    async def send(
        self, dialect: Dialect, text: str = "hi", *, at: str = "", **options: Any
    ) -> Answer:
        return await dialect.call(self.app, "SendMessage", said(text, **options), at=at)

    async def working(self, dialect: Dialect, text: str = "wait") -> Json:
        """Start a task that goes on until ``go`` and return it."""
        answer = await self.send(dialect, text, now=True)
        return answer.task

    async def get(self, dialect: Dialect, task_id: str, **params: Any) -> Json:
        answer = await dialect.call(self.app, "GetTask", {"id": task_id, **params})
        return answer.task

    async def over(self, dialect: Dialect, task_id: str) -> Json:
        """Return the task when it has ended or asks."""
        while True:
            task = await self.get(dialect, task_id)
            if state(task) not in ("SUBMITTED", "WORKING"):
                return task
            await anyio.sleep(0.1)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    stage = Stage()
    runtime = WatchedRuntime(stage, stage.agents, clock=LoopClock(START))
    async with in_memory(runtime=runtime) as server:
        yield Served(server.app, runtime, stage)
        stage.go.set()


def said(
    text: str = "hi",
    *,
    task: str | None = None,
    context: str | None = None,
    now: bool | None = None,
    history: int | None = None,
    **message: Any,
) -> Json:
    """Return the params of a send in the words of 1.0."""
    body: Json = {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
    if task is not None:
        body["taskId"] = task
    if context is not None:
        body["contextId"] = context
    collected: Json = {"message": body | message}
    configuration: Json = {}
    if now is not None:
        configuration["returnImmediately"] = now
    if history is not None:
        configuration["historyLength"] = history
    return collected | ({"configuration": configuration} if configuration else {})


def state(event: Json) -> str:
    """The state that a task or an event of one tells, without its prefix; ``""`` for none."""
    for name in ("task", "statusUpdate"):
        event = event.get(name, event)
    found: str = event.get("status", {}).get("state", "")
    return found.removeprefix("TASK_STATE_")


def text_of(task: Json) -> str:
    """The text of all artifacts."""
    return "".join(part["text"] for one in task.get("artifacts", []) for part in one["parts"])


def kinds(events: list[Json]) -> list[str]:
    """Each event's one member, with its state where it tells one."""
    return [" ".join(filter(None, (*event, state(event)))) for event in events]
