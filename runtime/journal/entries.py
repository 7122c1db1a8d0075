"""The rows that a store keeps of a task: frozen, encoded, and the same for every store.

A store keeps, for each task, one small *header* row, its *events* (what the outside sees, numbered
by ``generation``), its *messages* (the history), its *records* (steps, asks and all else replay
needs), its *segments* (events folded for reading) and its *timers*. ``sequence`` numbers every
entry of a task, whatever its kind, without gaps.

All times are seconds since the epoch (float).

The rows that stores keep hold text, numbers and bytes only, so they can be part of no cycle:
``gc=False`` takes them out of the garbage collector's sight, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct

from ...protocol.types import TaskState
from ..call import TaskScope


class Kind(IntEnum):
    """What an entry is."""

    MESSAGE = 1
    EVENT = 2
    RECORD = 3


class Entry(Struct, frozen=True, gc=False):
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


class Header(Struct, frozen=True, gc=False):
    """The header row of a task: all that ListTasks and activation need, and nothing large."""

    id: str
    scope: TaskScope
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


class Segment(Struct, frozen=True, gc=False):
    """Events folded (``fold.join``)."""

    first: int
    last: int
    body: bytes


class Timer(Struct, frozen=True, gc=False):
    """A durable wake-up. ``name`` is unique within its task; setting it again moves it."""

    name: str
    due_at: float


ALL_TIMERS = "*"
"""Among the names to clear it stands for all timers of the task."""


class SendRecord(Struct, frozen=True, gc=False):
    """That a message was accepted, and what became of it.

    ``key`` is a digest of everything that makes a send the same send. ``message`` is the JSON of
    the direct Message that answered it, else ``task_id`` names the task.
    """

    key: bytes
    message_id: str
    created_at: float
    task_id: str = ""
    message: bytes | None = None


class PushRow(Struct, frozen=True):
    """One push configuration of a task: a reader of the task's events with a durable cursor.

    There is no row for an event: what is to be delivered is what the journal has behind
    ``generation``. ``config`` and ``health`` are bytes that the store only keeps.
    """

    scope: TaskScope
    task_id: str
    id: str
    """Unique within its task."""
    created_at: float
    config: bytes
    """Where the events go, and the secrets that go with them."""
    health: bytes = b"{}"
    """How deliveries went."""
    generation: int = 0
    """The last event that was delivered, or passed over."""
    due_at: float | None = None
    """When to look at it next; ``None``: when its task has an event behind ``generation``."""
    open: bool = True
    """Events may be delivered: it is not disabled, and its task may have more."""
    revision: int = 1
    """Grows with each change of the row."""


class PushLimits(Struct, frozen=True):
    """How many push configurations there may be."""

    per_task: int
    per_owner: int


class OpenPush(Struct, frozen=True):
    """An open push configuration and how far its task is, of one transaction."""

    row: PushRow
    number: int
    """The place of the row among all, for reading on."""
    generation: int
    """That of the task."""
    over: bool
    """The task is terminal."""
    updated_at: float
    """When the status of the task last changed."""


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
    scope: TaskScope | None = None
    """Of ``sends``, when there is no header."""
    segment: Segment | None = None
    timers: Sequence[Timer] = ()
    cleared: Sequence[str] = ()
    """Names of timers to remove (``ALL_TIMERS``: all); done before ``timers`` are set."""
    pushes: Sequence[PushRow] = ()
    """Push configurations of the task to add; see ``Push.put_push``."""


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

    scope: TaskScope
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
    scope: TaskScope
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

    scope: TaskScope
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


__all__ = [
    "ALL_TIMERS", "BORDERS", "COMMITTED", "LOST", "NEVER", "Append", "Context", "DueTimer", "Entry",
    "EventPage", "Gone", "Header", "Kind", "Loaded", "OpenPush", "Outcome", "Pruned",
    "PushLimits", "PushRow", "Segment", "SendRecord", "Snapshot", "TaskPage", "TaskQuery",
    "TaskRef", "Timer", "Verdict",
]  # fmt: skip
