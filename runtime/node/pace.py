"""How long housekeeping rests between two sweeps.

Other processes may write to most stores (a tool that cancels a task, another node), and nothing
announces what they write: so housekeeping looks at intervals (``Polling``). Where this runtime is
the only one that writes to its store, and time passes as the event loop says, housekeeping knows
when something can be due (``OnDemand``): a week in which nothing happens then costs next to
nothing, which makes virtual time cheap in tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Protocol

import anyio

from ..actor.system import System
from ..concurrency.signal import Signal
from ..contexts.contexts import Contexts
from ..journal.store import Timers

_LONGEST = 3600.0
"""Seconds of the longest rest: what no timer tells is found this late at most."""
_SHARE = 64
"""What is kept for some time is deleted late by this share of the time at most."""


class Pace(Protocol):
    """Rests between sweeps."""

    async def rest(self, seconds: float) -> float:
        """Rest for ``seconds``, or until something can be due; return the time of the event loop
        at which this should have ended."""
        ...


class Polling:
    """Looks at intervals."""

    async def rest(self, seconds: float) -> float:
        due = anyio.current_time() + seconds
        await anyio.sleep(seconds)
        return due


class OnDemand:
    """Looks when a timer is due, soon after each commit, and else ever more rarely."""

    def __init__(self, system: System, contexts: Contexts, agents: Sequence[str]) -> None:
        self._system = system
        self._timers: Timers = system.store
        self._contexts = contexts
        self._agents = tuple(agents)
        self._committed = Signal()
        self._changed = True
        self._rest = 0.0

    def committed(self) -> None:
        """Something was written: more may be due."""
        self._changed = True
        self._committed.notify()

    async def rest(self, seconds: float) -> float:
        if self._changed or seconds == 0:
            self._rest, self._changed = seconds, False
        else:
            self._rest = min(2 * self._rest or seconds, self._longest)
        wait = min(self._rest, await self._until_timer(seconds))
        began = anyio.current_time()
        with anyio.move_on_after(wait):
            await self._committed.wait()
            # What was committed may be due sooner than what this rest was for.
            left = began + wait - anyio.current_time()
            await anyio.sleep(min(seconds, left))
            return anyio.current_time()
        return began + wait

    async def _until_timer(self, seconds: float) -> float:
        """Seconds until the next timer is due; ``seconds`` for one that could not be obeyed."""
        timers = await self._timers.due(now=inf, limit=1, agents=self._agents)
        if not timers:
            return inf
        left = timers[0].timer.due_at - self._system.now()
        return left if left > 0 else seconds

    @property
    def _longest(self) -> float:
        """How long to rest where nothing is written and no timer is due."""
        settings = self._system.settings
        kept = [settings.task_retention, settings.send_retention, settings.context_retention]
        kept.append(settings.event_retention)
        if self._contexts.has_listeners:
            kept.append(settings.context_idle)
        shares = [max(time / _SHARE, settings.prune_every) for time in kept if time is not None]
        return min(_LONGEST, *shares)
