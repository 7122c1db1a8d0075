"""Test an agent as its clients see it, without a socket and without waiting.

    async with served(agent) as client:
        task = await client.send("hello")

Everything but HTTP is real: the runtime, its journal, a store in memory. ``run`` and
``virtual_time`` give tests a clock that jumps to the next timer whenever nothing else can happen;
use it where handlers wait for time only, not for threads, files or the network.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import selectors
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio

from .protocol import operations as ops
from .protocol.errors import InternalError
from .protocol.types import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskState,
    TaskStatus,
)
from .runtime.call import Call, Principal
from .runtime.content import Content, parts_of
from .runtime.handler.agent import Agent
from .runtime.journal.store import Clock, Store
from .runtime.runtime import Runtime
from .runtime.security.limits import Limits
from .runtime.security.policy import Security
from .runtime.settings.settings import RuntimeSettings

__all__ = ["LocalClient", "LoopClock", "VirtualTimeLoop", "run", "served", "virtual_time"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Task | Message)


@asynccontextmanager
async def served(
    *agents: Agent,
    store: Store | None = None,
    settings: RuntimeSettings | None = None,
    clock: Clock | None = None,
    security: Security | None = None,
    limits: Limits | None = None,
    principal: Principal | None = None,
    headers: Mapping[str, str] | None = None,
    raise_errors: bool = False,
) -> AsyncGenerator[LocalClient, None]:
    """Run ``agents`` in this process and yield a client of the first.

    Without ``store`` nothing is kept. To test what a restart does: two blocks, one after the other,
    with the same ``MemoryStore`` (or with a ``SQLiteStore`` of the same file, in real time: its
    threads know no other).

    ``security`` and ``limits`` are what ``asgi`` takes. The client calls as ``principal``, which
    needs no credential, or with ``headers`` (``{"authorization": "Bearer ..."}``); see
    ``LocalClient.acting``. With ``raise_errors`` the exception of a handler that failed the task
    is raised where the client would get that task. What the block raises comes out as it is.
    """
    from .stores.memory import MemoryStore

    if store is None:
        store = MemoryStore()
    runtime = Runtime(
        agents,
        store=store,
        settings=settings,
        clock=clock or LoopClock(),
        security=security,
        limits=limits,
        exclusive=clock is None and isinstance(store, MemoryStore),
    )
    with _collected(raise_errors) as errors:
        async with runtime:
            yield LocalClient(runtime, principal=principal, headers=headers, errors=errors)


class _HandlerErrors(logging.Handler):
    """Keeps the exceptions that failed tasks, by their error id, as the log tells them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._known: dict[str, BaseException] = {}

    def emit(self, record: logging.LogRecord) -> None:
        error_id = getattr(record, "error_id", None)
        if isinstance(error_id, str) and record.exc_info and record.exc_info[1] is not None:
            self._known[error_id] = record.exc_info[1]

    def raise_for(self, answer: Task | Message) -> None:
        """Raise what failed a task, if it was a handler of this server."""
        if isinstance(answer, Task) and answer.status.state is TaskState.FAILED:
            self.raise_for_text(answer.status.message.text if answer.status.message else "")

    def raise_for_text(self, text: str) -> None:
        """Raise the error whose id a text names, if there is one."""
        for error_id, error in self._known.items():
            if error_id in text:
                raise error


@contextmanager
def _collected(wanted: bool) -> Generator[_HandlerErrors | None, None, None]:
    if not wanted:
        yield None
        return
    log, errors = logging.getLogger("greenroom"), _HandlerErrors()
    log.addHandler(errors)
    try:
        yield errors
    finally:
        log.removeHandler(errors)


