"""What the runtime needs from a store. Each sentence here is a clause of the contract suite.

All times are seconds since the epoch (float) and always an argument: a store owns no clock. A
method that takes a ``TaskScope`` sees only the tasks of that scope; the deployment is a property of
the store itself. A store holds encoded bytes (``rows``), never live objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..call import TaskScope
from .entries import (
    NEVER,
    Append,
    Context,
    DueTimer,
    Entry,
    EventPage,
    Header,
    Loaded,
    OpenPush,
    Outcome,
    Pruned,
    PushLimits,
    PushRow,
    SendRecord,
    Snapshot,
    TaskPage,
    TaskQuery,
    TaskRef,
    Timer,
)


class StoreError(Exception):
    """A store could not do what it was asked. The message says what to do about it."""


class StoreClosedError(StoreError):
    """It was closed, or never opened."""


class StoreInUseError(StoreError):
    """Another process serves from it."""


class StoreFormatError(StoreError):
    """What is there is not ours, or was written by a newer version."""


class StoreDamagedError(StoreError):
    """What is there is not what was written, or is gone. It stays so until somebody mends it."""


class OutcomeUnknownError(StoreError):
    """The commit failed half-way: only reading again tells whether it happened."""


class Journal(Protocol):
    """Entries of tasks, appended and read back. The only way in which a task changes."""

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        """Commit a batch, one outcome per append in the same order.

        Each append is all or nothing and independent of the others. When this returns, what is
        COMMITTED is durable as the store's mode promises. If it raises ``StoreError``, what
        happened to the batch is unknown: the caller drops its actors and reads again. If it raises
        anything else, something in the batch cannot be written, and nothing of it was. Safe against
        cancellation: a transaction that has begun is finished.
        """
        ...

    async def load(self, scope: TaskScope, task_id: str) -> Loaded | None:
        """Read what an actor needs to wake. Of a task that is over no ``entries`` and ``borders``:
        nothing of it is ever run again, or shortened by its actor."""
        ...

    async def events(
        self, scope: TaskScope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        """Read up to ``limit`` events with ``generation > after``, in order."""
        ...

    async def messages(
        self,
        scope: TaskScope,
        task_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        """Read up to ``limit`` messages of the history: (sequence, JSON) with ``sequence <
        before``, newest first; given ``after``, those with ``sequence > after``, oldest first."""
        ...

    async def journal(self, scope: TaskScope, task_id: str) -> Sequence[Entry]:
        """Every entry of a task that is kept, in order. For tools."""
        ...


class Leases(Protocol):
    """Which nodes live, and which tasks are whose."""

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        """Say that ``node`` lives until ``now + lease``, that moment excluded. ``False`` if
        it had died: dead nodes never come back. A node id not seen before is registered."""
        ...

    async def retire(self, node: str, *, now: float) -> None:
        """Say that ``node`` is gone: its tasks are orphans at once."""

    async def owned(self, node: str, *, agents: Sequence[str] | None = None) -> Sequence[TaskRef]:
        """Tasks that are not terminal and whose node is ``node``; of ``agents`` only, where given.
        All of them: they are as many as the node has awake."""
        ...

    async def orphans(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[TaskRef]:
        """Tasks that are not terminal and whose node is set but not alive at ``now``; of
        ``agents`` (slugs) only, where given."""
        ...


class Timers(Protocol):
    """Durable wake-ups of tasks."""

    async def due(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None, name: str = ""
    ) -> Sequence[DueTimer]:
        """Timers with ``due_at <= now``, earliest first; of ``agents`` only and called ``name``,
        where given. They stay until an append clears them."""
        ...

    async def remind(self, ref: TaskRef, timer: Timer) -> bool:
        """Set a timer from outside, whoever owns the task: how tools give commands to the process
        that serves. ``False``: there is no such task, or it is over."""
        ...


class Sends(Protocol):
    """Which messages were accepted, and what they became."""

    async def find_send(self, scope: TaskScope, key: bytes) -> SendRecord | None:
        """Return the record of a send with this key, if it was committed."""
        ...

    async def sends(self, scope: TaskScope, begin: bytes) -> Sequence[SendRecord]:
        """Return the sends whose keys begin so, in the order in which they were committed."""
        ...


class Tasks(Protocol):
    """Tasks as they are, and as they were."""

    async def header(self, scope: TaskScope, task_id: str) -> Header | None:
        """Return the header row, ``None`` if there is no such task or it is not the scope's."""
        ...

    async def snapshot(
        self, scope: TaskScope, task_id: str, *, history: int | None, artifacts: bool = True
    ) -> Snapshot | None:
        """Read a task for showing; ``history`` is how many messages (``None``: all)."""
        ...

    async def snapshots(
        self,
        scope: TaskScope,
        task_ids: Sequence[str],
        *,
        history: int | None,
        artifacts: bool = True,
    ) -> Sequence[Snapshot]:
        """Read several tasks for showing, all in one transaction: those that the scope has, in the
        order asked."""
        ...

    async def as_of(self, scope: TaskScope, task_id: str, generation: int) -> Snapshot | None:
        """Read a task as it was at a generation: the segments that end at it or before, and the
        events from there to it; no messages, and the header as it is now. All in one transaction.
        ``None``: there is no such task, or what is kept of it does not tell."""
        ...

    async def tasks(self, query: TaskQuery) -> TaskPage:
        """Read one page of headers. Stable under insertion: no row is seen twice or skipped
        because others were added meanwhile."""
        ...

    async def find(self, beginning: str, *, limit: int) -> Sequence[Header]:
        """Read up to ``limit`` tasks of all scopes whose ids begin so, ordered by id and then by
        scope: one with just this id is the first. For tools."""
        ...

    async def scopes(self) -> Sequence[TaskScope]:
        """All that own anything. For tools."""
        ...

    async def delete_task(self, scope: TaskScope, task_id: str) -> Header | None:
        """Delete a task with all that is its own, if it is over; else leave it as it is. Return its
        header, ``None`` if there is no such task. Its sends stay, as with ``prune``."""
        ...


