"""Group commit: while one batch is being committed the next one gathers. No timer.

A commit that reaches the disk costs a hundred microseconds to ten milliseconds, so one commit for
each event would make the disk the limit, and a timer that collects events would delay each of them.
The committer needs neither. There is one for each runtime, and it goes through three steps:

1. *Gather.* A writer (an actor, or a direct reply) that has something to write calls ``submit``
   once. Its entries stay with it, and more may come.
2. *Take.* When no commit runs, the committer takes the list of writers, and asks each for all that
   it has (``take``). So the entries of a busy task leave together, and many tasks share one
   transaction and one fsync. From here on new writers gather for the next batch.
3. *Answer.* The store answers each append by itself (``done``): one that is refused hurts no
   other. Only now may an actor show what it wrote. A writer that has more by then submits again.

At most one append of a writer is under way, since it submits again only after the answer: entries
of a task commit in order, without a lock.

If the store raises ``StoreError``, nobody knows what became of the batch. Then each writer of the
batch forgets what it believes (``unknown``), and a sweep reads its task again. The committer never
repeats the commit: after a failed fsync the kernel may have dropped the pages. If the store raises
anything else, something in the batch cannot be written and nothing was; then each append is tried
alone, so that only the one that cannot be written pays for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio.lowlevel

from ..concurrency.signal import Signal
from .entries import Append, Outcome
from .store import Journal, StoreError

log = logging.getLogger("greenroom.journal")


class Writer(Protocol):
    """Something that has entries to commit: an actor, or a send without a task."""

    def take(self) -> Append | None:
        """Hand over what waits; ``None`` if nothing does (any more)."""
        ...

    def done(self, outcome: Outcome) -> None:
        """What was taken was answered."""

    def unknown(self, error: BaseException) -> None:
        """The commit failed in a way that leaves open whether it happened."""


class Committer:
    """The one committer of a runtime."""

    def __init__(self, store: Journal, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._waiting: list[Writer] = []
        self._signal = Signal()
        self._at_work = False
        self.commits = 0
        self.appends = 0
        self.failures = 0
        self.wrote: Callable[[], object] = bool
        """Called when the store took a batch …"""
        self.failed: Callable[[StoreError], object] = str
        """… and when it failed."""
        self.observer: Callable[[Sequence[Append], Sequence[Outcome]], None] | None = None
        """Called with each batch that was committed and its outcomes; it must be quick."""

    def submit(self, writer: Writer) -> None:
        """Have ``writer`` asked when the next batch starts; the caller asks once per batch."""
        self._waiting.append(writer)
        if len(self._waiting) == 1:
            self._signal.notify()

    async def caught_up(self) -> None:
        """Wait until the batch that gathers now is committed; not at all if there is none, for
        who is cancelled as a whole has nobody left to commit it."""
        if not self._waiting and not self._at_work:
            await anyio.lowlevel.checkpoint()
            return
        mark = _Mark()
        self.submit(mark)
        while not mark.passed:
            await mark.signal.wait()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            if not self._waiting:
                await self._signal.wait()
                continue
            writers, self._waiting = self._waiting, []
            self._at_work = True
            try:
                taken: list[tuple[Writer, Append]] = []
                for writer in writers:
                    append = writer.take()
                    if append is not None:
                        taken.append((writer, append))
                if taken:
                    await self._commit(taken)
            finally:
                self._at_work = False
            _pass(writers)

    async def _commit(self, taken: Sequence[tuple[Writer, Append]]) -> None:
        self.commits += 1
        self.appends += len(taken)
        batch = [append for _, append in taken]
        try:
            outcomes = await self._store.append(batch, now=self._now())
        except Exception as error:
            if known := isinstance(error, StoreError):
                self.failed(error)
            elif len(taken) > 1:
                # One of them cannot be written, and nothing was: the others shall not pay for it.
                for one in taken:
                    await self._commit([one])
                return
            # The outcome is unknown: whoever wrote must forget what it knows and read again.
            self.failures += 1
            log.error("a commit of %d appends failed: %s", len(taken), error, exc_info=not known)
            for writer, _ in taken:
                writer.unknown(error)
        else:
            self.wrote()
            for (writer, _), outcome in zip(taken, outcomes, strict=True):
                writer.done(outcome)
            if self.observer is not None:
                self.observer(batch, outcomes)


class _Mark:
    """A writer that writes nothing and learns when its batch is over."""

    def __init__(self) -> None:
        self.signal = Signal()
        self.passed = False

    def take(self) -> Append | None:
        return None

    def done(self, outcome: Outcome) -> None:
        raise AssertionError("nothing was written")

    def unknown(self, error: BaseException) -> None:
        raise AssertionError("nothing was written")


def _pass(writers: list[Writer]) -> None:
    for writer in writers:
        if type(writer) is _Mark:
            writer.passed = True
            writer.signal.notify()
