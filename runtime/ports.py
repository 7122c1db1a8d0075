"""What the runtime needs from a store. Each sentence here is a clause of the contract suite.

A store keeps, for each task, one small *header* row, its *events* (what the outside sees, numbered
by ``generation``), its *messages* (the history), its *records* (steps, asks and all else replay
needs), its *segments* (events folded for reading) and its *timers*. ``sequence`` numbers every
entry of a task, whatever its kind, without gaps.

All times are seconds since the epoch (float) and always an argument: a store owns no clock. Every
method that takes a ``Scope`` sees only what that scope owns; the deployment is a property of the
store itself. A store holds encoded bytes, never live objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from msgspec import Struct

from ..protocol.types import TaskState
from .call import Scope


class Kind(IntEnum):
    """What an entry is."""

    MESSAGE = 1
    EVENT = 2
    RECORD = 3


class Entry(Struct, frozen=True):
    """One line of a journal.

    ``body`` is JSON: of a ``Message``, of a ``StreamResponse`` (1.0 form) or of a record.
    ``generation`` is set on events only. ``run``, ``branch`` and ``ordinal`` name the operation of
    the handler that wrote it (0, "" and 0: none did).
    """

    sequence: int
    kind: Kind
    body: bytes
    generation: int = 0
    run: int = 0
    branch: str = ""
    ordinal: int = 0


class Header(Struct, frozen=True):
    """The header row of a task: all that ListTasks and activation need, and nothing large."""

    id: str
    scope: Scope
    context_id: str
    state: TaskState
    status: bytes
    """JSON of the ``TaskStatus``."""
    generation: int
    sequence: int
    created_at: float
    updated_at: float
    """When the status last changed: the sort key of ListTasks."""
    run: int = 0
    run_start: int = 0
    """Sequence of the first entry of the current run."""
    epoch: int = 1
    node: str = ""
    """The node that owns the actor; empty when nobody does (the task waits or is over)."""
    folded: int = 0
    """Events up to this generation are in segments."""
    floor: int = 0
    """Events up to this generation were pruned: streams cannot resume before it. An append that
    raises it deletes them."""
    metadata: bytes | None = None
    """JSON of ``Task.metadata``."""
    handler: str = ""
    """Version of the handler that the current run began with."""
    blocked: str = ""
    """Empty, or why replay is blocked, below the version and the node that it is blocked at."""
    attempts: int = 0
    """Times the current run was started."""

    @property
    def why_blocked(self) -> str:
        """What of ``blocked`` is for people."""
        return self.blocked.split("\n", 2)[-1]


class Segment(Struct, frozen=True):
    """Events folded (``fold.join``)."""

    first: int
    last: int
    body: bytes


class Timer(Struct, frozen=True):
    """A durable wake-up. ``name`` is unique within its task; setting it again moves it."""

    name: str
    due_at: float


ALL_TIMERS = "*"
"""Among the names to clear it stands for all timers of the task."""


class SendRecord(Struct, frozen=True):
    """That a message was accepted, and what became of it.

    ``key`` is a digest of everything that makes a send the same send. ``message`` is the JSON of
    the direct Message that answered it, else ``task_id`` names the task.
    """

    key: bytes
    message_id: str
    created_at: float
    task_id: str = ""
    message: bytes | None = None


class Append(Struct, frozen=True):
    """Entries of one task, and the rows that must commit with them, or not at all.

    ``header`` is the row as it shall be afterwards. It is written only if the row as it stands has
    ``sequence == expected`` and the epoch named by ``epoch`` (0: that of ``header``; an actor that
    wakes names the epoch it saw and writes the next one). ``expected == 0`` inserts the task.
    Without ``header`` only ``sends`` are written (a direct Message). If the key of one of ``sends``
    is there already, nothing is written and the verdict is DUPLICATE.
    """

    expected: int = 0
    epoch: int = 0
    header: Header | None = None
    entries: Sequence[Entry] = ()
    sends: Sequence[SendRecord] = ()
    scope: Scope | None = None
    """Of ``sends``, when there is no header."""
    segment: Segment | None = None
    timers: Sequence[Timer] = ()
    cleared: Sequence[str] = ()
    """Names of timers to remove (``ALL_TIMERS``: all); done before ``timers`` are set."""


class Verdict(IntEnum):
    """What became of one ``Append`` of a batch."""

    COMMITTED = 1
    LOST = 2
    """Sequence or epoch did not match: somebody else owns the task now. Nothing was written."""
    DUPLICATE = 3
    """A send's key was there already. Nothing was written; ``send`` says what it became."""


class Outcome(Struct, frozen=True):
    verdict: Verdict
    send: SendRecord | None = None


COMMITTED = Outcome(Verdict.COMMITTED)
LOST = Outcome(Verdict.LOST)


