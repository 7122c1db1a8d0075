"""Waiting for what a task commits: the handler for its entries, senders and readers for answers."""

from __future__ import annotations

from ...protocol.errors import A2AError, InternalError, UnavailableError
from ...protocol.types import Message
from ..journal.entries import Header
from .committed import CommittedState
from .errors import Duplicate, LeaseLost


class AwaitedState(CommittedState):
    """An actor as those see it who wait for it."""

    __slots__ = ()

    async def window(self) -> None:
        """Wait until the commit has caught up with what this task writes."""
        limit = self.system.settings.window
        while self.backlog >= limit and self._lost is None:
            await self.feed.signal.wait()
        self.check()

    async def flushed(self) -> None:
        """Wait until everything accepted so far is durable."""
        target = self.sequence
        while self._committed_sequence < target and self._lost is None:
            await self.feed.signal.wait()
        if self._committed_sequence < target:
            self.check()

    async def claimed(self) -> None:
        """Wait until the store knows that this actor has the task: of one that was woken, or whose
        node lost its lease."""
        while (self._row_epoch or self._retakes) and self._lost is None:
            if not self.unwritten:
                self.touch()
            await self.feed.signal.wait()
        if self._row_epoch or self._retakes:
            self.check()

    async def until_owned(self) -> None:
        """Wait until no other node may begin what this task is about to begin.

        A process that was stopped comes back here, and learns whether the task is still its own.
        """
        await self.system.until_alive()
        await self.claimed()

    def check(self) -> None:
        """Raise why this actor may not go on, if so."""
        if self._lost is not None:
            raise self._lost

    async def answer(self, after: int, sequence: int, wait: Wait) -> Header | Message:
        """Wait for what a blocking send waits for: an end or an interruption after ``after``, or
        that the task, with the message that is its entry ``sequence``, is blocked.

        Gives the committed header as it stands when ``wait`` expires; a direct Message where the
        handler returned one. Raises ``Duplicate`` or an ``A2AError``.
        """
        while True:
            if self.reply is not None:
                return self.reply
            header = self.committed
            if header is not None:
                state = header.state
                if header.generation > after and (state.terminal or state.interrupted):
                    return header
                if wait.expired or (header.blocked and header.sequence >= sequence):
                    return header
            if self._lost is not None:
                raise self._failure()
            await self.feed.signal.wait()

    async def ended(self, wait: Wait) -> Header:
        """Wait for the end of the task; what is committed when ``wait`` expires."""
        while True:
            header = self.committed
            if header is not None and (header.state.terminal or wait.expired):
                return header
            if self._lost is not None:
                raise self._failure()
            await self.feed.signal.wait()

    async def accepted(self, sequence: int) -> Header | Message:
        """Wait until the entry ``sequence`` is committed: what an immediate return waits for."""
        while True:
            if self.reply is not None:
                return self.reply
            if self.committed is not None and self._committed_sequence >= sequence:
                return self.committed
            if self._lost is not None:
                raise self._failure()
            await self.feed.signal.wait()

    def _failure(self) -> Exception:
        lost = self._lost
        if isinstance(lost, Duplicate | A2AError):
            return lost
        if isinstance(lost, LeaseLost):
            return UnavailableError(lost.public_error, headers={"Retry-After": "1"})
        return InternalError()


class Wait:
    """Somebody waits for an actor, but not for ever."""

    __slots__ = ("actor", "expired")

    def __init__(self, actor: AwaitedState) -> None:
        self.actor = actor
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.actor.feed.signal.notify()
