"""Whether it is worth sending a runtime something, and waiting for that to change."""

from __future__ import annotations

import logging

from ..concurrency.signal import Signal
from ..journal.store import StoreDamagedError

log = logging.getLogger("greenroom.runtime")


class Readiness:
    """True while the runtime runs and its store does what it is asked."""

    __slots__ = ("_signal", "_told", "damaged", "running", "stored")

    def __init__(self) -> None:
        self.running = False
        """The runtime was started and was not stopped."""
        self.stored = True
        """The store did not fail when it was last written to, or read since then."""
        self.damaged = False
        """It never will again, for this process."""
        self._told = ""
        self._signal = Signal()

    def __bool__(self) -> bool:
        return self.running and self.stored

    def run(self, running: bool) -> None:
        """The runtime was started, or begins to stop."""
        if running:
            self.stored, self.damaged, self._told = True, False, ""
        self.running = running
        self.notify()

    def wrote(self) -> None:
        """The store was written to."""
        if not self.stored and not self.damaged:
            self.stored, self._told = True, ""
            log.info("the store works again", extra={"event": "store_works"})
            self.notify()

    def failed(self, error: Exception) -> None:
        """The store failed: said once, with what can be done, however often it is asked."""
        if self.damaged:
            return
        self.damaged = isinstance(error, StoreDamagedError)
        if str(error) != self._told:
            self._told = str(error)
            until = "until this process is started anew" if self.damaged else "until it works again"
            log.error("not ready %s: %s", until, error, extra={"event": "store_failed"})
        self.stored = False
        self.notify()

    def notify(self) -> None:
        """Have whoever waits look again."""
        self._signal.notify()

    async def changed(self) -> None:
        """Wait for the next change. Look first: there is no memory here."""
        await self._signal.wait()
