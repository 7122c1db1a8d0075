"""Reading from the tables."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter

from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    BORDERS,
    Context,
    DueTimer,
    Entry,
    EventPage,
    Header,
    Loaded,
    SendRecord,
    Snapshot,
    TaskPage,
    TaskQuery,
    TaskRef,
    Timer,
)
from .rows import Task
from .tables import Tables

_by_sequence = attrgetter("sequence")


class Reads(Tables):
    """The reading half of the store."""

    async def find_send(self, scope: TaskScope, key: bytes) -> SendRecord | None:
        self._check()
        owned = self._scopes.get(scope)
        return None if owned is None else owned.sends.get(key)

    async def sends(self, scope: TaskScope, begin: bytes) -> Sequence[SendRecord]:
        self._check()
        owned = self._scopes.get(scope)
        rows = {} if owned is None else owned.sends
        return [send for key, send in rows.items() if key.startswith(begin)]

    async def as_of(self, scope: TaskScope, task_id: str, generation: int) -> Snapshot | None:
        task = self._find(scope, task_id)
        if task is None or not 1 <= generation <= task.header.generation:
            return None
        segments = [segment for segment in task.segments if segment.last <= generation]
        border = segments[-1].last if segments else 1
        if border < task.header.floor:
            return None
        events = [e.body for e in task.after(border) if e.generation <= generation]
        return Snapshot(task.header, [segment.body for segment in segments], events)

    async def header(self, scope: TaskScope, task_id: str) -> Header | None:
        task = self._find(scope, task_id)
        return None if task is None else task.header

    async def load(self, scope: TaskScope, task_id: str) -> Loaded | None:
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
        self, scope: TaskScope, task_id: str, *, history: int | None, artifacts: bool = True
    ) -> Snapshot | None:
        task = self._find(scope, task_id)
        return None if task is None else self._snapshot(task, history, artifacts)

    async def snapshots(
        self,
        scope: TaskScope,
        task_ids: Sequence[str],
        *,
        history: int | None,
        artifacts: bool = True,
    ) -> Sequence[Snapshot]:
        tasks = (self._find(scope, task_id) for task_id in task_ids)
        return [self._snapshot(task, history, artifacts) for task in tasks if task is not None]

    @staticmethod
    def _snapshot(task: Task, history: int | None, artifacts: bool) -> Snapshot:
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
        self, scope: TaskScope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        task = self._find(scope, task_id)
        if task is None:
            return None
        events = task.after(after)
        return EventPage(task.header, [(e.generation, e.body) for e in events[:limit]])

    async def messages(
        self,
        scope: TaskScope,
        task_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        task = self._find(scope, task_id)
        if task is None:
            return ()
        messages = task.messages
        end = len(messages) if before is None else bisect_left(messages, before, key=_by_sequence)
        if after is not None:
            first = bisect_right(messages, after, key=_by_sequence)
            return [(m.sequence, m.body) for m in messages[first : min(end, first + limit)]]
        return [(m.sequence, m.body) for m in reversed(messages[max(0, end - limit) : end])]

    async def tasks(self, query: TaskQuery) -> TaskPage:
        self._check()
        owned = self._scopes.get(query.scope)
        return TaskPage() if owned is None else owned.find(query)

    async def contexts(
        self, scope: TaskScope, *, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[Context]:
        self._check()
        owned = self._scopes.get(scope)
        contexts = [] if owned is None else owned.contexts()
        contexts.sort(key=lambda context: (context.active_at, context.id), reverse=True)
        return [c for c in contexts if after is None or (c.active_at, c.id) < after][:limit]

    async def context(self, scope: TaskScope, context_id: str) -> Context | None:
        self._check()
        owned = self._scopes.get(scope)
        return None if owned is None else owned.context(context_id)

    async def quiet_contexts(
        self, *, after: float, until: float
    ) -> Sequence[tuple[TaskScope, Context]]:
        self._check()
        return [
            (scope, context)
            for scope, owned in self._scopes.items()
            for context in owned.contexts()
            if after < context.active_at <= until
        ]

    async def orphans(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[TaskRef]:
        self._check()
        orphans: list[TaskRef] = []
        for node, refs in self._working.items():
            if not self._alive(node, now):
                orphans += (
                    ref
                    for ref in refs
                    if not self._state_over(ref) and (agents is None or ref.scope.agent in agents)
                )
        return orphans[:limit]

    async def owned(self, node: str, *, agents: Sequence[str] | None = None) -> Sequence[TaskRef]:
        self._check()
        return [
            ref
            for ref in self._working.get(node, ())
            if not self._state_over(ref) and (agents is None or ref.scope.agent in agents)
        ]

    async def due(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None, name: str = ""
    ) -> Sequence[DueTimer]:
        self._check()
        timers: list[DueTimer] = []
        for due_at, scope, task_id, called in self._timers:
            if due_at > now or len(timers) == limit:
                break
            if (agents is None or scope.agent in agents) and name in ("", called):
                timers.append(DueTimer(TaskRef(scope, task_id), Timer(called, due_at)))
        return timers

    async def scopes(self) -> Sequence[TaskScope]:
        self._check()
        return list(self._scopes)

    async def find(self, beginning: str, *, limit: int) -> Sequence[Header]:
        self._check()
        headers = [
            task.header
            for owned in self._scopes.values()
            for task_id, task in owned.tasks.items()
            if task_id.startswith(beginning)
        ]
        headers.sort(key=lambda header: (header.id, header.scope))
        return headers[:limit]

    async def journal(self, scope: TaskScope, task_id: str) -> Sequence[Entry]:
        task = self._find(scope, task_id)
        return () if task is None else task.since(0)


__all__ = ["Reads"]
