"""What the store in memory keeps of one task, and of one owner."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from math import inf, nextafter
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from ...protocol.types import TERMINAL
from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    Context,
    Entry,
    Header,
    Kind,
    Segment,
    SendRecord,
    TaskPage,
    TaskQuery,
)

_generation = attrgetter("generation")
_sequence = attrgetter("sequence")
_SHORT = 64
"""Entries of a kind that a waiting task may have and still be settled at each rest."""

Entries = list[Entry] | tuple[Entry, ...]


class Task(Struct, gc=False):
    """The rows of one task. Entries lie by kind, in order, so that every read is a slice.

    The garbage collector looks at every list there is. A finished task has tuples of rows that the
    collector does not know, and such tuples it forgets: so it never walks over what is finished,
    nor over what only waits.
    """

    header: Header
    events: Entries = ()
    messages: Entries = ()
    records: Entries = ()
    segments: tuple[Segment, ...] = ()
    timers: dict[str, float] | None = None

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            kind = entry.kind
            if kind is Kind.EVENT:
                self.events = _appended(self.events, entry)
            elif kind is Kind.MESSAGE:
                self.messages = _appended(self.messages, entry)
            else:
                self.records = _appended(self.records, entry)

    def settle(self, scope: TaskScope) -> None:
        """Take the task out of the collector's sight: it is over, or waits.

        ``scope`` equals that of the header; one object serves all tasks of an owner.
        """
        over = self.header.state in TERMINAL
        self.events = _settled(self.events, over)
        self.messages = _settled(self.messages, over)
        self.records = _settled(self.records, over)
        if self.header.scope is not scope:
            self.header = replace(self.header, scope=scope)

    def after(self, generation: int) -> Entries:
        """Events after a generation."""
        events = self.events
        if not events or events[0].generation > generation:
            return events
        return events[bisect_right(events, generation, key=_generation) :]

    def since(self, sequence: int) -> list[Entry]:
        """Entries of every kind from a sequence on."""
        later: list[Entry] = []
        for entries in (self.messages, self.events, self.records):
            later += entries[bisect_left(entries, sequence, key=_sequence) :]
        later.sort(key=_sequence)
        return later


def _appended(entries: Entries, entry: Entry) -> list[Entry]:
    if isinstance(entries, tuple):
        return [*entries, entry]
    entries.append(entry)
    return entries


def _settled(entries: Entries, over: bool) -> Entries:
    return tuple(entries) if over or len(entries) <= _SHORT else entries


class Owned:
    """What one scope owns."""

    __slots__ = ("marks", "order", "scope", "sends", "tasks")

    def __init__(self, scope: TaskScope) -> None:
        self.scope = scope
        self.tasks: dict[str, Task] = {}
        self.marks: dict[str, tuple[float, bool]] = {}
        """Of contexts: when they were touched, and whether they are pinned."""
        self.order: list[tuple[float, str]] = []
        """(updated_at, id) of every task, ascending: ListTasks reads it from the end."""
        self.sends: dict[bytes, SendRecord] = {}

    def place(self, updated_at: float, task_id: str) -> None:
        key = (updated_at, task_id)
        if not self.order or key > self.order[-1]:
            self.order.append(key)
        else:
            insort(self.order, key)

    def displace(self, updated_at: float, task_id: str) -> None:
        del self.order[bisect_left(self.order, (updated_at, task_id))]

    def contexts(self) -> list[Context]:
        contexts: dict[str, Context] = {}
        for task in self.tasks.values():
            h = task.header
            live = int(h.state not in TERMINAL)
            touched_at, pinned = self.marks.get(h.context_id, (-inf, False))
            active_at = max(h.updated_at, touched_at)
            new = Context(h.context_id, h.created_at, active_at, 1, live, pinned)
            old = contexts.get(new.id)
            contexts[new.id] = new if old is None else Context(
                new.id,
                min(old.created_at, new.created_at),
                max(old.active_at, new.active_at),
                old.tasks + 1,
                old.live + live,
                pinned,
            )  # fmt: skip
        return list(contexts.values())

    def context(self, context_id: str) -> Context | None:
        return next((context for context in self.contexts() if context.id == context_id), None)

    def find(self, query: TaskQuery) -> TaskPage:
        order, tasks = self.order, self.tasks
        first = 0
        if query.updated_after is not None:
            first = bisect_left(order, (nextafter(query.updated_after, inf), ""))
        last = len(order) if query.after is None else bisect_left(order, query.after)
        wanted = query.limit + 1
        headers: list[Header] = []
        if query.context_id is None and query.state is None:
            keys = order[max(first, last - wanted) : max(first, last)]
            headers = [tasks[task_id].header for _, task_id in reversed(keys)]
            total = len(order) - first
        else:
            total = 0
            for index in range(len(order) - 1, first - 1, -1):
                header = tasks[order[index][1]].header
                if query.context_id is not None and header.context_id != query.context_id:
                    continue
                if query.state is not None and header.state is not query.state:
                    continue
                total += 1
                if index < last and len(headers) < wanted:
                    headers.append(header)
        return TaskPage(headers[: query.limit], total, len(headers) > query.limit)


__all__ = ["Owned", "Task"]
