"""A replay that comes no further: found, and blocked visibly, instead of waiting for ever.

On replay lines wait for each other: one that would go on behind a recorded cut, one that would
decide what something recorded decides, a time-out whose block has entries to find again. All of
that is recorded, so the handler comes there without anything from outside. A handler that was
changed, or that depends on chance, may never come there.

Two conditions end the wait, both looked at only while somebody waits, and only on replay:

- No operation begins or ends for some turns of the event loop, and every line that is at work waits
  for the replay. Then nothing can move any of them any more.
- A line is somewhere else, in an ``await`` that Greenroom knows nothing of, and no operation begins
  or ends for a minute."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ..concurrency.supervisor import Child
from .activity import Activity
from .replay import ReplayMismatch

_LONGEST = 60.0
"""Seconds that a replay may take between two operations."""
_FIRST_LOOK, _LOOK_EVERY = 0.05, 1.0


class Standstill:
    """Watches one replay while somebody waits for it."""

    __slots__ = ("_activity", "_child", "_stalled")

    def __init__(self, activity: Activity, stalled: Callable[[ReplayMismatch], None]) -> None:
        self._activity = activity
        self._stalled = stalled
        """Ends the handler, and blocks its task."""
        self._child: Child | None = None

    def watch(self) -> None:
        """Somebody waits for the replay to come further."""
        if self._child is None:
            self._child = self._activity.actor.system.start(self._watch, "replay")

    def leave(self) -> None:
        """The handler is over."""
        if self._child is not None:
            self._child.cancel()
            self._child = None

    async def _watch(self) -> None:
        activity, pause = self._activity, _FIRST_LOOK
        moves, since = activity.moves, anyio.current_time()
        while activity.waits_for_replay:
            await anyio.sleep(pause)
            await activity.at_rest()
            if not activity.waits_for_replay:
                break
            if activity.moves != moves:
                moves, since, pause = activity.moves, anyio.current_time(), _FIRST_LOOK
            elif activity.only_waits or anyio.current_time() - since >= _LONGEST:
                self._child = None  # it is not to be cancelled by what it does
                self._stalled(activity.replay.stalled())
                return
            else:
                pause = min(2 * pause, _LOOK_EVERY)
        self._child = None
