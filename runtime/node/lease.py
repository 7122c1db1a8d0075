"""The lease of this node: how others know that it lives, and what happens when it did not say so.

Time decides who may try to own a task, and the epoch of the task decides who wins. A node whose
lease ran out (a handler blocked the event loop, the process was stopped, the clock was set, the
store did not answer) does not give its tasks up: it takes a new name, and takes each task again at
the next epoch. That append is refused where another node was quicker, and only that task is lost.
On a store that one process owns nobody is quicker, so nothing is lost but time.
"""

from __future__ import annotations

import logging
from math import inf

import anyio

from ..actor.directory import Directory
from ..actor.system import System
from ..journal.store import Leases, StoreError
from .readiness import Readiness

log = logging.getLogger("greenroom.runtime")

_STOOD_STILL = 1.0
"""Seconds by which a wake-up is late when the event loop, and not the store, kept it."""


class Lease:
    """Renews the lease of this node while the runtime runs."""

    def __init__(
        self,
        system: System,
        directory: Directory,
        readiness: Readiness,
        *,
        endless: bool = False,
    ) -> None:
        """``endless``: nobody else writes to the store, so this node need not say that it lives."""
        self._endless = endless
        self._system = system
        self._leases: Leases = system.store
        self._directory = directory
        self._readiness = readiness
        self._renewed = (0.0, 0.0)
        """When it was renewed last: wall time, and the time of the event loop."""
        self._renamed = False
        """The tasks must be taken again at the next heartbeat that the store takes."""
        self._late = 0.0
        """By how many seconds the last wake-up was late."""

    async def begin(self) -> None:
        """Register this node. Raises ``StoreError``."""
        system = self._system
        if self._endless:
            await self._leases.heartbeat(system.node, now=system.now(), lease=inf)
        else:
            await self._renew()

    async def run(self) -> None:
        """Renew the lease until cancelled."""
        if self._endless:
            return
        settings = self._system.settings
        beat = min(settings.heartbeat / 2, settings.lease / 3)
        while True:
            due = anyio.current_time() + beat
            await anyio.sleep(beat)
            self._late = anyio.current_time() - due
            try:
                if not await self._renew():
                    await self._take_again()
                self._readiness.wrote()
            except Exception as error:
                self._readiness.failed(error)
                if not isinstance(error, StoreError):
                    log.exception("the heartbeat of this node failed; it is tried again")

    async def retire(self) -> None:
        """Let the next node have at once what still belongs to this one."""
        await self._leases.retire(self._system.node, now=self._system.now())

    async def _renew(self) -> bool:
        """Say that this node lives; whether its lease had not run out."""
        now = await self._beat()
        if now is None:
            return False
        if self._renamed:
            self._renamed = False
            self._directory.reclaim()
        self._system.lease_renewed(*now)  # only now: a step may begin once its task is taken again
        self._renewed = now
        return True

    async def _beat(self) -> tuple[float, float] | None:
        system = self._system
        now = system.now(), anyio.current_time()
        lease = system.settings.lease
        alive = await self._leases.heartbeat(system.node, now=now[0], lease=lease)
        return now if alive else None

    async def _take_again(self) -> None:
        """Go on under a new name with what nobody else has taken."""
        system = self._system
        log.warning(
            "the lease of this node ran out: %s. It goes on as a new node, and keeps the %d tasks "
            "that are awake here, but for what another node took meanwhile",
            self._why(),
            len(self._directory),
            extra={"event": "lease_ran_out"},
        )
        system.rename()
        self._renamed = True
        await self._renew()  # if the store fails now, the next heartbeat takes the tasks again

    def _why(self) -> str:
        wall, loop = self._renewed
        passed, elapsed = self._system.now() - wall, anyio.current_time() - loop
        if passed - elapsed > _STOOD_STILL:
            ahead = f"{passed - elapsed:.0f} s"
            return f"the wall clock went {ahead} ahead (it was set, or the machine slept)"
        if self._late > _STOOD_STILL:
            return (
                f"the process stood still for {self._late:.0f} s (a handler blocks the event loop, "
                "or the process was stopped)"
            )
        if elapsed >= self._system.settings.lease:
            return f"the store did not take a heartbeat for {elapsed:.0f} s"
        return "the store says that this node is gone (a process retired it, or a clock was set)"
