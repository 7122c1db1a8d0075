"""What a task has committed: the journal's side of an actor, and waiting for it.

At most one append of a task is under way. When it is answered, its events go to the feed; when it
is refused, somebody else owns the task and this actor forgets everything.
"""

from __future__ import annotations

import logging

from ...protocol.errors import A2AError, InternalError, UnavailableError
from ...protocol.frame import Frame
from ...protocol.types import Message
from ..journal.entries import Append, Header, Outcome, Segment, SendRecord, Verdict
from ..journal.fold import join
from .accepted import Duplicate, LeaseLost, Writing

log = logging.getLogger("greenroom.actor")

_SHORTENED = 1024
"""Events that one append deletes at most: other tasks wait for its commit too."""


class Wait:
    """Somebody waits for an actor, but not for ever."""

    __slots__ = ("actor", "expired")

    def __init__(self, actor: Committing) -> None:
        self.actor = actor
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.actor.feed.signal.notify()


class Committing(Writing):
    """An actor as its journal sees it (``journal.Writer``)."""

    __slots__ = ()

    def _leave(self) -> None:
        """Go out of memory."""
        raise NotImplementedError

    def _dirty(self) -> None:
        if not self._queued and self._inflight is None:
            self._queued = True
            self.system.journal.submit(self)

    def take(self) -> Append | None:
        """Hand all that waits to the journal (see ``journal.Writer``)."""
        self._queued = False
        if self._lost is not None:
            return None
        touched, self._touched = self._touched, False
        if not (self._pending or self._timers or self._cleared or touched):
            return None
        entries, self._pending = self._pending, []
        frames, self._new = self._new, []
        sends, self._sends = self._sends, []
        timers, self._timers = self._timers, []
        cleared, self._cleared = self._cleared, []
        segment = self._fold(frames)
        if self._retakes:
            self._retakes = False
            if not self._row_epoch:
                self._row_epoch = self.epoch
                self.epoch += 1
        header = Header(
            id=self.id,
            scope=self.scope,
            context_id=self.context_id,
            state=self.state,
            status=self._status_json,
            generation=self.generation,
            sequence=self.sequence,
            created_at=self.created_at,
            updated_at=self.updated_at,
            run=self.run,
            run_start=self.run_start,
            epoch=self.epoch,
            node=self._node,
            folded=self._folded,
            floor=self.floor,
            metadata=self._metadata,
            handler=self.handler,
            blocked="" if self.state.terminal else self.blocked,
            attempts=self.attempts,
        )
        self._inflight = (header, frames, sends)
        return Append(
            expected=self._committed_sequence,
            epoch=self._row_epoch,
            header=header,
            entries=entries,
            sends=sends,
            segment=segment,
            timers=timers,
            cleared=cleared,
        )

    def _unfold(self, frame: Frame) -> None:
        self._unfolded.append(frame)
        self._unfolded_bytes += len(frame.json)

    def _fold(self, frames: list[Frame]) -> Segment | None:
        """Every so often write what came since the last segment as a new one: never rewritten."""
        for frame in frames:
            self._unfold(frame)
        settings = self.system.settings
        if (
            len(self._unfolded) < settings.tail_events
            and self._unfolded_bytes < settings.tail_bytes
        ):
            return None
        body = join(frame.response for frame in self._unfolded)
        segment = Segment(self._folded + 1, self.generation, body)
        self._folded = self.generation
        self._unfolded = []
        self._unfolded_bytes = 0
        if settings.event_limit is not None:
            self._shorten(settings.event_limit)
        return segment

    def _shorten(self, limit: int) -> None:
        """Let the oldest events go with this append, a few segments at a time: what they say is
        folded, and replay needs none of an earlier run. Never a part of a segment: a reader who
        comes back to the rest of one could not be shown the task as it was there."""
        most, soon = min(self.before_run, self.generation - limit), self.floor + _SHORTENED
        gone = 0
        for border in self._borders:
            if border > most or (gone and border > soon):
                break
            self.floor = border
            gone += 1
        del self._borders[:gone]
        self._borders.append(self._folded)

    def done(self, outcome: Outcome) -> None:
        assert self._inflight is not None
        header, frames, sends = self._inflight
        self._inflight = None
        self._forget_sends(sends)
        if outcome.verdict is Verdict.DUPLICATE:
            assert outcome.send is not None
            self.lose(Duplicate(outcome.send))
            return
        if outcome.verdict is Verdict.LOST:
            self.lose(LeaseLost(f"task {self.id} is owned elsewhere"))
            return
        self.committed = header
        self._committed_sequence = header.sequence
        self._row_epoch = 0
        self.moved()
        if frames:
            self._show(frames)
            self.feed.publish(frames)
        else:
            self.feed.signal.notify()
        if header.state.terminal:
            self._leave()
        elif self._pending or self._timers or self._cleared or self._touched:
            self._dirty()

    def _show(self, frames: list[Frame]) -> None:
        """Fold committed events into the task that replies show, while it is small."""
        shown = self._artifacts
        if shown is None:
            return
        for frame in frames:
            event = frame.response.artifact_update
            if event is not None:
                shown.apply(event)
                self._artifact_bytes += len(frame.json)
        if self._artifact_bytes > self.system.settings.tail_bytes:
            self._artifacts = None

    def unknown(self, error: BaseException) -> None:
        if self._inflight is not None:
            self._forget_sends(self._inflight[2])
        self._inflight = None
        self.lose(
            UnavailableError(
                "The store failed; what became of the request is unknown. Try again.",
                headers={"Retry-After": "1"},
            )
        )

    def lose(self, why: Exception) -> None:
        """Stop being the actor of this task: forget, and let whoever waits look elsewhere."""
        if self._lost is not None:
            return
        self._lost = why
        if self.born:
            self.system.lost_tasks[self.id] = self.scope
        self._pending.clear()
        self._new.clear()
        self._forget_sends(self._sends)
        if self.execution is not None:
            self.execution.abandon("lease lost")
        self._leave()

    def _forget_sends(self, sends: list[SendRecord]) -> None:
        for send in sends:
            self.system.sends.pop(send.key, None)

    # --- waiting ----------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Entries accepted and not yet committed."""
        return self.sequence - self._committed_sequence

    @property
    def unwritten(self) -> bool:
        """Whether anything of this actor is not in the store yet."""
        return bool(self._queued or self._inflight)

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

    def reclaim(self) -> None:
        """Take the task at the next epoch: the lease of this node ran out, and another node may
        have taken it. If so the append is refused."""
        if self._lost is None and self.committed is not None:
            self._retakes = True
            self.touch()

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
            return UnavailableError(lost.told, headers={"Retry-After": "1"})
        return InternalError()
