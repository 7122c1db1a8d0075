"""What a runtime does unasked: take up orphans, let durable timers fire, forget what is old.

Each sweep is bounded and logged. An error ends neither the sweep nor the next one, and a task that
cannot be woken stands in nobody's way: it is passed over for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf, nextafter

import anyio

from .actor import CANCEL, DEADLINE, UNBLOCK, Actor
from .contexts import Contexts
from .directory import Directory
from .ports import NEVER, DueTimer, TaskRef
from .system import System

log = logging.getLogger("greenroom.housekeeping")

LATE = 0.5
"""Seconds after which a late wake-up is told."""
BATCH = 100
"""Tasks taken up in one sweep."""
_PASSED_OVER = 60.0
"""Seconds until a task that could not be woken is tried again."""


class Housekeeping:
    """The sweeping child of a runtime."""

    def __init__(self, system: System, directory: Directory, contexts: Contexts) -> None:
        self._system = system
        self._directory = directory
        self._contexts = contexts
        self._agents = tuple(directory.agents)
        self._untried = NEVER
        """Tasks that were blocked before this process began are due by then."""
        self._passed: dict[TaskRef, float] = {}
        """Tasks that could not be woken, and when to try again."""
        self.recovered = 0
        self.pruned = 0

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self._system.settings
        # Whatever is blocked here and now will be due later than that.
        self._untried = nextafter(self._system.now() + settings.unblock_every, -inf)
        prune_at = 0.0
        while True:
            busy = False
            try:
                await self.end(CANCEL, DEADLINE)
                await self.look_after_strays()
                busy = await self.take_up_orphans()
                busy = await self.fire_timers() or busy
                busy = await self.try_blocked() or busy
                busy = await self._contexts.sweep() or busy
                now = self._system.now()
                if now >= prune_at:
                    if await self.prune():
                        busy = True
                    else:
                        prune_at = now + settings.prune_every
            except Exception:
                log.exception("a sweep failed; it is tried again")
            await self._rest(0.0 if busy else settings.sweep_every)

    async def _rest(self, seconds: float) -> None:
        """Sleep, and notice when the event loop did not let us wake in time."""
        due = anyio.current_time() + seconds
        await anyio.sleep(seconds)
        late = anyio.current_time() - due
        if late > LATE:
            tasks = [a.id for a in self._system.actors.values() if a.execution is not None]
            log.warning(
                "the event loop stood still for %.1f s: a handler blocks it (running: %s%s); "
                "make it a plain `def`, which runs in a thread, or await",
                late,
                ", ".join(tasks[:3]) or "none now",
                ", …" if len(tasks) > 3 else "",
                extra={"event": "loop_lag"},
            )

    async def look_after_strays(self) -> None:
        """Tasks whose actor lost track of the store: read again, and go on if they are ours."""
        system = self._system
        for task_id, scope in list(system.strays.items()):
            header = await system.store.header(scope, task_id)
            if header is not None and not header.state.terminal and header.node == system.node:
                await self._wake(TaskRef(scope, task_id))
            system.strays.pop(task_id, None)

    async def take_up_orphans(self) -> bool:
        """Wake tasks whose owner is gone; whether there may be more."""
        system = self._system
        room = system.settings.handlers - (system.running - system.waiting)
        limit = min(BATCH, room) + len(self._passed)
        if room <= 0:
            return False
        refs = await system.store.orphans(now=system.now(), limit=limit, agents=self._agents)
        taken = failed = 0
        for ref in refs:
            if ref.id in system.actors or (actor := await self._wake(ref)) is None:
                continue
            if actor.committed is not None and actor.committed.state.terminal:
                continue  # it ended meanwhile
            taken += 1
            failed += actor.state.terminal
        self.recovered += taken
        if taken:
            log.info(
                "tasks taken up from processes that are gone: %d go on, %d failed",
                taken - failed, failed,
            )  # fmt: skip
            await system.journal.caught_up()
        return taken > 0 and len(refs) == limit

    async def end(self, *names: str) -> None:
        """Carry out commands and deadlines, by the names of their timers: those that came while
        nobody served count for more than what recovery or another timer makes of a task."""
        system = self._system
        for name in names:
            while True:
                due = await system.store.due(
                    now=system.now(), limit=BATCH, agents=self._agents, name=name
                )
                if await self._fire(due) < BATCH:
                    break

    async def fire_timers(self) -> bool:
        """Wake the tasks whose durable timers are due; whether there may be more."""
        system = self._system
        limit = BATCH + len(self._passed)
        due = await system.store.due(now=system.now(), limit=limit, agents=self._agents)
        return await self._fire(due) > 0 and len(due) == limit

    async def try_blocked(self) -> bool:
        """Try once what other processes were blocked at, without waiting until it is due: with
        this one a handler may have come that fits. Whether there may be more."""
        system = self._system
        room = system.settings.handlers - (system.running - system.waiting)
        if self._untried == NEVER or room <= 0:
            return False
        limit = min(BATCH, room) + len(self._passed)
        due = await system.store.due(
            now=self._untried, limit=limit, agents=self._agents, name=UNBLOCK
        )
        if await self._fire(due) > 0 and len(due) == limit:
            return True
        self._untried = NEVER
        return False

    async def _fire(self, due: Sequence[DueTimer]) -> int:
        """Wake tasks by their timers; how many could be woken."""
        fired = 0
        for item in due:
            actor = await self._wake(item.ref, ends=item.timer.name in (CANCEL, DEADLINE))
            if actor is not None:
                actor.timer_due(item.timer)
                fired += 1
        if fired:
            await self._system.journal.caught_up()
        return fired

    async def prune(self) -> bool:
        """Delete what is kept no longer; whether there may be more."""
        system = self._system
        settings = system.settings
        now = system.now()

        def before(kept: float | None) -> float:
            return NEVER if kept is None else now - kept

        pruned = await system.store.prune(
            tasks_before=before(settings.task_retention),
            sends_before=before(settings.send_retention),
            contexts_before=before(settings.context_retention),
            events_before=before(settings.event_retention),
            limit=BATCH,
        )
        self.pruned += pruned.tasks
        self._contexts.gone(pruned.contexts)
        expired = sum(gone.expired for gone in pruned.contexts)
        if expired:
            log.info("%d contexts expired; their tasks were deleted", expired)
        return pruned.tasks + pruned.sends >= BATCH or BATCH in (expired, pruned.logs)

    async def _wake(self, ref: TaskRef, *, ends: bool = False) -> Actor | None:
        """The actor of a task, awake; ``None`` if it cannot be woken now."""
        system = self._system
        actor = system.actors.get(ref.id)
        if actor is not None:
            return actor
        if (again := self._passed.get(ref)) is not None:
            if again > system.now():
                return None
            del self._passed[ref]
        try:
            loaded = await system.store.load(ref.scope, ref.id)
            if loaded is None:
                return None
            return system.actors.get(ref.id) or self._directory.wake(loaded, ends=ends)
        except Exception:
            log.exception("task %s cannot be woken; it is passed over for a while", ref.id)
            self._passed[ref] = system.now() + _PASSED_OVER
            return None
