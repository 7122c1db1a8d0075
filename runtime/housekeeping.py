"""What a runtime does unasked: take up orphans, let durable timers fire, forget what is old.

Each sweep is bounded, logged and tried again: an error in one never ends the next.
"""

from __future__ import annotations

import logging

import anyio

from .actor import Actor
from .directory import Directory
from .ports import TaskRef
from .system import System

log = logging.getLogger("greenroom.housekeeping")

BATCH = 100
"""Tasks taken up in one sweep."""


class Housekeeping:
    """The sweeping child of a runtime."""

    def __init__(self, system: System, directory: Directory) -> None:
        self._system = system
        self._directory = directory
        self.recovered = 0
        self.pruned = 0

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self._system.settings
        prune_at = 0.0
        while True:
            try:
                busy = await self.take_up_orphans()
                busy = await self.fire_timers() or busy
                now = self._system.now()
                if now >= prune_at and not await self.prune():
                    prune_at = now + settings.prune_every
            except Exception:
                log.exception("a sweep failed; it is tried again")
                busy = False
            await anyio.sleep(0.0 if busy else settings.sweep_every)

    async def take_up_orphans(self) -> bool:
        """Wake tasks whose owner is gone; whether there may be more."""
        system = self._system
        refs = await system.store.orphans(now=system.now(), limit=BATCH)
        woken = 0
        for ref in refs:
            if ref.id not in system.actors and await self._wake(ref) is not None:
                woken += 1
        self.recovered += woken
        # Orphans of agents that are not served here stay: no reason to look again at once.
        return len(refs) == BATCH and woken > 0

    async def fire_timers(self) -> bool:
        """Wake the tasks whose durable timers are due; whether there may be more."""
        system = self._system
        due = await system.store.due(now=system.now(), limit=BATCH)
        fired = 0
        for item in due:
            if (actor := await self._wake(item.ref)) is not None:
                actor.timer_due(item.timer)
                fired += 1
        if fired:
            await system.journal.caught_up()
        return len(due) == BATCH and fired > 0

    async def prune(self) -> bool:
        """Delete what is kept no longer; whether there may be more."""
        system = self._system
        settings = system.settings
        now = system.now()
        kept = settings.task_retention
        pruned = await system.store.prune(
            tasks_before=now - kept if kept is not None else float("-inf"),
            sends_before=now - settings.send_retention,
            limit=BATCH,
        )
        self.pruned += pruned.tasks
        return pruned.tasks + pruned.sends >= BATCH

    async def _wake(self, ref: TaskRef) -> Actor | None:
        system = self._system
        actor = system.actors.get(ref.id)
        if actor is not None:
            return actor
        loaded = await system.store.load(ref.scope, ref.id)
        if loaded is None or ref.scope.agent not in self._directory.agents:
            return None
        return system.actors.get(ref.id) or self._directory.wake(loaded)
