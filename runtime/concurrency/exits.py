"""Exits that end one coroutine and not the process.

asyncio treats ``SystemExit`` and ``KeyboardInterrupt`` of any task as its own: the task keeps the
exception, and the event loop stops all the same, with everybody on it. A handler's own task never
lets one out; but a handler starts tasks that the runtime does not see (``asyncio.gather``,
``create_task``, ``TaskGroup``, ``wait_for``, the task groups of anyio), and a library that such a
task calls may call ``sys.exit()``.

So the runtime sets a task factory on its event loop. A task that is created below a handler, which
a context variable tells, runs inside ``_Held``: an exit becomes an ordinary exception for whoever
awaits the task. Every other task is created as before; the factory costs it one look at the
variable. trio needs none of this: an exit in a nursery reaches the handler as any exception does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

log = logging.getLogger("greenroom.supervisor")

T = TypeVar("T")


class ExitRefused(RuntimeError):
    """A coroutine that a handler started raised ``SystemExit`` or ``KeyboardInterrupt``, which end
    neither the process nor another task. The exit is the ``__cause__``."""


class HandlerTasks:
    """The task factory of an event loop on which handlers run."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: ContextVar[Any],
        before: Callable[..., Any] | None,
    ) -> None:
        """``handler`` is set below a handler, and tells which one it is in the log. ``before`` is
        the factory that the event loop had."""
        self._loop = loop
        self._handler = handler
        self._before = before
        self._users = 0

    @classmethod
    def install(cls, handler: ContextVar[Any]) -> HandlerTasks:
        """Set the factory on the running event loop, or share the one that is set already. Call
        ``remove`` in the end."""
        loop = asyncio.get_running_loop()
        tasks = loop.get_task_factory()
        if not isinstance(tasks, HandlerTasks):
            tasks = cls(loop, handler, tasks)
            loop.set_task_factory(tasks)
        tasks.share()
        return tasks

    def share(self) -> None:
        """Count one more user, who calls ``remove`` in the end."""
        self._users += 1

    @property
    def alone(self) -> bool:
        """Whether the event loop had no factory of its own."""
        return self._before is None

    def remove(self) -> None:
        """Give the event loop its factory back once nobody uses this one any more."""
        self._users -= 1
        if not self._users and self._loop.get_task_factory() is self:
            self._loop.set_task_factory(self._before)

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,
    ) -> asyncio.Future[T]:
        owner = self._handler.get(None)
        if owner is not None and asyncio.iscoroutine(coroutine):
            coroutine = _Held(coroutine, owner)
        if self._before is not None:
            made: asyncio.Future[T] = self._before(loop, coroutine, **options)
            return made
        return asyncio.Task(coroutine, loop=loop, **options)


class _Held(Coroutine[Any, Any, T]):
    """A coroutine of a handler, from which no exit comes out.

    Not an ``async def`` around it: where a task is cancelled before its first turn, the coroutine
    inside would never be awaited, and Python would warn. Who inspects it sees what is inside.
    """

    __slots__ = ("_coroutine", "_owner")

    def __init__(self, coroutine: Coroutine[Any, Any, T], owner: Any) -> None:
        self._coroutine = coroutine
        self._owner = owner

    def send(self, value: Any) -> Any:
        try:
            return self._coroutine.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise self._refused(error) from error

    def throw(self, *error: Any) -> Any:
        try:
            return self._coroutine.throw(*error)
        except (SystemExit, KeyboardInterrupt) as exit_:
            raise self._refused(exit_) from exit_

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def _refused(self, error: BaseException) -> ExitRefused:
        name = type(error).__name__
        log.error(
            "a coroutine that the handler of %s started raised %s; only it ends", self._owner, name
        )
        return ExitRefused(f"a coroutine that a handler started raised {name}")
