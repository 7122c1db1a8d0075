"""Waiting for something to be so, on whichever event loop runs."""

from __future__ import annotations

import anyio


class Signal:
    """A wake-up for any number of waiters. A wake-up is a hint: look again after it."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Wake everybody who waits now. Nobody waiting: nothing happens."""
        event = self._event
        if event is not None:
            self._event = None
            event.set()

    async def wait(self) -> None:
        """Wait for the next ``notify``. Look at the condition first: there is no memory here."""
        event = self._event
        if event is None:
            event = self._event = anyio.Event()
        await event.wait()
