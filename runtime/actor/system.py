"""What every actor of one runtime shares: store, journal, clock, time-outs, children."""

from __future__ import annotations

import logging
import os
import random
import secrets
from collections.abc import Callable
from typing import Any, Protocol

import anyio

from ..call import TaskScope
from ..concurrency.lanes import Agenda, Lane, Ticker
from ..concurrency.signal import Signal
from ..concurrency.supervisor import Body, Child, Supervisor
from ..journal.clock import WireClock
from ..journal.committer import Committer
from ..journal.store import Clock, Journal, Store, Tasks
from ..settings.settings import RuntimeSettings
from .running import Launch

log = logging.getLogger("greenroom.runtime")

_VERSION = bytes(0x40 | byte & 0x0F for byte in range(256))
"""What byte 6 of a UUID becomes in version 4 (RFC 9562 section 5.4) …"""
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))
"""… and byte 8."""


class Creatable(Protocol):
    """A task that exists no later than after a short delay."""

    def create(self) -> None:
        """Let the task exist."""
        ...


class Waiter(Protocol):
    """Somebody who waits for a task, but not for ever."""

    def expire(self) -> None:
        """The time is over."""
        ...


class Cancelled(Protocol):
    """A handler that the runtime has cancelled."""

    def overdue(self) -> None:
        """The grace is over."""
        ...


class Restful(Protocol):
    """A task that goes to rest when nobody needs it."""

    def idle_over(self) -> None:
        """Nobody has needed it for the idle time."""
        ...


class Expires(Protocol):
    """A handler at work, as time sees it (``durable.activity.Activity``)."""

    def expire(self, name: str) -> None:
        """The time has come that ``name`` was waiting for."""
        ...


