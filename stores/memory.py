"""The store for tests and throwaway servers: everything in this process, nothing after it.

It keeps what it is given: the encoded bytes and the small frozen rows around them. Nothing here
waits, so each method is one step of the event loop, and that is all the locking there is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice
from math import inf, nextafter
from operator import attrgetter

from msgspec.structs import replace

from ..protocol.types import TERMINAL
from ..runtime.call import Scope
from ..runtime.ports import (
    ALL_TIMERS,
    BORDERS,
    COMMITTED,
    LOST,
    NEVER,
    Append,
    Context,
    DueTimer,
    Entry,
    EventPage,
    Gone,
    Header,
    Kind,
    Loaded,
    Outcome,
    Pruned,
    Segment,
    SendRecord,
    Snapshot,
    StoreClosedError,
    TaskPage,
    TaskQuery,
    TaskRef,
    Timer,
    Verdict,
)

_generation = attrgetter("generation")
_sequence = attrgetter("sequence")
_NONE: list[Entry] = []
"""Shared by the tasks that have no records; never changed."""


class _Task:
    """The rows of one task. Entries lie by kind, in order, so that every read is a slice."""

    __slots__ = ("events", "header", "messages", "records", "segments", "timers")

    def __init__(self, header: Header) -> None:
        self.header = header
        self.events: list[Entry] = []
        self.messages: list[Entry] = []
        self.records = _NONE
        self.segments: tuple[Segment, ...] = ()
        self.timers: dict[str, float] | None = None

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            kind = entry.kind
            if kind is Kind.EVENT:
                self.events.append(entry)
            elif kind is Kind.MESSAGE:
                self.messages.append(entry)
            elif self.records is _NONE:
                self.records = [entry]
            else:
                self.records.append(entry)

    def after(self, generation: int) -> list[Entry]:
        """Events after a generation."""
        events = self.events
        if not events or events[0].generation > generation:
            return events
        return events[bisect_right(events, generation, key=_generation) :]

    def since(self, sequence: int) -> list[Entry]:
        """Entries of every kind from a sequence on."""
        found: list[Entry] = []
        for entries in (self.messages, self.events, self.records):
            found += entries[bisect_left(entries, sequence, key=_sequence) :]
        found.sort(key=_sequence)
        return found


class _Owned:
    """What one scope owns."""

    __slots__ = ("marks", "order", "sends", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[str, _Task] = {}
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
        found: dict[str, Context] = {}
        for task in self.tasks.values():
            h = task.header
            live = int(h.state not in TERMINAL)
            touched_at, pinned = self.marks.get(h.context_id, (-inf, False))
            active_at = max(h.updated_at, touched_at)
            new = Context(h.context_id, h.created_at, active_at, 1, live, pinned)
            old = found.get(new.id)
            found[new.id] = new if old is None else Context(
                new.id,
                min(old.created_at, new.created_at),
                max(old.active_at, new.active_at),
                old.tasks + 1,
                old.live + live,
                pinned,
            )  # fmt: skip
        return list(found.values())

    def context(self, context_id: str) -> Context | None:
        return next((found for found in self.contexts() if found.id == context_id), None)

    def find(self, query: TaskQuery) -> TaskPage:
        order, tasks = self.order, self.tasks
        first = 0
        if query.updated_after is not None:
            first = bisect_left(order, (nextafter(query.updated_after, inf), ""))
        last = len(order) if query.after is None else bisect_left(order, query.after)
        wanted = query.limit + 1
        if query.context_id is None and query.state is None:
            keys = order[max(first, last - wanted) : max(first, last)]
            found = [tasks[task_id].header for _, task_id in reversed(keys)]
            total = len(order) - first
        else:
            found, total = [], 0
            for index in range(len(order) - 1, first - 1, -1):
                header = tasks[order[index][1]].header
                if query.context_id is not None and header.context_id != query.context_id:
                    continue
                if query.state is not None and header.state is not query.state:
                    continue
                total += 1
                if index < last and len(found) < wanted:
                    found.append(header)
        return TaskPage(found[: query.limit], total, len(found) > query.limit)


class MemoryStore:
    """A ``Store`` without a disk: it keeps what it has as long as the object lives.

    Closed and opened again it is as a file would be after a restart.
    """

    def __init__(self) -> None:
        self._scopes: dict[Scope, _Owned] = {}
        self._nodes: dict[str, float] = {}
        """Node id to the end of its lease; the past once it is retired."""
        self._working: dict[str, dict[TaskRef, None]] = {}
        """Tasks by the node that owns them."""
        self._timers: list[tuple[float, Scope, str, str]] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"MemoryStore({sum(len(owned.tasks) for owned in self._scopes.values())} tasks)"

    async def open(self, *, now: float) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        # One runtime serves from it at a time: every node there was is gone. Kept as dead, for
        # forgotten, one of them could come back.
        self._nodes = dict.fromkeys(self._nodes, -inf)

    # --- writing --------------------------------------------------------------------------------

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        self._check()
        return [self._apply(append) for append in batch]

    def _apply(self, append: Append) -> Outcome:
        header = append.header
        scope = append.scope if header is None else header.scope
        assert scope is not None, "an append without a header names the scope of its sends"
        owned = self._scopes.get(scope)
        if owned is None:
            owned = self._scopes[scope] = _Owned()
        for send in append.sends:
            known = owned.sends.get(send.key)
            if known is not None:
                return Outcome(Verdict.DUPLICATE, known)
        if header is not None:
            task = owned.tasks.get(header.id)
            if append.expected == 0:
                if task is not None:
                    return LOST
                task = owned.tasks[header.id] = _Task(header)
                owned.place(header.updated_at, header.id)
                if header.node:
                    self._working.setdefault(header.node, {})[TaskRef(scope, header.id)] = None
            else:
                if task is None or task.header.sequence != append.expected:
                    return LOST
                if task.header.epoch != (append.epoch or header.epoch):
                    return LOST
                self._update(owned, task, header)
            task.add(append.entries)
            if append.segment is not None:
                task.segments += (append.segment,)
            if append.cleared or append.timers:
                self._set_timers(task, append.cleared, append.timers)
        for send in append.sends:
            owned.sends[send.key] = send
        return COMMITTED

    def _update(self, owned: _Owned, task: _Task, header: Header) -> None:
        old = task.header
        task.header = header
        if header.updated_at != old.updated_at:
            owned.displace(old.updated_at, old.id)
            owned.place(header.updated_at, header.id)
        if header.node != old.node:
            self._disown(old)
            if header.node:
                ref = TaskRef(header.scope, header.id)
                self._working.setdefault(header.node, {})[ref] = None
        if header.floor > old.floor:
            task.events = task.after(header.floor)

    def _disown(self, header: Header) -> None:
        if header.node:
            working = self._working[header.node]
            del working[TaskRef(header.scope, header.id)]
            if not working:
                del self._working[header.node]

    def _set_timers(self, task: _Task, cleared: Sequence[str], timers: Iterable[Timer]) -> None:
        header = task.header
        mine = task.timers or {}
        for name in mine.copy() if ALL_TIMERS in cleared else cleared:
            self._drop_timer(header, name, mine.pop(name, None))
        for timer in timers:
            self._drop_timer(header, timer.name, mine.get(timer.name))
            mine[timer.name] = timer.due_at
            insort(self._timers, (timer.due_at, header.scope, header.id, timer.name))
        task.timers = mine or None

    def _drop_timer(self, header: Header, name: str, due_at: float | None) -> None:
        if due_at is not None:
            del self._timers[bisect_left(self._timers, (due_at, header.scope, header.id, name))]

    # --- reading --------------------------------------------------------------------------------

    async def find_send(self, scope: Scope, key: bytes) -> SendRecord | None:
        self._check()
        owned = self._scopes.get(scope)
        return None if owned is None else owned.sends.get(key)

    async def sends(self, scope: Scope, begin: bytes) -> Sequence[SendRecord]:
        self._check()
        owned = self._scopes.get(scope)
        found = {} if owned is None else owned.sends
        return [send for key, send in found.items() if key.startswith(begin)]

    async def as_of(self, scope: Scope, task_id: str, generation: int) -> Snapshot | None:
        task = self._find(scope, task_id)
        if task is None or not 1 <= generation <= task.header.generation:
            return None
        segments = [segment for segment in task.segments if segment.last <= generation]
        border = segments[-1].last if segments else 1
        if border < task.header.floor:
            return None
        events = [e.body for e in task.after(border) if e.generation <= generation]
        return Snapshot(task.header, [segment.body for segment in segments], events)

    async def header(self, scope: Scope, task_id: str) -> Header | None:
        task = self._find(scope, task_id)
        return None if task is None else task.header

    async def load(self, scope: Scope, task_id: str) -> Loaded | None:
        task = self._find(scope, task_id)
        if task is None:
            return None
        header = task.header
        tail = tuple(task.after(header.folded))
        if header.state.terminal:
            return Loaded(header, tail)
        borders = [s.last for s in task.segments if s.last > header.floor][:BORDERS]
        return Loaded(header, tail, task.since(header.run_start), borders)

    async def snapshot(
        self, scope: Scope, task_id: str, *, history: int | None, artifacts: bool = True
    ) -> Snapshot | None:
        task = self._find(scope, task_id)
        return None if task is None else self._snapshot(task, history, artifacts)

    async def snapshots(
        self, scope: Scope, task_ids: Sequence[str], *, history: int | None, artifacts: bool = True
    ) -> Sequence[Snapshot]:
        found = (self._find(scope, task_id) for task_id in task_ids)
        return [self._snapshot(task, history, artifacts) for task in found if task is not None]

    @staticmethod
    def _snapshot(task: _Task, history: int | None, artifacts: bool) -> Snapshot:
        messages: Sequence[Entry] = task.messages
        if history is not None:
            messages = messages[max(0, len(messages) - history) :]
        return Snapshot(
            task.header,
            [segment.body for segment in task.segments] if artifacts else (),
            [event.body for event in task.after(task.header.folded)] if artifacts else (),
            [message.body for message in messages],
        )

    async def events(
        self, scope: Scope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        task = self._find(scope, task_id)
        if task is None:
            return None
        events = task.after(after)
        return EventPage(task.header, [(e.generation, e.body) for e in events[:limit]])

    async def messages(
        self,
        scope: Scope,
        task_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        task = self._find(scope, task_id)
        if task is None:
            return ()
        found = task.messages
        end = len(found) if before is None else bisect_left(found, before, key=_sequence)
        if after is not None:
            first = bisect_right(found, after, key=_sequence)
            return [(m.sequence, m.body) for m in found[first : min(end, first + limit)]]
        return [(m.sequence, m.body) for m in reversed(found[max(0, end - limit) : end])]

    async def tasks(self, query: TaskQuery) -> TaskPage:
        self._check()
        owned = self._scopes.get(query.scope)
        return TaskPage() if owned is None else owned.find(query)

    async def contexts(
        self, scope: Scope, *, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[Context]:
        self._check()
        owned = self._scopes.get(scope)
        found = [] if owned is None else owned.contexts()
        found.sort(key=lambda context: (context.active_at, context.id), reverse=True)
        return [c for c in found if after is None or (c.active_at, c.id) < after][:limit]

    async def context(self, scope: Scope, context_id: str) -> Context | None:
        self._check()
        owned = self._scopes.get(scope)
        return None if owned is None else owned.context(context_id)

    async def mark_context(
        self,
        scope: Scope,
        context_id: str,
        *,
        touched_at: float | None = None,
        pinned: bool | None = None,
    ) -> bool:
        if await self.context(scope, context_id) is None:
            return False
        marks = self._scopes[scope].marks
        touched, kept = marks.get(context_id, (-inf, False))
        touched = max(touched, -inf if touched_at is None else touched_at)
        marks[context_id] = touched, kept if pinned is None else pinned
        return True

    async def delete_context(self, scope: Scope, context_id: str) -> Context | None:
        found = await self.context(scope, context_id)
        if found is not None and not found.live:
            self._delete_context(scope, context_id)
        return found

    async def quiet_contexts(
        self, *, after: float, until: float
    ) -> Sequence[tuple[Scope, Context]]:
        self._check()
        return [
            (scope, context)
            for scope, owned in self._scopes.items()
            for context in owned.contexts()
            if after < context.active_at <= until
        ]

    async def delete_task(self, scope: Scope, task_id: str) -> Header | None:
        task = self._find(scope, task_id)
        if task is None:
            return None
        if task.header.state in TERMINAL:
            self._delete(TaskRef(scope, task_id))
        return task.header

    def _find(self, scope: Scope, task_id: str) -> _Task | None:
        self._check()
        owned = self._scopes.get(scope)
        return None if owned is None else owned.tasks.get(task_id)

    def _check(self) -> None:
        if self._closed:
            raise StoreClosedError("the memory store is closed; opened again it has what it had")

    # --- ownership ------------------------------------------------------------------------------

    async def claim(
        self, scope: Scope, task_id: str, *, node: str, epoch: int, now: float
    ) -> Header | None:
        task = self._find(scope, task_id)
        if task is None or task.header.epoch != epoch:
            return None
        owner = task.header.node
        if owner not in ("", node) and self._alive(owner, now):
            return None
        header = replace(task.header, node=node, epoch=epoch + 1)
        self._update(self._scopes[scope], task, header)
        return header

    def _alive(self, node: str, now: float) -> bool:
        return now < self._nodes.get(node, -inf)

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        self._check()
        if node in self._nodes and not self._alive(node, now):
            return False
        self._nodes[node] = now + lease
        return True

    async def retire(self, node: str, *, now: float) -> None:
        self._check()
        self._nodes[node] = -inf

    async def orphans(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[TaskRef]:
        self._check()
        found: list[TaskRef] = []
        for node, refs in self._working.items():
            if not self._alive(node, now):
                found += (
                    ref
                    for ref in refs
                    if not self._state_over(ref) and (agents is None or ref.scope.agent in agents)
                )
        return found[:limit]

    def _state_over(self, ref: TaskRef) -> bool:
        return self._scopes[ref.scope].tasks[ref.id].header.state in TERMINAL

    # --- time -----------------------------------------------------------------------------------

    async def due(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None, name: str = ""
    ) -> Sequence[DueTimer]:
        self._check()
        found: list[DueTimer] = []
        for due_at, scope, task_id, called in self._timers:
            if due_at > now or len(found) == limit:
                break
            if (agents is None or scope.agent in agents) and name in ("", called):
                found.append(DueTimer(TaskRef(scope, task_id), Timer(called, due_at)))
        return found

    async def remind(self, ref: TaskRef, timer: Timer) -> bool:
        task = self._find(ref.scope, ref.id)
        if task is None or task.header.state in TERMINAL:
            return False
        self._set_timers(task, (), (timer,))
        return True

    async def scopes(self) -> Sequence[Scope]:
        self._check()
        return list(self._scopes)

    async def find(self, beginning: str, *, limit: int) -> Sequence[Header]:
        self._check()
        found = [
            task.header
            for owned in self._scopes.values()
            for task_id, task in owned.tasks.items()
            if task_id.startswith(beginning)
        ]
        found.sort(key=lambda header: (header.id, header.scope))
        return found[:limit]

    async def journal(self, scope: Scope, task_id: str) -> Sequence[Entry]:
        task = self._find(scope, task_id)
        return () if task is None else task.since(0)

    async def next_due(self) -> float | None:
        self._check()
        return self._timers[0][0] if self._timers else None

    async def prune(
        self,
        *,
        tasks_before: float,
        sends_before: float,
        contexts_before: float = NEVER,
        events_before: float = NEVER,
        limit: int,
    ) -> Pruned:
        self._check()
        gone = self._prune_contexts(contexts_before, limit) if contexts_before > NEVER else []
        logs = self._prune_events(events_before, limit) if events_before > NEVER else 0
        oldest = merge(*(self._unpinned(owned, tasks_before) for owned in self._scopes.values()))
        refs = [TaskRef(scope, task_id) for _, scope, task_id in islice(oldest, limit)]
        before = {ref.scope: self._scopes[ref.scope].contexts() for ref in refs}
        for ref in refs:
            self._delete(ref)
        for scope, contexts in before.items():
            left = {task.header.context_id for task in self._scopes[scope].tasks.values()}
            gone += (Gone(scope, c, expired=False) for c in contexts if c.id not in left)
        # Old ones come first (nearly), so the walk ends soon while there is something to delete.
        outdated = (
            (owned, key)
            for owned in self._scopes.values()
            for key, send in owned.sends.items()
            if send.created_at < sends_before
        )
        sends = list(islice(outdated, limit))
        for owned, key in sends:
            del owned.sends[key]
        for scope, owned in list(self._scopes.items()):
            if not (owned.tasks or owned.sends):
                del self._scopes[scope]
        return Pruned(len(refs), len(sends), tuple(gone), logs)

    def _prune_contexts(self, before: float, limit: int) -> list[Gone]:
        outdated = [
            Gone(scope, context, expired=True)
            for scope, owned in self._scopes.items()
            for context in owned.contexts()
            if context.active_at < before and not (context.live or context.pinned)
        ][:limit]
        for gone in outdated:
            self._delete_context(gone.scope, gone.context.id)
        return outdated

    def _delete_context(self, scope: Scope, context_id: str) -> None:
        tasks = self._scopes[scope].tasks
        for task_id in [id for id, t in tasks.items() if t.header.context_id == context_id]:
            self._delete(TaskRef(scope, task_id))

    def _prune_events(self, before: float, limit: int) -> int:
        outdated = [
            (owned, owned.tasks[task_id])
            for owned in self._scopes.values()
            for _, _, task_id in self._old(owned, before)
            if owned.tasks[task_id].header.floor < owned.tasks[task_id].header.folded
            and owned.tasks[task_id].header.folded > 1
        ][:limit]
        for owned, task in outdated:
            self._update(owned, task, replace(task.header, floor=task.header.folded))
        return len(outdated)

    @staticmethod
    def _old(owned: _Owned, before: float) -> Iterable[tuple[float, Scope, str]]:
        for updated_at, task_id in owned.order:
            if updated_at >= before:
                break
            header = owned.tasks[task_id].header
            if header.state in TERMINAL:
                yield updated_at, header.scope, task_id

    def _unpinned(self, owned: _Owned, before: float) -> Iterable[tuple[float, Scope, str]]:
        for found in self._old(owned, before):
            marks = owned.marks.get(owned.tasks[found[2]].header.context_id)
            if marks is None or not marks[1]:
                yield found

    def _delete(self, ref: TaskRef) -> None:
        owned = self._scopes[ref.scope]
        task = owned.tasks.pop(ref.id)
        context_id = task.header.context_id
        if context_id in owned.marks and owned.context(context_id) is None:
            del owned.marks[context_id]
        owned.displace(task.header.updated_at, ref.id)
        self._disown(task.header)
        for name, due_at in (task.timers or {}).items():
            self._drop_timer(task.header, name, due_at)
