"""The application over a real runtime and a memory store, and agents that do as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from greenroom import Agent, Message, Part, Role, TaskContext
from greenroom.protocol.operations import Operation
from greenroom.runtime.call import Call
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.stores.memory import MemoryStore
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.servers import in_memory


class Stage:
    """The agents, and what tests watch and steer them with."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.calls: list[Call] = []
        self.agent = Agent("Stage", description="Does what its message says.")
        self.other = Agent("Other", description="Another one.", slug="other")
        self.agent.handler(self._do)
        self.other.handler(self._direct)

    async def _do(self, ctx: TaskContext) -> Any:
        match ctx.text.split():
            case ["wait"]:
                await self.go.wait()
                return "went"
            case ["go", number]:
                await self.go.wait()
                async with ctx.artifact("count") as out:
                    for index in range(int(number)):
                        await out.write(f"{index} ")
                return None
            case ["ask"]:
                return f"Hello {await ctx.ask('Who are you?')}"
            case ["count", number]:
                async with ctx.artifact("count") as out:
                    for index in range(int(number)):
                        await out.write(f"{index} ")
                return None
            case ["large", size]:
                return "x" * int(size)
            case ["fail"]:
                raise RuntimeError("the secret cause")
            case _:
                return f"You said: {ctx.text}"

    async def _direct(self, ctx: TaskContext) -> Message:
        return Message(message_id="reply", role=Role.AGENT, parts=[Part(text="directly")])


class RecordingRuntime(Runtime):
    """The runtime itself; tests see its calls, and can have it fail or activate extensions."""

    def __init__(self, stage: Stage, settings: RuntimeSettings | None = None) -> None:
        super().__init__([stage.agent, stage.other], store=MemoryStore(), settings=settings)
        self.stage = stage
        self.activate: tuple[str, ...] = ()
        self.fault: Exception | None = None
        self.stream: Any = None
        """What streaming operations get instead of a stream of the runtime."""

    async def dispatch(self, call: Call, operation: Operation, request: Any) -> Any:
        self.stage.calls.append(call)
        if self.fault is not None:
            raise self.fault
        if self.stream is not None and operation.streaming:
            return self.stream
        if self.activate:
            call.activated = self.activate
        return await super().dispatch(call, operation, request)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def http() -> HttpSettings:
    """Settings of the application: tests override this with ``parametrize``."""
    return HttpSettings()


@pytest.fixture
def limits() -> RuntimeSettings:
    """Settings of the runtime: tests override this with ``parametrize``."""
    return RuntimeSettings()


@pytest.fixture
async def app(
    stage: Stage, http: HttpSettings, limits: RuntimeSettings
) -> AsyncIterator[Application]:
    async with in_memory(runtime=RecordingRuntime(stage, limits), http=http) as server:
        yield server.app
        stage.go.set()