class System:
    """The surroundings of the actors of one runtime on one node."""

    def __init__(
        self, store: Store, settings: RuntimeSettings, clock: Clock, launch: Launch
    ) -> None:
        self.store = store
        """Opened and closed by the runtime; all others hold the role that they need."""
        self.stored_journal: Journal = store
        self.stored_tasks: Tasks = store
        self.settings = settings
        self.clock = clock
        self.launch = launch
        """Makes the run of a handler."""
        self.node = secrets.token_hex(8)
        """Random per start: a dead node never comes back."""
        self.journal = Committer(store, clock.now)
        self.ticker = Ticker()
        self.creations: Lane[Creatable] = self.ticker.lane(settings.task_delay, _create)
        self.waits: Lane[Waiter] = self.ticker.lane(settings.blocking_wait, _expire)
        self.polls: Lane[Waiter] = self.ticker.lane(settings.long_poll_wait, _expire)
        self.cancel_deadlines: Lane[Cancelled] = self.ticker.lane(settings.cancel_grace, _overdue)
        self.idle: Lane[Restful] = self.ticker.lane(settings.idle, _rest)
        self.alarms: Agenda[tuple[Expires, str]] = self.ticker.agenda(_ring)
        """What time does to handlers: whose, and the name of its timer."""
        self.supervisor: Supervisor | None = None
        self.forget: Callable[[Any], object] = bool
        """Called with an actor that leaves memory; the directory sets it."""
        self.deps: dict[str, Any] = {}
        """What the lifespans of the agents yielded, by slug."""
        self.sends: dict[bytes, tuple[Any, int, int]] = {}
        """Sends accepted and not yet committed: a repeat attaches to (actor, after, sequence)."""
        self.lost_tasks: dict[str, TaskScope] = {}
        """Tasks whose actor was lost: who has them now must be looked up in the store."""
        self.former_nodes: set[str] = set()
        """Names that this node had before a lease of it ran out."""
        self._alive_until = (float("inf"), float("inf"))
        """When the lease of this node ends unless it is renewed: wall time, and time of the event
        loop. Neither may be over: one clock can be set, the other may stand still with the
        machine."""
        self._alive = Signal()
        self.running = 0
        """Handlers that run now …"""
        self.waiting = 0
        """… of which so many wait for their client."""
        self._at_work: dict[tuple[str, str], int] = {}
        """Those that do not wait, by tenant and owner."""
        self._quiet = Signal()
        self._drain_signal = Signal()
        self.draining = False
        self.tracing = False
        """Somebody collects spans."""
        self.random = random.Random()
        self._threads: anyio.CapacityLimiter | None = None
        self._random_digits: list[str] = []
        self.wire_time = WireClock().write
        """Writes a moment as the wire does."""

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        return self.clock.now()

    def timestamp(self) -> str:
        """The present as the wire writes it: RFC 3339, UTC, milliseconds (section 5.6.1)."""
        return self.wire_time(self.clock.now())

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """Bounds the worker threads of plain functions."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self.settings.threads)
        return self._threads

    def lease_renewed(self, now: float, loop_time: float) -> None:
        """The lease was renewed at ``now``, wall time, and ``loop_time`` of the event loop."""
        lease = self.settings.lease * 0.9
        self._alive_until = now + lease, loop_time + lease
        self._alive.notify()

    async def until_alive(self) -> None:
        """Wait until the lease is sure to hold: nothing may be begun that others may begin too.

        A process that was stopped comes back here, and learns whether its tasks are still its own.
        """
        while True:
            wall, loop = self._alive_until
            if self.now() <= wall and anyio.current_time() <= loop:
                return
            await self._alive.wait()

    def began(self, scope: TaskScope) -> None:
        """A handler is to run: it counts from here on, not only once its child has its turn."""
        self.running += 1
        self._count(scope, 1)

    def ended(self, scope: TaskScope) -> None:
        """A handler ended."""
        self.running -= 1
        self._count(scope, -1)
        if not self.running:
            self._quiet.notify()
        self.notify_drain()

    def paused(self, scope: TaskScope) -> None:
        """A handler waits for its client, or for time."""
        self.waiting += 1
        self._count(scope, -1)

    def resumed(self, scope: TaskScope) -> None:
        """It waits no longer."""
        self.waiting -= 1
        self._count(scope, 1)

    def at_work(self, scope: TaskScope) -> int:
        """How many handlers of this owner are at work."""
        return self._at_work.get((scope.tenant, scope.owner), 0)

    def _count(self, scope: TaskScope, more: int) -> None:
        key = (scope.tenant, scope.owner)
        left = self._at_work.get(key, 0) + more
        if left:
            self._at_work[key] = left
        else:
            del self._at_work[key]

    def notify_drain(self) -> None:
        """Something happened that an orderly end waits for."""
        if self.draining:
            self._drain_signal.notify()

    async def drain_notified(self) -> None:
        """Wait for the next ``notify_drain``."""
        await self._drain_signal.wait()

    async def until_quiet(self) -> None:
        """Wait until no handler runs."""
        while self.running:
            await self._quiet.wait()

    def rename(self) -> None:
        """Take a new node id: the old one is dead for good."""
        self.former_nodes.add(self.node)
        self.node = secrets.token_hex(8)

    def new_id(self) -> str:
        """A random UUID (version 4)."""
        if not self._random_digits:
            # A system call for each id is a third of its cost, and so are the version and variant.
            pool = bytearray(os.urandom(16 * 64))
            pool[6::16] = pool[6::16].translate(_VERSION)
            pool[8::16] = pool[8::16].translate(_VARIANT)
            digits = pool.hex()
            self._random_digits = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        digits = self._random_digits.pop()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def start(self, body: Body, name: str) -> Child:
        """Run a child under the runtime's root, never under a request."""
        assert self.supervisor is not None, "the runtime is not running: use `async with runtime:`"
        return self.supervisor.start(body, name)


def _create(actor: Creatable) -> None:
    actor.create()


def _overdue(execution: Cancelled) -> None:
    execution.overdue()


def _rest(actor: Restful) -> None:
    actor.idle_over()


def _expire(wait: Waiter) -> None:
    wait.expire()


def _ring(item: tuple[Expires, str]) -> None:
    activity, name = item
    activity.expire(name)
