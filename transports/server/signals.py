"""From a signal to an orderly stop, and no later than the deadline.

Signals are taken by handlers of our own, not by the event loop's: those run even while a handler of
the user blocks the loop, and they only write a byte to a pipe. At its other end a thread holds the
deadline, for nothing on the loop could.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import anyio
import sniffio

log = logging.getLogger("greenroom.server")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """``asked`` is set by the first signal, or by ``ask``; a second signal ends the process."""

    def __init__(self, deadline: float) -> None:
        self.asked = anyio.Event()
        self.saved = False
        """Everything that was accepted is in the store: what is still at work may be cut off."""
        self._deadline = deadline
        self._soon = _from_signal_handlers()
        self._signalled = False
        self._asked, self._ask = os.pipe()

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Take signals for as long as the block lasts (in the main thread; elsewhere none)."""
        watchdog = threading.Thread(target=self._watch, name="greenroom-deadline", daemon=True)
        watchdog.start()
        ours = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, self._received) for number in ours}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.write(self._ask, b"q")
            watchdog.join()
            os.close(self._ask)
            os.close(self._asked)

    def ask(self, why: str) -> None:
        """Stop in order; from the event loop's thread. Harmless when done twice."""
        if not self.asked.is_set():
            more = " (once more: exit at once)" if self._signalled else ""
            log.info("%s: draining%s", why, more, extra={"event": "draining"})
            self.asked.set()
            os.write(self._ask, b"s")

    def _received(self, number: int, _: FrameType | None) -> None:
        # Nothing here may take a lock: it may have interrupted the one who holds it.
        if self._signalled:
            os._exit(128 + number)
        self._signalled = True
        os.write(self._ask, b"s")
        self._soon(self.ask, signal.Signals(number).name)

    def _watch(self) -> None:
        if os.read(self._asked, 1) == b"q":
            return
        left = self._deadline
        while select.select([self._asked], [], [], left)[0]:
            if os.read(self._asked, 1) == b"q":
                return
        if self.saved:
            log.warning(
                "not stopped within %g s though everything is saved: exiting without what still "
                "runs (a handler that ignores its cancellation, or the close of a connection)",
                self._deadline,
                extra={"event": "deadline"},
            )
        else:
            log.error(
                "not stopped within %g s: exiting at once; what was acknowledged is in the store",
                self._deadline,
                extra={"event": "deadline"},
            )
        logging.shutdown()
        os._exit(0 if self.saved else 1)


def leave(code: int = 0) -> NoReturn:
    """End the process now that all is closed, without waiting for the threads of plain functions.

    Nobody can stop those, and Python would wait for them. What was registered with ``atexit`` is
    called first, on a thread of its own: it may run an event loop, and there is one on this one.
    """
    last = threading.Thread(target=atexit._run_exitfuncs, name="greenroom-exit", daemon=True)
    last.start()
    last.join()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _from_signal_handlers() -> Callable[..., Any]:
    if sniffio.current_async_library() == "trio":
        from trio.lowlevel import current_trio_token

        return current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe
