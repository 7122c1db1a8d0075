"""A caller of ``Runtime.dispatch``, as a transport is one, in as few words as a test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel

from greenroom import Agent
from greenroom.protocol import operations as ops
from greenroom.protocol.frame import Frame
from greenroom.protocol.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from greenroom.runtime.call import Call, Principal
from greenroom.runtime.journal.feed import Subscription
from greenroom.runtime.journal.store import Store
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock

START = 1_800_000_000.0
"""Wall time at the start of a test."""


def user(text: str = "hi", *, id: str | None = None, **fields: Any) -> Message:
    """Make a message of the user, with a new id unless told."""
    fields.setdefault("parts", [Part(text=text)])
    return Message(message_id=id or str(uuid4()), role=Role.USER, **fields)


class Caller:
    """One principal (nobody in particular by default) calling one agent."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        agent: str = "",
        principal: Principal | None = None,
        version: str = "1.1",
    ) -> None:
        self.runtime = runtime
        self.agent = agent
        self.principal = principal
        self.version = version

    def call(self, last_event_id: int | None = None) -> Call:
        return Call(
            binding="TEST",
            version=self.version,
            agent=self.agent,
            principal=self.principal,
            last_event_id=last_event_id,
        )

    @staticmethod
    def request(
        content: str | Message,
        *,
        task: str | None = None,
        context: str | None = None,
        now: bool = False,
        history: int | None = None,
        match: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> SendMessageRequest:
        message = content
        if isinstance(message, str):
            message = user(message, task_id=task, context_id=context)
        return SendMessageRequest(
            message=message,
            configuration=SendMessageConfiguration(
                return_immediately=now, history_length=history, if_generation_match=match
            ),
            metadata=metadata,
        )

    async def answer(self, content: str | Message, **options: Any) -> Task | Message:
        """Send and return whatever the answer is."""
        request = self.request(content, **options)
        found = await self.runtime.dispatch(self.call(), ops.SEND, request)
        assert (found.task is None) != (found.message is None)
        answer: Task | Message = found.task or found.message
        return answer

    async def send(self, content: str | Message, **options: Any) -> Task:
        """Send where the answer is a task."""
        answer = await self.answer(content, **options)
        assert isinstance(answer, Task)
        return answer

    async def stream(self, content: str | Message, **options: Any) -> Subscription:
        request = self.request(content, **options)
        value: Subscription = await self.runtime.dispatch(self.call(), ops.STREAM, request)
        return value

    async def subscribe(self, task: str, *, after: int | None = None) -> Subscription:
        value: Subscription = await self.runtime.dispatch(
            self.call(after), ops.SUBSCRIBE, SubscribeToTaskRequest(id=task)
        )
        return value

    async def get(
        self, task: str, *, history: int | None = None, newer_than: int | None = None
    ) -> Task:
        request = GetTaskRequest(id=task, history_length=history, current_generation=newer_than)
        value: Task = await self.runtime.dispatch(self.call(), ops.GET_TASK, request)
        return value

    async def list(self, **filters: Any) -> ListTasksResponse:
        value: ListTasksResponse = await self.runtime.dispatch(
            self.call(), ops.LIST_TASKS, ListTasksRequest(**filters)
        )
        return value

    async def cancel(self, task: str) -> Task:
        value: Task = await self.runtime.dispatch(
            self.call(), ops.CANCEL, CancelTaskRequest(id=task)
        )
        return value

    async def until(self, task: str, condition: Callable[[Task], bool]) -> Task:
        """Return the task once ``condition`` holds of it."""
        value = await self.get(task)
        while not condition(value):
            assert not value.status.state.terminal, f"it never came: {value}"
            value = await self.get(task, newer_than=value.generation)
        return value

    async def over(self, task: str) -> Task:
        """Return the task once it is over or asks."""
        return await self.until(
            task, lambda task: task.status.state.terminal or task.status.state.interrupted
        )


@asynccontextmanager
async def running(
    *agents: Agent, store: Store | None = None, settings: RuntimeSettings | None = None, **more: Any
) -> AsyncIterator[Caller]:
    """Run agents over a store in memory, with a wall clock that moves with the event loop's."""
    if more:
        settings = RuntimeSettings(**more)
    runtime = Runtime(
        agents, store=store or MemoryStore(), settings=settings, clock=LoopClock(START)
    )
    async with runtime:
        yield Caller(runtime)


class KeptStore(MemoryStore):
    """A store that outlives its runtime, as a file would."""

    async def close(self) -> None:
        pass


async def read(stream: Subscription, *, beats: bool = False) -> list[Frame]:
    """Read a stream to its end; heartbeats are left out."""
    frames: list[Frame] = []
    try:
        while (batch := await stream.next()) is not None:
            frames += batch
    finally:
        stream.close()
    return frames


async def take(stream: Subscription, count: int) -> list[Frame]:
    """Read at least ``count`` frames and stay open."""
    frames: list[Frame] = []
    while len(frames) < count:
        batch = await stream.next()
        assert batch is not None, f"the stream ended after {frames}"
        frames += batch
    return frames


async def settle() -> None:
    """Let everything happen that can happen without time passing.

    (``anyio.wait_all_tasks_blocked`` lets time pass on asyncio.)
    """
    for _ in range(100):
        await anyio.lowlevel.checkpoint()


def states(frames: Sequence[Frame]) -> list[str]:
    """What frames say, in short: state names, and ``+name`` for artifacts."""
    collected = []
    for frame in frames:
        event = frame.response.artifact_update
        if event is not None:
            collected.append(f"+{event.artifact.artifact_id}")
        else:
            state = frame.state
            collected.append("message" if state is None else state.name.lower())
    return collected


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [frame.generation for frame in frames]


def said(task: Task) -> str:
    """The text of the task's status message."""
    return task.status.message.text if task.status.message is not None else ""


def result(task: Task) -> str:
    """The text of the task's artifacts."""
    return "".join(artifact.text for artifact in task.artifacts or [])


STATES = [state for state in TaskState if state is not TaskState.UNSPECIFIED]
