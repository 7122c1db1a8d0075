"""The root under which every handler runs, never under a request.

A child is started, may be cancelled, and is awaited at the end: nothing outlives the supervisor. On
asyncio a child is a plain task that the supervisor holds: a quarter of what a task group asks for
one, and a cancellation that is delivered *once*, so that a handler may clean up with ``await`` as
asyncio's users expect. On trio it is a child of a nursery, with trio's own cancellation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

import anyio
import sniffio
from anyio.abc import TaskGroup

from .exits import HandlerTasks

log = logging.getLogger("greenroom.supervisor")

_INSIST = 3
"""How often, a second apart, children are told to end before they are left behind."""

Body = Callable[[], Coroutine[Any, Any, None]]


class Child(Protocol):
    """A running child."""

    def cancel(self) -> object:
        """Cancel it; it may take its time. Calling it again insists."""
        ...


class Supervisor(Protocol):
    """Starts children and holds them."""

    def start(self, body: Body, name: str) -> Child:
        """Run ``body``. What it raises is logged and harms nobody else."""
        ...

    async def run(self) -> None:
        """Hold the children until cancelled, then cancel them and wait for their end."""


def in_task() -> bool:
    """Whether a task of an event loop runs in this thread, not the garbage collector alone."""
    try:
        anyio.get_current_task()
    except Exception:
        return False
    return True


class AsyncioSupervisor:
    """Children as asyncio tasks."""

    def __init__(self, handler: ContextVar[Any] | None) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._children: set[asyncio.Task[None]] = set()
        self._make: Any = self._loop.create_task
        """Makes a task of a coroutine and a name."""

    def start(self, body: Body, name: str) -> Child:
        child: asyncio.Task[None] = self._make(body(), name=name)
        self._children.add(child)
        child.add_done_callback(self._done)
        return child

    def _done(self, child: asyncio.Task[None]) -> None:
        self._children.discard(child)
        if not child.cancelled() and (error := child.exception()) is not None:
            log.error("a child ended with an error that it should have handled", exc_info=error)

    async def run(self) -> None:
        tasks = None if self._handler is None else HandlerTasks.install(self._handler)
        if tasks is not None and tasks.alone:
            # A handler's own task lets no exit out, and needs no factory.
            self._make = partial(asyncio.Task, loop=self._loop)
        try:
            await anyio.sleep_forever()
        finally:
            self._make = self._loop.create_task
            await self._end()
            if tasks is not None:
                tasks.remove()

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True):
            for _ in range(_INSIST):
                if not self._children:
                    break
                for child in self._children:
                    child.cancel()
                await asyncio.wait(self._children, timeout=1.0)
            else:
                # Better a handler that lives on for a while than a host that never stops.
                log.error(
                    "%d handlers ignored every cancellation and are left behind",
                    len(self._children),
                )


class NurseryChild:
    """A child of an anyio task group, in a scope of its own."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            try:
                await self._body()
            except Exception:
                log.exception("a child ended with an error that it should have handled")

    def cancel(self) -> None:
        self._scope.cancel()


class NurserySupervisor:
    """Children in a task group: what trio has."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group

    def start(self, body: Body, name: str) -> Child:
        child = NurseryChild(body)
        self._group.start_soon(child.run, name=name)
        return child

    async def run(self) -> None:
        await anyio.sleep_forever()


def supervisor(group: TaskGroup, handler: ContextVar[Any] | None = None) -> Supervisor:
    """Make the supervisor for the event loop that runs; ``group`` is its root. ``handler``: a
    variable that the children set, below which no exit ends the process (see ``exits``)."""
    if sniffio.current_async_library() == "asyncio":
        return AsyncioSupervisor(handler)
    return NurserySupervisor(group)
