"""Threads that own connections: a job is one closure, run from begin to commit in one hop.

A hop to a thread and back costs the event loop about as much as two SQL statements do, so a job is
a whole transaction and never a statement. Only one thread uses a connection, so no job sees the
transaction of another job, and nothing is locked in Python.

The cancellation of a caller does not stop its job: the thread finishes the transaction, and drops
the result if nobody waits for it. A job that raised costs its thread the connection, because what a
connection believes after a failed write is unknown; the next job opens another one.

The threads are our own, not those of ``anyio.to_thread``: they work under every event loop, and
``close`` can join them. They are daemons, because a store that nobody closed must not keep the
interpreter from its end.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import current_token

from ...runtime.journal.store import StoreClosedError
from .errors import failure

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_ASKED_WRONGLY = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError)
"""What fails for its values (one is too large, say), however well the database is."""


class _Call:
    """A job on its way to a thread, and its answer on the way back."""

    __slots__ = ("_post", "answered", "error", "job", "result")

    def __init__(self, job: Job[Any]) -> None:
        loop: Any = current_token().native_token
        # asyncio's loop and trio's token differ only in the name.
        self._post = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        self.job = job
        self.answered = anyio.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        with suppress(RuntimeError):  # the event loop is over: nobody waits any more
            self._post(self.answered.set)


class Workers:
    """``count`` threads with one queue; each has a connection of its own, made when first needed.

    A connection that raised is closed and the next job gets a new one: after a failed write
    nothing that the old one believes may be relied upon.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], count: int, name: str) -> None:
        self._connect = connect
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._main, name=f"greenroom-{name}-{n}", daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, job: Job[T], *, shield: bool = False) -> T:
        """Run ``job`` on one of the threads. A job that was handed over is always finished, also
        when the caller is cancelled; with ``shield`` the caller stays to hear how it went."""
        if self._closed:
            raise StoreClosedError("the store was closed; make a new one and open it")
        call = _Call(job)
        self._calls.put(call)
        with anyio.CancelScope(shield=shield):
            await call.answered.wait()
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    async def close(self) -> None:
        """Finish what was handed over, close the connections, join the threads."""
        if self._closed:
            return
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        with anyio.CancelScope(shield=True):
            for thread in self._threads:
                await anyio.to_thread.run_sync(thread.join)

    def _main(self) -> None:
        connection: sqlite3.Connection | None = None
        while (call := self._calls.get()) is not None:
            try:
                if connection is None:
                    connection = self._connect()
                call.result = call.job(connection)
            except BaseException as error:
                call.error = error
                if connection is not None:
                    _close(connection)
                    connection = None
                if isinstance(error, sqlite3.Error) and not isinstance(error, _ASKED_WRONGLY):
                    call.error = failure(error)
                    call.error.__cause__ = error
            call.answer()
            del call  # or the last answer lives until the next call
        if connection is not None:
            _close(connection)


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # it failed before; the kernel takes the rest
        connection.close()
