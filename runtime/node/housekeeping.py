"""What a runtime does unasked: take up orphans, let durable timers fire, forget what is old.

Each sweep is bounded and logged. An error ends neither the sweep nor the next one, and a task that
cannot be woken stands in nobody's way: it is passed over for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf, nextafter

import anyio

from ..actor.actor import Actor
from ..actor.directory import Directory
from ..actor.system import System
from ..actor.timers import CANCEL, DEADLINE, ENDING, UNBLOCK
from ..contexts.contexts import Contexts
from ..journal.entries import NEVER, DueTimer, TaskRef
from ..journal.store import (
    Leases,
    Retention,
    StoreDamagedError,
    StoreError,
    Timers,
)
from .pace import Pace, Polling
from .readiness import Readiness

log = logging.getLogger("greenroom.housekeeping")

LATE = 0.5
"""How many seconds late a wake-up must be before the log says so."""
BATCH = 100
"""Tasks taken up in one sweep."""
_SUSPECT = 3
"""A task whose server died so often is taken up alone: one of such tasks may be what kills it, and
the others shall not have to answer for that."""
_TRIAL = 2.0
"""Seconds after which a task that was taken up alone, and the server with it, is no suspect any
more: the next one need not wait for its end."""
_LOOK_EVERY = 10.0
"""Seconds between two searches for tasks that were left without an owner or an end."""
_PASSED_OVER = 60.0
"""Seconds until a task that could not be woken is tried again."""


class Housekeeping:
    """The sweeping child of a runtime."""

    def __init__(
        self,
        system: System,
        directory: Directory,
        contexts: Contexts,
        readiness: Readiness,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace or Polling()
        self._system = system
        self._journal = system.stored_journal
        self._leases: Leases = system.store
        self._timers: Timers = system.store
        self._tasks = system.stored_tasks
        self._retention: Retention = system.store
        self._directory = directory
        self._contexts = contexts
        self._readiness = readiness
        self._agents = tuple(directory.agents)
        self._untried = NEVER
        """Tasks that were blocked before this process began are due by then."""
        self._passed: dict[TaskRef, float] = {}
        """Tasks that could not be woken, and when to try again."""
        self._suspect: Actor | None = None
        self._suspect_since = 0.0
        self._owners_at = self._ends_at = NEVER
        self._adrift: set[str] = set()
        """Tasks that seemed to be left without an end when they were last looked for."""
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
                if self._system.draining:  # nothing is begun any more
                    await self._rest(settings.sweep_every)
                    continue
                self.look_for_ends()
                await self.look_for_owners()
                await self.look_after_lost()
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
            except StoreError as error:
                self._readiness.failed(error)
            except Exception:
                log.exception("a sweep failed; it is tried again")
            await self._rest(0.0 if busy else settings.sweep_every)

    async def _rest(self, seconds: float) -> None:
        """Sleep, and notice when the event loop did not let us wake in time."""
        due = await self._pace.rest(seconds)
        late = anyio.current_time() - due
        if late > LATE:
            tasks = self._directory.running()
            log.warning(
                "the event loop stood still for %.1f s: the process was stopped, or a handler "
                "blocks it (running: %s%s), which should be a plain `def`, that runs in a thread, "
                "or await",
                late,
                ", ".join(tasks[:3]) or "none now",
                ", …" if len(tasks) > 3 else "",
                extra={"event": "loop_lag"},
            )

    async def look_after_lost(self) -> None:
        """Tasks whose actor lost track of the store: read again, and go on if they are ours. What
        cannot be woken now is tried again."""
        system = self._system
        for task_id, scope in list(system.lost_tasks.items()):
            ref = TaskRef(scope, task_id)
            if self._is_passed_over(ref):
                continue
            header = await self._tasks.header(scope, task_id)
            ours = header is not None and header.node == system.node and not header.state.terminal
            if not ours or task_id in self._directory or await self._wake(ref) is not None:
                system.lost_tasks.pop(task_id, None)

    async def look_for_owners(self) -> None:
        """Find the tasks that the store says are this node's, and that are not awake here."""
        system = self._system
        now = anyio.current_time()
        if now < self._owners_at:
            return
        self._owners_at = now + _LOOK_EVERY
        for ref in await self._leases.owned(system.node, agents=self._agents):
            if ref.id not in self._directory:
                system.lost_tasks.setdefault(ref.id, ref.scope)

    def look_for_ends(self) -> None:
        """End the tasks that are awake and that nothing has moved on since the last look."""
        now = anyio.current_time()
        if now < self._ends_at:
            return
        self._ends_at = now + _LOOK_EVERY
        adrift = {actor.id: actor for actor in self._directory.adrift()}
        for task_id in self._adrift & adrift.keys():
            adrift.pop(task_id).give_up()
        self._adrift = set(adrift)

    async def take_up_orphans(self) -> bool:
        """Wake tasks whose owner is gone; whether there may be more."""
        system = self._system
        room = self._room
        limit = min(BATCH, room) + len(self._passed)
        if room <= 0:
            return False
        refs = await self._leases.orphans(now=system.now(), limit=limit, agents=self._agents)
        taken = failed = 0
        for ref in refs:
            if ref.id in self._directory or (actor := await self._wake(ref)) is None:
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
                due = await self._timers.due(
                    now=system.now(), limit=BATCH, agents=self._agents, name=name
                )
                if await self._fire(due) < BATCH:
                    break

    async def fire_timers(self) -> bool:
        """Wake the tasks whose durable timers are due; whether there may be more."""
        system = self._system
        limit = BATCH + len(self._passed)
        due = await self._timers.due(now=system.now(), limit=limit, agents=self._agents)
        return await self._fire(due) > 0 and len(due) == limit

    async def try_blocked(self) -> bool:
        """Try once what other processes were blocked at, without waiting until it is due: with
        this one a handler may have come that fits. Whether there may be more."""
        room = self._room
        if self._untried == NEVER or room <= 0:
            return False
        limit = min(BATCH, room) + len(self._passed)
        due = await self._timers.due(
            now=self._untried, limit=limit, agents=self._agents, name=UNBLOCK
        )
        if await self._fire(due) > 0 and len(due) == limit:
            return True
        self._untried = NEVER
        return False

    async def _fire(self, due: Sequence[DueTimer]) -> int:
        """Wake tasks by their timers; how many could be woken.

        What would start a handler waits while there is no room for one; what ends one does not.
        """
        fired = 0
        room = self._room
        for item in due:
            ends = item.timer.name in ENDING
            starts = not ends and item.ref.id not in self._directory
            if starts and room <= 0:
                continue
            actor = await self._wake(item.ref, ends=ends)
            if actor is None:
                continue
            try:
                actor.timer_due(item.timer)
            except Exception as error:
                self._pass_over(item.ref, error)
                continue
            fired += 1
            room -= starts
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

        pruned = await self._retention.prune(
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
        actor = self._directory.get(ref.id)
        if actor is not None:
            return actor
        if self._is_passed_over(ref):
            return None
        self._passed.pop(ref, None)
        try:
            loaded = await self._journal.load(ref.scope, ref.id)
            if loaded is None:
                return None
            if (actor := self._directory.get(ref.id)) is not None:
                return actor
            suspect = loaded.header.attempts >= _SUSPECT and loaded.header.node != "" and not ends
            if suspect and self._suspected:
                self._passed[ref] = system.now() + system.settings.sweep_every
                return None
            actor = self._directory.wake(loaded, ends=ends)
            if suspect:
                self._suspect = actor
                self._suspect_since = anyio.current_time()
            return actor
        except StoreDamagedError:
            raise
        except Exception as error:
            self._pass_over(ref, error)
            return None

    def _is_passed_over(self, ref: TaskRef) -> bool:
        again = self._passed.get(ref)
        return again is not None and again > self._system.now()

    def _pass_over(self, ref: TaskRef, error: Exception) -> None:
        log.error(
            "task %s cannot be woken and is passed over for a while: %s",
            ref.id, error, exc_info=not isinstance(error, StoreError),
        )  # fmt: skip
        self._passed[ref] = self._system.now() + _PASSED_OVER

    @property
    def _suspected(self) -> bool:
        """Whether a task has just been set to work that may be what brought the server down."""
        actor = self._suspect
        if actor is None or actor.attempts < _SUSPECT:
            return False
        if anyio.current_time() - self._suspect_since >= _TRIAL:
            return False  # the server still lives
        execution = actor.execution
        return execution is not None and not execution.asleep

    @property
    def _room(self) -> int:
        """How many more handlers may be at work."""
        system = self._system
        return system.settings.handlers - (system.running - system.waiting)