class Snapshot(Struct, frozen=True):
    """A task as of ``header.generation``, read in one transaction.

    ``events`` are those after ``header.folded`` in order; ``messages`` the newest asked for, oldest
    first; ``records`` those of the current run, with that run's events and messages where asked.
    """

    header: Header
    segments: Sequence[bytes] = ()
    events: Sequence[bytes] = ()
    messages: Sequence[bytes] = ()


class Loaded(Struct, frozen=True):
    """What an actor needs to wake: the header, and every entry of its current run in order."""

    header: Header
    tail: Sequence[Entry] = ()
    """Events after ``header.folded``, in order."""
    entries: Sequence[Entry] = ()
    """Entries with ``sequence >= header.run_start``, in order, bodies included."""
    borders: Sequence[int] = ()
    """Last generations of the oldest segments behind ``header.floor``, up to ``BORDERS``: only at
    one of them can a log be cut so that the rest still tells what the task was (``as_of``)."""


BORDERS = 32
"""How many ends of segments are read with a task."""


class EventPage(Struct, frozen=True):
    """Events after a cursor. ``header`` is of the same transaction."""

    header: Header
    events: Sequence[tuple[int, bytes]] = ()


class TaskQuery(Struct, frozen=True):
    """ListTasks. Newest ``updated_at`` first, ties by ``id`` descending."""

    scope: Scope
    limit: int
    context_id: str | None = None
    state: TaskState | None = None
    updated_after: float | None = None
    """Strictly later than this."""
    after: tuple[float, str] | None = None
    """(updated_at, id) of the last row of the page before."""


class TaskPage(Struct, frozen=True):
    headers: Sequence[Header] = ()
    total: int = 0
    """How many match without ``after`` and ``limit``."""
    more: bool = False


class TaskRef(Struct, frozen=True):
    scope: Scope
    id: str


class DueTimer(Struct, frozen=True):
    ref: TaskRef
    timer: Timer


class Context(Struct, frozen=True):
    """A conversation, as its tasks tell of it: it is there from the first of them to the last."""

    id: str
    created_at: float
    """Of its first task that is kept."""
    active_at: float
    """When the status of one of its tasks last changed, or it was touched later."""
    tasks: int
    live: int
    """How many of them are not over."""
    pinned: bool = False
    """It and its tasks are never pruned."""


class Gone(Struct, frozen=True):
    """A context of which nothing is left."""

    scope: Scope
    context: Context
    """As it was before."""
    expired: bool
    """It was pruned as a context; else the last of its tasks was."""


class Pruned(Struct, frozen=True):
    tasks: int = 0
    """Not counting those of contexts."""
    sends: int = 0
    contexts: tuple[Gone, ...] = ()
    logs: int = 0
    """Finished tasks whose older events were deleted."""


NEVER = float("-inf")
"""As a moment before which to prune: nothing is so old."""


class StoreError(Exception):
    """A store could not do what it was asked. The message says what to do about it."""


class StoreClosedError(StoreError):
    """It was closed, or never opened."""


class StoreInUseError(StoreError):
    """Another process serves from it."""


class StoreFormatError(StoreError):
    """What is there is not ours, or was written by a newer version."""


class OutcomeUnknownError(StoreError):
    """The commit failed half-way: only reading again tells whether it happened."""


