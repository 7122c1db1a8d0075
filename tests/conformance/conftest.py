"""One application for all conformance tests: real runtime, real bindings, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from greenroom import Agent, Artifact, Message, Part, Role, TaskContext
from greenroom.protocol.operations import Operation
from greenroom.protocol.types import AgentExtension
from greenroom.runtime.call import Call
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock
from greenroom.transports.http.asgi import Application
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
EXTENSION = "https://example.com/extensions/receipts/v1"


@pytest.fixture
def anyio_backend(
    virtual_backend: tuple[str, Mapping[str, Any]],
) -> tuple[str, Mapping[str, Any]]:
    return virtual_backend


@pytest.fixture(params=DIALECTS, ids=str)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Every binding in every version, unless a test names its own."""
    found: Dialect = request.param
    return found


class Stage:
    """Agents that do what the first word of their message says, as far as ``go`` lets them."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.agent = Agent("Stage", description="Does what it is told.")
        self.agent.handler(self._do)
        self.direct = Agent("Direct", description="Answers with a message.", slug="direct")
        self.direct.handler(self._direct)
        self.quiet = Agent("Quiet", description="Does not stream.", slug="quiet", streaming=False)
        self.quiet.handler(self._do)
        self.strict = Agent(
            "Strict",
            description="Wants an extension.",
            slug="strict",
            extensions=[AgentExtension(uri=EXTENSION, required=True)],
        )
        self.strict.handler(self._do)
        self.agents = [self.agent, self.direct, self.quiet, self.strict]

    async def _do(self, ctx: TaskContext) -> Any:
        match ctx.text.split():
            case ["wait"]:
                await self.go.wait()
                return "went"
            case ["tell"]:
                await ctx.status("looking")
                await ctx.artifact("report", "half")
                await self.go.wait()
                await ctx.artifact("more", "all")
            case ["count", number]:
                await self.go.wait()
                async with ctx.artifact("count") as out:
                    for index in range(int(number)):
                        await out.write(f"{index} ")
            case ["ask"]:
                return f"Hello {await ctx.ask('Who are you?')}"
            case ["auth"]:
                answer = await ctx.require_auth("Please sign in")
                return f"signed in by {answer.text}"
            case ["three"]:
                for name in ("one", "two", "three"):
                    await ctx.artifact(name, name)
            case ["nothing"]:
                pass
            case ["data"]:
                return {"answer": 42}
            case ["file"]:
                part = Part(raw=b"\x00\xff", filename="two.bin", media_type="application/pdf")
                return Artifact(artifact_id="file", name="two.bin", parts=[part])
            case ["fail"]:
                raise RuntimeError("the secret cause")
            case ["reject"]:
                await ctx.reject("not for me")
            case _:
                return f"You said: {ctx.text}"
        return None

    async def _direct(self, ctx: TaskContext) -> Message:
        return Message(
            message_id=str(uuid4()),
            role=Role.AGENT,
            context_id=ctx.context_id,
            parts=[Part(text=f"At once: {ctx.text}")],
        )


class FaultyRuntime(Runtime):
    """The runtime itself, which can be told to refuse: some errors need a whole deployment.

    It remembers the calls it was told of.
    """

    fault: Exception | None = None

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.agents, store=MemoryStore(), clock=LoopClock(START))
        self.calls: list[Call] = []

    async def dispatch(self, call: Call, operation: Operation, request: Any) -> Any:
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault
        return await super().dispatch(call, operation, request)


class Served:
    """The application, its agents, and the requests that tests make most."""

    def __init__(self, app: Application, runtime: FaultyRuntime, stage: Stage) -> None:
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
    runtime = FaultyRuntime(stage)
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
    found: Json = {"message": body | message}
    configuration: Json = {}
    if now is not None:
        configuration["returnImmediately"] = now
    if history is not None:
        configuration["historyLength"] = history
    return found | ({"configuration": configuration} if configuration else {})


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
