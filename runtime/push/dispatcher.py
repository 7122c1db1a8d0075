"""The child of a runtime that delivers: a reader of the journal with one cursor for each webhook.

It learns of work in three ways. A commit of a *watched* task wakes it (``committed``): that is
quick, and may be lost with the process. It looks for rows that are due when an attempt that was put
off is, and every second, for a tool may have enabled some. And from time to time, and at the start,
it compares every open cursor with its task: that finds what the first two ways missed. So nothing
is lost that is in the store, and a server without configurations pays one test for each batch of
the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush

import anyio
from anyio.abc import TaskGroup

from ..concurrency.signal import Signal
from ..journal.entries import Append, Outcome, PushRow, TaskRef, Verdict
from ..journal.store import Push, StoreError
from .delivery import Deliveries
from .ports import Webhooks
from .queue import Key, Line, Queue
from .records import health_of
from .saver import Saver

log = logging.getLogger("greenroom.push")

_TURN = 16
"""Deliveries of one turn; then others of the same host have theirs."""
_BATCH = 500
_COMPARE_EVERY = 60.0
"""Seconds between two comparisons of all open cursors with their tasks."""


class Dispatcher:
    """Delivers while the runtime runs."""

    def __init__(
        self,
        rows: Push,
        deliveries: Deliveries,
        saver: Saver,
        webhooks: Webhooks,
        now: Callable[[], float],
        *,
        agents: Sequence[str],
        sweep_every: float,
    ) -> None:
        self._rows = rows
        self._deliveries = deliveries
        self._saver = saver
        self._webhooks = webhooks
        self._now = now
        self._agents = agents
        self._every = sweep_every
        settings = webhooks.settings
        self._queue = Queue(per_host=settings.per_host, in_all=settings.concurrency)
        self.watched: set[int] = set()
        """Hashes of the ids of tasks that have open configurations: 8 bytes and a slot for each.
        Two ids with one hash cost a look at the store."""
        self._added: set[int] = set()
        """Those that came during a comparison."""
        self._woken: dict[TaskRef, None] = {}
        self._signal = Signal()
        self._idle = Signal()
        self._draining = False
        self._due: list[float] = []
        """A heap: when attempts are to be made that were put off."""
        self._sooner = Signal()
        deliveries.later = self._later
        self.open = 0
        self.behind = 0
        self.oldest: float | None = None
        """When the task that waits longest for a delivery last changed."""

    # --- who wakes it ---------------------------------------------------------------------------

    def watch(self, task_id: str) -> None:
        """Be woken by the events of a task."""
        number = hash(task_id)
        self.watched.add(number)
        self._added.add(number)

    def committed(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """Note which watched tasks have events. Called after each commit; must be quick."""
        watched, woken = self.watched, self._woken
        if not watched:
            return
        for append, outcome in zip(batch, outcomes, strict=True):
            header = append.header
            if (
                header is not None
                and hash(header.id) in watched
                and outcome.verdict is Verdict.COMMITTED
            ):
                woken[TaskRef(header.scope, header.id)] = None
        if woken:
            self._signal.notify()

    def changed(self, row: PushRow) -> None:
        """A configuration was made or changed."""
        if row.open:
            self.watch(row.task_id)
            self._offer(row)

    def deleted(self, row: PushRow) -> None:
        """A configuration was deleted: nothing more is delivered."""
        self._queue.drop(Key.of(row))

    def _later(self, due_at: float) -> None:
        if not self._due or due_at < self._due[0]:
            self._sooner.notify()
        heappush(self._due, due_at)

    def _offer(self, row: PushRow) -> None:
        self._queue.offer(Key.of(row), health_of(row).origin)
        self._signal.notify()

    # --- work -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._saver.run, name="push cursors")
            group.start_soon(self._sweep, name="push sweep")
            while True:
                if self._woken and not self._draining:
                    await self._look_up()
                self._launch(group)
                if not self._woken or self._draining:
                    await self._signal.wait()

    async def drain(self, grace: float) -> None:
        """Begin no delivery any more; let those under way end within ``grace`` seconds."""
        self._draining = True
        with anyio.move_on_after(grace):
            while self._queue.running:
                await self._idle.wait()

    def _launch(self, group: TaskGroup) -> None:
        while not self._draining and (line := self._queue.take()) is not None:
            group.start_soon(partial(self._turn, line), name="push delivery")

    async def _look_up(self) -> None:
        """Offer the configurations of the tasks that had events."""
        woken, self._woken = self._woken, {}
        try:
            for ref in woken:
                for row in await self._rows.pushes(ref.scope, ref.id):
                    if row.open and (row.due_at is None or row.due_at <= self._now()):
                        self._queue.offer(Key.of(row), health_of(row).origin)
        except StoreError as error:  # the next comparison finds what was not looked up
            log.error("push configurations could not be read: %s", error)

    async def _turn(self, line: Line) -> None:
        more = False
        try:
            with anyio.CancelScope() as line.cancel_scope:
                for _ in range(_TURN):
                    more = await self._deliveries.step(line.key)
                    if not more or self._draining:
                        break
        except StoreError as error:
            log.error("a push delivery could not be written down: %s", error)
            more = False
        except Exception:
            log.exception("a push delivery failed; it is tried again later")
            more = False
        finally:
            self._queue.done(line, more=more)
            self._signal.notify()
            self._idle.notify()

    # --- what was missed ------------------------------------------------------------------------

    async def _sweep(self) -> None:
        compare_at = -1.0
        while True:
            try:
                for row in await self._rows.due_pushes(
                    now=self._now(), limit=_BATCH, agents=self._agents
                ):
                    self._offer(row)
                if anyio.current_time() >= compare_at:
                    await self._compare()
                    compare_at = anyio.current_time() + _COMPARE_EVERY
            except StoreError as error:
                log.error("push configurations could not be read: %s", error)
            await self._rest()

    async def _rest(self) -> None:
        """Wait for the next attempt that is due; look at the store from time to time all the same:
        a tool may have enabled something."""
        now = self._now()
        while self._due and self._due[0] <= now:
            heappop(self._due)
        wait = min(self._every, self._due[0] - now) if self._due else self._every
        with anyio.move_on_after(wait):
            await self._sooner.wait()

    async def _compare(self) -> None:
        """Compare every open cursor with its task, and see anew which tasks to watch."""
        self._added = set()
        watched: set[int] = set()
        after = count = behind = 0
        oldest: float | None = None
        now = self._now()
        while True:
            page = await self._rows.open_pushes(limit=_BATCH, after=after, agents=self._agents)
            for found in page:
                row = found.row
                count += 1
                watched.add(hash(row.task_id))
                if row.generation < found.generation:
                    behind += 1
                    oldest = found.updated_at if oldest is None else min(oldest, found.updated_at)
                waits = row.due_at is not None and row.due_at > now
                if not waits and (row.generation < found.generation or found.over):
                    self._offer(row)
            if len(page) < _BATCH:
                break
            after = page[-1].number
        self.watched = watched | self._added
        self.open, self.behind, self.oldest = count, behind, oldest
        self._queue.forget_idle_hosts()
