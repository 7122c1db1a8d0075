"""What a task has committed: the journal's side of an actor.

At most one append of a task is under way. When it is answered, its events go to the feed; when it
is refused, somebody else owns the task and this actor forgets everything.
"""

from __future__ import annotations

import logging

from ...protocol.errors import UnavailableError
from ...protocol.frame import Frame
from ..journal.entries import Append, Header, Outcome, Segment, SendRecord, Verdict
from ..journal.fold import join
from .accepted import AcceptedState
from .errors import Duplicate, LeaseLost

log = logging.getLogger("greenroom.actor")

_SHORTENED = 1024
"""Events that one append deletes at most: other tasks wait for its commit too."""


class CommittedState(AcceptedState):
    """An actor as its journal sees it: the writer of its entries (``committer.Writer``)."""

    __slots__ = ()

    def take(self) -> Append | None:
        """Hand all that waits to the journal (see ``committer.Writer``)."""
        self._queued = False
        if self._lost is not None:
            return None
        touched, self._touched = self._touched, False
        if not (self._pending or self._timers or self._cleared or touched):
            return None
        entries, self._pending = self._pending, []
        frames, self._new = self._new, []
        sends, self._sends = self._sends, []
        pushes, self._pushes = self._pushes, ()
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
            pushes=pushes,
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
            self.leave()
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
        self.leave()

    def _forget_sends(self, sends: list[SendRecord]) -> None:
        for send in sends:
            self.system.sends.pop(send.key, None)

    @property
    def backlog(self) -> int:
        """Entries accepted and not yet committed."""
        return self.sequence - self._committed_sequence

    @property
    def unwritten(self) -> bool:
        """Whether anything of this actor is not in the store yet."""
        return bool(self._queued or self._inflight)

    def reclaim(self) -> None:
        """Take the task at the next epoch: the lease of this node ran out, and another node may
        have taken it. If so the append is refused."""
        if self._lost is None and self.committed is not None:
            self._retakes = True
            self.touch()
