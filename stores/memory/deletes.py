"""Deleting from the tables."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge
from itertools import islice

from msgspec.structs import replace

from ...protocol.types import TERMINAL
from ...runtime.call import TaskScope
from ...runtime.journal.entries import NEVER, Context, Gone, Header, Pruned, TaskRef
from .pushes import Pushes
from .reads import Reads
from .rows import Owned


class Deletes(Reads, Pushes):
    """The part of the store that lets go of what is old or unwanted."""

    async def delete_task(self, scope: TaskScope, task_id: str) -> Header | None:
        task = self._find(scope, task_id)
        if task is None:
            return None
        if task.header.state in TERMINAL:
            self._delete(TaskRef(scope, task_id))
        return task.header

    async def delete_context(self, scope: TaskScope, context_id: str) -> Context | None:
        context = await self.context(scope, context_id)
        if context is not None and not context.live:
            self._delete_context(scope, context_id)
        return context

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
            if context.active_at < before
            and not (context.live or context.pinned)
            and not self._context_kept_by_push(owned, context.id)
        ][:limit]
        for gone in outdated:
            self._delete_context(gone.scope, gone.context.id)
        return outdated

    def _context_kept_by_push(self, owned: Owned, context_id: str) -> bool:
        return any(
            task.header.context_id == context_id
            and self._kept_by_push(task.header.scope, task.header.id)
            for task in owned.tasks.values()
        )

    def _delete_context(self, scope: TaskScope, context_id: str) -> None:
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
    def _old(owned: Owned, before: float) -> Iterable[tuple[float, TaskScope, str]]:
        for updated_at, task_id in owned.order:
            if updated_at >= before:
                break
            header = owned.tasks[task_id].header
            if header.state in TERMINAL:
                yield updated_at, header.scope, task_id

    def _unpinned(self, owned: Owned, before: float) -> Iterable[tuple[float, TaskScope, str]]:
        for old in self._old(owned, before):
            marks = owned.marks.get(owned.tasks[old[2]].header.context_id)
            kept = self._kept_by_push(old[1], old[2])
            if (marks is None or not marks[1]) and not kept:
                yield old

    def _delete(self, ref: TaskRef) -> None:
        owned = self._scopes[ref.scope]
        task = owned.tasks.pop(ref.id)
        context_id = task.header.context_id
        if context_id in owned.marks and owned.context(context_id) is None:
            del owned.marks[context_id]
        owned.displace(task.header.updated_at, ref.id)
        self._disown(task.header)
        self._drop_pushes(ref)
        for name, due_at in (task.timers or {}).items():
            self._drop_timer(task.header, name, due_at)


__all__ = ["Deletes"]