class LocalClient:
    """A client of one agent in the same process; errors come as ``A2AError``.

    Wherever a task is meant, a ``Task`` or its id will do. Content is text, bytes, a ``Part``, a
    list of parts, or any value that becomes JSON.
    """

    def __init__(
        self,
        runtime: Runtime,
        agent: str = "",
        *,
        principal: Principal | None = None,
        headers: Mapping[str, str] | None = None,
        errors: _HandlerErrors | None = None,
    ) -> None:
        self.runtime = runtime
        self._agent = agent
        self._principal = principal
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._errors = errors

    def of(self, agent: Agent | str) -> LocalClient:
        """Return a client of another agent of the same server, for the same caller."""
        return LocalClient(
            self.runtime,
            agent if isinstance(agent, str) else agent.slug,
            principal=self._principal,
            headers=self._headers,
            errors=self._errors,
        )

    def acting(
        self,
        principal: Principal | str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> LocalClient:
        """Return a client of the same agent for another caller: a ``Principal``, the name of an
        owner, or whoever the credentials in ``headers`` belong to; nobody without either."""
        if isinstance(principal, str):
            principal = Principal(owner=principal)
        return LocalClient(
            self.runtime, self._agent, principal=principal, headers=headers, errors=self._errors
        )

    @property
    def card(self) -> AgentCard:
        """The agent's card, without interfaces: it is served at no address."""
        return self.runtime.card(self._agent, [])

    async def send(
        self,
        content: Content | Message,
        *,
        task: Task | str | None = None,
        context: str | None = None,
        metadata: dict[str, Any] | None = None,
        wait: bool = True,
    ) -> Task | Message:
        """Send a message; return the task when it is over or asks, or the direct reply.

        However long that takes: the server's ``blocking_wait`` ends no send of this client. With
        ``wait=False`` the task comes as soon as it exists.
        """
        request = _request(content, task, context, metadata, wait)
        try:
            response = await self.runtime.dispatch(self._call(), ops.SEND, request)
        except InternalError as error:  # of a handler that answers with messages: there is no task
            if self._errors is not None:
                self._errors.raise_for_text(error.message)
            raise
        answer: Task | Message | None = response.task or response.message
        assert answer is not None
        if wait and isinstance(answer, Task):
            return await self._settled(answer)
        return self._checked(answer)

    async def reply(self, task: Task | str, content: Content | Message) -> Task:
        """Answer what the task asked; return the task as ``send`` does."""
        answer = await self.send(content, task=task)
        assert isinstance(answer, Task)
        return answer

    async def stream(
        self,
        content: Content | Message,
        *,
        task: Task | str | None = None,
        context: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> AsyncGenerator[StreamResponse, None]:
        """Send a message and yield what the task says, up to its end or its question."""
        request = _request(content, task, context, metadata, True)
        async with aclosing(self._events(ops.STREAM, request)) as events:
            async for event in events:
                yield event

    async def subscribe(
        self, task: Task | str, *, after: int | None = None
    ) -> AsyncGenerator[StreamResponse, None]:
        """Yield the task, then what it says; ``after`` resumes behind that generation."""
        request = SubscribeToTaskRequest(id=_id(task))
        async with aclosing(self._events(ops.SUBSCRIBE, request, after)) as events:
            async for event in events:
                yield event

    async def wait(self, task: Task | str) -> Task:
        """Return the task when it is over or asks, however long that takes."""
        return await self._settled(await self.get(task))

    async def _settled(self, task: Task) -> Task:
        if not _rests(task.status):
            async with aclosing(self.subscribe(task)) as events:
                async for event in events:
                    update = event.status_update or event.task
                    if update and _rests(update.status):
                        break
            task = await self.get(task)
        return self._checked(task)

    async def get(self, task: Task | str, *, history: int | None = None) -> Task:
        """Return the task with its newest ``history`` messages (all without)."""
        request = GetTaskRequest(id=_id(task), history_length=history)
        current: Task = await self.runtime.dispatch(self._call(), ops.GET_TASK, request)
        return self._checked(current)

    async def list(self, context: str | None = None) -> Sequence[Task]:
        """Return the newest tasks, of one context or of all."""
        request = ListTasksRequest(context_id=context, page_size=100)
        response = await self.runtime.dispatch(self._call(), ops.LIST_TASKS, request)
        tasks: Sequence[Task] = response.tasks
        return tasks

    async def cancel(self, task: Task | str) -> Task:
        """Cancel the task and return it."""
        request = CancelTaskRequest(id=_id(task))
        canceled: Task = await self.runtime.dispatch(self._call(), ops.CANCEL, request)
        return canceled

    def _call(self, after: int | None = None) -> Call:
        return Call(
            binding="LOCAL",
            version="1.1",
            agent=self._agent,
            last_event_id=after,
            principal=self._principal,
            headers=self._headers,
        )

    def _checked(self, answer: Answer) -> Answer:
        if self._errors is not None:
            self._errors.raise_for(answer)
        return answer

    async def _events(
        self, operation: ops.Operation, request: Any, after: int | None = None
    ) -> AsyncGenerator[StreamResponse, None]:
        stream = await self.runtime.dispatch(self._call(after), operation, request)
        try:
            while (frames := await stream.next()) is not None:
                for frame in frames:
                    yield frame.response
        finally:
            stream.close()


def _rests(status: TaskStatus) -> bool:
    return status.state.terminal or status.state.interrupted


def _id(task: Task | str) -> str:
    return task if isinstance(task, str) else task.id


def _request(
    content: Content | Message,
    task: Task | str | None,
    context: str | None,
    metadata: dict[str, Any] | None,
    wait: bool,
) -> SendMessageRequest:
    if isinstance(content, Message):
        message = content
    else:
        parts: list[Part] = parts_of(content)
        message = Message(
            message_id=str(uuid.uuid4()),
            role=Role.USER,
            parts=parts,
            task_id=None if task is None else _id(task),
            context_id=context,
        )
    configuration = SendMessageConfiguration(return_immediately=not wait)
    return SendMessageRequest(message=message, configuration=configuration, metadata=metadata)


# --- time ---------------------------------------------------------------------------------------


class LoopClock:
    """Wall time that moves with the event loop's own clock, so that virtual time moves both."""

    def __init__(self, start: float | None = None) -> None:
        self._start = time.time() if start is None else start
        self._origin: float | None = None

    def now(self) -> float:
        current = anyio.current_time()
        if self._origin is None:
            self._origin = current
        return self._start + current - self._origin


def run(
    test: Callable[..., Awaitable[T]], *args: object, backend: str = "asyncio", virtual: bool = True
) -> T:
    """Run an async function to its end, in virtual time unless told otherwise.

    As in ``run(test, 1)``: the function and its arguments, not what calling it gives.
    """
    if inspect.iscoroutine(test):
        test.close()
        name = test.__qualname__
        raise TypeError(f"give run the function itself: run({name}, ...), not run({name}(...))")
    name, options = virtual_time(backend) if virtual else (backend, {})
    return anyio.run(test, *args, backend=name, backend_options=dict(options))


def virtual_time(backend: str = "asyncio") -> tuple[str, Mapping[str, Any]]:
    """Return what an ``anyio_backend`` fixture returns: the backend (asyncio or trio) and options.

    Under it ``await anyio.sleep(3600)`` takes no time.
    """
    if backend == "trio":
        import trio.testing

        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """When nothing is ready, time moves to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # no timer at all: something real, such as a thread, is waited for
            return super().select(None)
        self._loop.jump(timeout)
        return ready