class ContextStore(Protocol):
    """Which conversations there are."""

    async def contexts(
        self, scope: Scope, *, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[Context]:
        """Read contexts, those active last first, ties by ``id`` descending; ``after`` is the
        (active_at, id) of the last one of the page before."""

    async def context(self, scope: Scope, context_id: str) -> Context | None:
        """Read one; ``None``: the scope has no task in it."""

    async def mark_context(
        self,
        scope: Scope,
        context_id: str,
        *,
        touched_at: float | None = None,
        pinned: bool | None = None,
    ) -> bool:
        """Count it as active at ``touched_at``, unless it was later; pin it or let it go. What is
        ``None`` stays as it is. ``False``: there is no such context. It lasts as the context."""

    async def delete_context(self, scope: Scope, context_id: str) -> Context | None:
        """Delete it with all its tasks, pinned or not, if none of them is ``live``; else leave all
        as it is. Return it as it was, ``None`` if there is no such context."""

    async def quiet_contexts(
        self, *, after: float, until: float
    ) -> Sequence[tuple[Scope, Context]]:
        """Contexts of all scopes with ``after < active_at <= until``, in any order."""


class ResultStore(Protocol):
    """What became of tasks and messages."""

    async def snapshot(
        self, scope: Scope, task_id: str, *, history: int | None, artifacts: bool = True
    ) -> Snapshot | None:
        """Read a task for showing; ``history`` is how many messages (``None``: all)."""

    async def sends(self, scope: Scope, begin: bytes) -> Sequence[SendRecord]:
        """Return the sends whose keys begin so, in the order in which they were committed."""

    async def delete_task(self, scope: Scope, task_id: str) -> Header | None:
        """Delete a task with all that is its own, if it is over; else leave it as it is. Return its
        header, ``None`` if there is no such task. Its sends stay, as with ``prune``."""


class Store(ContextStore, ResultStore, Protocol):
    """Durable state of tasks. Safe to call from many children of one event loop at once."""

    async def open(self, *, now: float) -> None:
        """Make it ready: create or migrate the schema. A schema newer than known is refused."""

    async def close(self) -> None:
        """Release everything; later calls fail. Closing twice is harmless."""

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        """Commit a batch, one outcome per append in the same order.

        Each append is all or nothing and independent of the others. When this returns, what is
        COMMITTED is durable as the store's mode promises. If it raises ``StoreError``, what
        happened to the batch is unknown: the caller drops its actors and reads again. If it raises
        anything else, something in the batch cannot be written, and nothing of it was. Safe against
        cancellation: a transaction that has begun is finished.
        """

    async def find_send(self, scope: Scope, key: bytes) -> SendRecord | None:
        """Return the record of a send with this key, if it was committed."""

    async def as_of(self, scope: Scope, task_id: str, generation: int) -> Snapshot | None:
        """Read a task as it was at a generation: the segments that end at it or before, and the
        events from there to it; no messages, and the header as it is now. All in one transaction.
        ``None``: there is no such task, or what is kept of it does not tell."""

    async def header(self, scope: Scope, task_id: str) -> Header | None:
        """Return the header row, ``None`` if there is no such task or it is not the scope's."""

    async def load(self, scope: Scope, task_id: str) -> Loaded | None:
        """Read what an actor needs to wake. Of a task that is over no ``entries`` and ``borders``:
        nothing of it is ever run again, or shortened by its actor."""

    async def snapshots(
        self, scope: Scope, task_ids: Sequence[str], *, history: int | None, artifacts: bool = True
    ) -> Sequence[Snapshot]:
        """Read several tasks for showing, all in one transaction: those that the scope has, in the
        order asked."""

    async def events(
        self, scope: Scope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        """Read up to ``limit`` events with ``generation > after``, in order."""

    async def messages(
        self,
        scope: Scope,
        task_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        """Read up to ``limit`` messages of the history: (sequence, JSON) with ``sequence <
        before``, newest first; given ``after``, those with ``sequence > after``, oldest first."""

    async def tasks(self, query: TaskQuery) -> TaskPage:
        """Read one page of headers. Stable under insertion: no row is seen twice or skipped
        because others were added meanwhile."""

    async def claim(
        self, scope: Scope, task_id: str, *, node: str, epoch: int, now: float
    ) -> Header | None:
        """Take ownership: set ``node`` and ``epoch + 1`` where the row's epoch is ``epoch`` and its
        node is empty, ``node`` itself, or not alive at ``now``. ``None``: somebody else won."""

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        """Say that ``node`` lives until ``now + lease``, that moment excluded. ``False`` if
        it had died: dead nodes never come back. A node id not seen before is registered."""

    async def retire(self, node: str, *, now: float) -> None:
        """Say that ``node`` is gone: its tasks are orphans at once."""

    async def orphans(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[TaskRef]:
        """Tasks that are not terminal and whose node is set but not alive at ``now``; of
        ``agents`` (slugs) only, where given."""

    async def due(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None, name: str = ""
    ) -> Sequence[DueTimer]:
        """Timers with ``due_at <= now``, earliest first; of ``agents`` only and called ``name``,
        where given. They stay until an append clears them."""

    async def remind(self, ref: TaskRef, timer: Timer) -> bool:
        """Set a timer from outside, whoever owns the task: how tools give commands to the process
        that serves. ``False``: there is no such task, or it is over."""

    async def scopes(self) -> Sequence[Scope]:
        """All that own anything. For tools."""

    async def find(self, beginning: str, *, limit: int) -> Sequence[Header]:
        """Read up to ``limit`` tasks of all scopes whose ids begin so, ordered by id and then by
        scope: one with just this id is the first. For tools."""

    async def journal(self, scope: Scope, task_id: str) -> Sequence[Entry]:
        """Every entry of a task that is kept, in order. For tools."""

    async def next_due(self) -> float | None:
        """When the earliest timer is due."""

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
        events that are in segments: ``floor`` becomes ``folded``."""


class Clock(Protocol):
    """Wall time, in seconds since the epoch."""

    def now(self) -> float: ...


__all__ = [
    "ALL_TIMERS", "BORDERS", "COMMITTED", "LOST", "NEVER", "Append", "Clock", "Context",
    "ContextStore", "DueTimer", "Entry", "EventPage", "Gone", "Header", "Kind", "Loaded", "Outcome",
    "OutcomeUnknownError", "Pruned", "ResultStore", "Segment",
    "SendRecord", "Snapshot", "Store", "StoreClosedError", "StoreError", "StoreFormatError",
    "StoreInUseError", "TaskPage",
    "TaskQuery", "TaskRef", "Timer", "Verdict",
]  # fmt: skip
