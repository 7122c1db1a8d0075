"""Waiting for something to be so, on whichever event loop runs.

``anyio.Event`` would do. On asyncio a bare future costs a third of it, and every commit wakes
somebody: this is the one primitive of the hot path that knows its event loop.
"""

from __future__ import annotations

import asyncio

import anyio


class Signal:
    """A wake-up for any number of waiters. A wake-up is a hint: look again after it."""

    __slots__ = ("_event", "_futures")

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Wake everybody who waits now. Nobody waiting: nothing happens."""
        if self._futures:
            futures, self._futures = self._futures, []
            for future in futures:
                if not future.done():
                    future.set_result(None)
        elif self._event is not None:
            event, self._event = self._event, None
            event.set()

    async def wait(self) -> None:
        """Wait for the next ``notify``. Look at the condition first: there is no memory here."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()
            return
        future = loop.create_future()
        self._futures.append(future)
        try:
            await future
        except BaseException:
            # Cancelled: do not leave the future behind where nobody ever notifies.
            if future in self._futures:
                self._futures.remove(future)
            raise
