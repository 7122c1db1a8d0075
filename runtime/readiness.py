"""Whether it is worth sending a runtime something, and waiting for that to change."""

from __future__ import annotations

from .signals import Signal


class Readiness:
    """True while the runtime runs and its store takes what is written."""

    __slots__ = ("_signal", "running", "writable")

    def __init__(self) -> None:
        self.running = False
        """It was started, and was not told to stop."""
        self.writable = True
        """The last attempt to write, by a commit or by the heartbeat, did not fail."""
        self._signal = Signal()

    def __bool__(self) -> bool:
        return self.running and self.writable

    def run(self, running: bool) -> None:
        """The runtime was started, or is told to stop."""
        self.running = running
        self.notify()

    def wrote(self, well: bool) -> None:
        """The store was written to, or refused to be."""
        if well is not self.writable:
            self.writable = well
            self.notify()

    def notify(self) -> None:
        """Have whoever waits look again."""
        self._signal.notify()

    async def changed(self) -> None:
        """Wait for the next change. Look first: there is no memory here."""
        await self._signal.wait()