class Contexts(Protocol):
    """Which conversations there are."""

    async def contexts(
        self, scope: TaskScope, *, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[Context]:
        """Read contexts, those active last first, ties by ``id`` descending; ``after`` is the
        (active_at, id) of the last one of the page before."""
        ...

    async def context(self, scope: TaskScope, context_id: str) -> Context | None:
        """Read one; ``None``: the scope has no task in it."""
        ...

    async def mark_context(
        self,
        scope: TaskScope,
        context_id: str,
        *,
        touched_at: float | None = None,
        pinned: bool | None = None,
    ) -> bool:
        """Count it as active at ``touched_at``, unless it was later; pin it or let it go. What is
        ``None`` stays as it is. ``False``: there is no such context. It lasts as the context."""
        ...

    async def delete_context(self, scope: TaskScope, context_id: str) -> Context | None:
        """Delete it with all its tasks, pinned or not, if none of them is ``live``; else leave all
        as it is. Return it as it was, ``None`` if there is no such context."""
        ...

    async def quiet_contexts(
        self, *, after: float, until: float
    ) -> Sequence[tuple[TaskScope, Context]]:
        """Contexts of all scopes with ``after < active_at <= until``, in any order."""
        ...


class Retention(Protocol):
    """Deleting what is kept no longer."""

    async def prune(
        self,
        *,
        tasks_before: float,
        sends_before: float,
        contexts_before: float = NEVER,
        events_before: float = NEVER,
        limit: int,
    ) -> Pruned:
        """Delete up to ``limit`` terminal tasks (with all that is theirs) whose status last changed
        before ``tasks_before``, oldest first, and up to ``limit`` sends made before
        ``sends_before``. A send outlives its task: a late repeat must not do the work again.

        Also up to ``limit`` contexts, that is all their tasks, which were last active before
        ``contexts_before`` and have no task that is not over. Pinned contexts stay, and so do their
        tasks. ``contexts`` of the answer are all that are gone, whatever they went by.

        And of up to ``limit`` terminal tasks whose status last changed before ``events_before`` the
        events that are in segments: ``floor`` becomes ``folded``.

        A task stays while one of its push configurations is open and has not reached its end."""
        ...


class Push(Protocol):
    """Push configurations. They go with their task."""

    async def put_push(self, row: PushRow, *, limits: PushLimits | None = None) -> PushRow | None:
        """Add a configuration, or give the one with its id another ``config``; return it as it is
        now. ``None``: there is no such task, or there would be more than ``limits`` allow.

        One that was there keeps ``created_at`` and ``generation``, and the rest is that of ``row``:
        what it had not delivered goes to the new address.
        """
        ...

    async def push(self, scope: TaskScope, task_id: str, push_id: str) -> PushRow | None:
        """Read one configuration; ``None``: the scope has no such task, or the task none such."""
        ...

    async def pushes(self, scope: TaskScope, task_id: str) -> Sequence[PushRow]:
        """Read the configurations of a task, the oldest first."""
        ...

    async def save_pushes(self, rows: Sequence[PushRow]) -> Sequence[bool]:
        """Change configurations, each if its ``revision`` is the one in the store, which grows by
        one. ``False``: it was changed meanwhile, or is gone; nothing of it was written."""
        ...

    async def delete_push(self, scope: TaskScope, task_id: str, push_id: str) -> bool:
        """Delete a configuration. ``False``: there is none."""
        ...

    async def due_pushes(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[PushRow]:
        """Read the open configurations with ``due_at <= now``, the earliest first; of ``agents``
        only, where given."""
        ...

    async def open_pushes(
        self, *, limit: int, after: int = 0, agents: Sequence[str] | None = None
    ) -> Sequence[OpenPush]:
        """Read the open configurations of all scopes, of ``agents`` only, where given: up to
        ``limit`` with ``number > after``, in order."""
        ...

    async def all_pushes(self, *, limit: int, after: int = 0) -> Sequence[OpenPush]:
        """Read all configurations, closed ones too. For tools."""
        ...


class Store(Journal, Leases, Timers, Sends, Tasks, Contexts, Retention, Push, Protocol):
    """Durable state of tasks: the sum of the roles, of which a consumer names those that it needs.
    Safe to call from many children of one event loop at once."""

    async def open(self, *, now: float) -> None:
        """Make it ready: create or migrate the schema. A schema newer than known is refused."""

    async def close(self) -> None:
        """Release everything; later calls fail. Closing twice is harmless."""


class Clock(Protocol):
    """Wall time, in seconds since the epoch."""

    def now(self) -> float: ...


__all__ = [
    "Clock", "Contexts", "Journal", "Leases", "OutcomeUnknownError", "Push", "Retention", "Sends",
    "Store", "StoreClosedError", "StoreDamagedError", "StoreError", "StoreFormatError",
    "StoreInUseError", "Tasks", "Timers",
]  # fmt: skip
