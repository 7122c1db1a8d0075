"""Committed events on their way to readers.

A *feed* keeps the newest events of one awake task. A *subscription* reads them with a cursor of its
own: the generation of the last event that it gave. For the next events there are three cases:

- The feed has the event after the cursor: the subscription takes all from there, without a copy.
- The feed has forgotten it: the subscription reads pages from the store until it meets the feed.
- There is none yet: the subscription waits for the signal of the feed, or for its heartbeat.

So no event is queued for a reader, and no task waits for a reader. A slow reader costs memory to
nobody: it falls out of the feed and reads from the store. A commit only wakes those who wait, and
no event is given twice or left out, since the generation of each follows that of the one before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ...protocol.frame import Frame
from ...protocol.types import TaskState
from ..concurrency.signal import Signal


class Feed:
    """The newest committed events of a task; ``generation`` is that of the last of them."""

    __slots__ = ("_bytes", "_max_bytes", "_max_events", "closed", "frames", "generation", "signal")

    def __init__(self, generation: int, *, max_events: int, max_bytes: int) -> None:
        self.generation = generation
        self.frames: deque[Frame] = deque()
        self.closed = False
        """No event will follow: the task is over, or its actor left this node."""
        self.signal = Signal()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes

    @property
    def floor(self) -> int:
        """Generation before the first event kept: a cursor below it must read the store."""
        return self.generation - len(self.frames)

    def restore(self, frames: Sequence[Frame], generation: int) -> None:
        """Begin with the newest events of a task that was asleep."""
        self.frames.extend(frames)
        self._bytes = sum(len(frame.json) for frame in frames)
        self.generation = generation

    def publish(self, frames: Sequence[Frame]) -> None:
        """Add committed events, in order, and wake the readers."""
        kept = self.frames
        for frame in frames:
            kept.append(frame)
            self._bytes += len(frame.json)
        self.generation = frames[-1].generation
        # One more turn than a reader needs to come round: bounded, whatever the task's size.
        while len(kept) > self._max_events or (self._bytes > self._max_bytes and len(kept) > 1):
            self._bytes -= len(kept.popleft().json)
        self.signal.notify()

    def close(self) -> None:
        """Say that nothing follows."""
        self.closed = True
        self.signal.notify()

    def after(self, cursor: int) -> list[Frame] | None:
        """Events after ``cursor``; ``None`` if some of them are no longer here."""
        skip = cursor - self.floor
        if skip < 0:
            return None
        kept = self.frames
        # From the right: a reader is mostly near the end, where a deque is quick.
        return [kept[index] for index in range(skip - len(kept), 0)]


Catchup = Callable[[int], Awaitable["Sequence[Frame] | None"]]
"""Reads events after a cursor from the store; ``None``: the range or the task is gone."""


class Subscription:
    """One reader of one task. See ``next``; call ``close`` when done, always."""

    __slots__ = (
        "_catchup",
        "_closed",
        "_done",
        "_error",
        "_feed",
        "_first",
        "_resync",
        "_sending",
        "active",
        "cursor",
        "ending",
        "on_close",
        "release",
        "reset",
        "retry",
        "task_id",
        "ticked",
    )

    def __init__(
        self,
        feed: Feed | None,
        first: Frame | None,
        *,
        cursor: int,
        sending: bool = False,
        catchup: Catchup,
        resync: Callable[[], Awaitable[Frame | None]] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self._feed = feed
        self._first = first
        self._sending = sending
        self._catchup = catchup
        self._resync = resync
        self.release = release
        """Called once on closing, by whom the feed belongs to …"""
        self.on_close: Callable[[Subscription], None] | None = None
        """… and by whoever counts streams."""
        self._closed = False
        self._done = False
        self._error: Exception | None = None
        self.task_id = ""
        """Empty: a direct Message, of no task."""
        self.cursor = cursor
        """Generation of the last event handed out."""
        self.reset = False
        """The cursor asked for is outside what is kept: what follows begins with a new snapshot."""
        self.retry = False
        """After the end: the server drains, and the client should come back."""
        self.ending = False
        """It ends behind what is at hand."""
        self.active = True
        """Something was handed out since the last heartbeat."""
        self.ticked = False

    async def next(self) -> Sequence[Frame] | None:
        """Return the events that are ready, in order; wait for one if none is.

        An empty sequence means that nothing came for a heartbeat's time. ``None`` is the end: of
        the task, of this send's interaction, or of this server (then ``retry`` is set). Safe to
        cancel: what was not returned is returned by the next call. Raises what it was made to
        ``fail`` with.
        """
        if self._error is not None:
            raise self._error
        if self._first is not None:
            first, self._first = self._first, None
            self._done = self._done or self._over(first)
            return (first,)
        while not (self._done or self._closed):
            feed = self._feed
            frames = feed.after(self.cursor) if feed is not None else None
            if frames is None:
                if self.ending:
                    break
                read = await self._catchup(self.cursor)
                if read is None:
                    return await self._start_over()
                frames = list(read)
                if self._error is not None or (not frames and feed is None):
                    break
            if frames:
                return self._take(frames)
            assert feed is not None
            if feed.closed:
                self.retry = True  # the task goes on elsewhere, or later
                break
            if self.ending:
                break
            if self.ticked:
                self.ticked = False
                return ()
            await feed.signal.wait()
        if self._error is not None:
            raise self._error
        return None

    def _take(self, frames: list[Frame]) -> Sequence[Frame]:
        for index, frame in enumerate(frames):
            if self._over(frame):
                self._done = True
                self.retry = False
                frames = frames[: index + 1]
                break
        self.cursor = frames[-1].generation
        self.active = True
        return frames

    def _over(self, frame: Frame) -> bool:
        """Whether nothing follows: a send ends with its interaction, a subscription with the task
        (section 11.7)."""
        state = frame.state
        return state is not None and (
            state.terminal or (self._sending and state is TaskState.INPUT_REQUIRED)
        )

    async def _start_over(self) -> Sequence[Frame] | None:
        snapshot = await self._resync() if self._resync is not None else None
        if snapshot is None:
            return None
        self.reset = True
        self._done = self._over(snapshot)
        self.cursor = snapshot.generation
        return (snapshot,)

    def tick(self) -> None:
        """Called every heartbeat: an idle ``next`` returns an empty batch."""
        if self.active:
            self.active = False
            return
        self.ticked = True
        if self._feed is not None:
            self._feed.signal.notify()

    def end(self, *, retry: bool) -> None:
        """End the stream from the server's side, behind what this node has at hand."""
        if self.ending or self._done:
            return
        self.ending = True
        self.retry = retry
        if self._feed is not None:
            self._feed.signal.notify()

    def fail(self, error: Exception) -> None:
        """End the stream with an error; nothing more is handed out."""
        self._error = error
        self._done = True
        if self._feed is not None:
            self._feed.signal.notify()

    def close(self) -> None:
        """Let go of everything. Harmless when done twice."""
        if not self._closed:
            self._closed = True
            if self._feed is not None:
                self._feed.signal.notify()
            if self.release is not None:
                self.release()
            if self.on_close is not None:
                self.on_close(self)

    def __repr__(self) -> str:
        return f"<Subscription cursor={self.cursor} {'closed' if self._closed else 'open'}>"
