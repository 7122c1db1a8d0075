"""The store for tests and throwaway servers: everything in this process, nothing after it.

It keeps what it is given: the encoded bytes and the small frozen rows around them. Nothing here
waits, so each method is one step of the event loop, and that is all the locking there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ...protocol.types import TERMINAL
from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    COMMITTED,
    LOST,
    Append,
    Outcome,
    TaskRef,
    Timer,
    Verdict,
)
from .deletes import Deletes
from .rows import Owned, Task


class MemoryStore(Deletes):
    """A ``Store`` without a disk: it keeps what it has as long as the object lives.

    Closed and opened again it is as a file would be after a restart.
    """

    def __repr__(self) -> str:
        return f"MemoryStore({sum(len(owned.tasks) for owned in self._scopes.values())} tasks)"

    async def open(self, *, now: float) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        # One runtime serves from it at a time: every node there was is gone. Kept as dead, for
        # forgotten, one of them could come back.
        self._nodes = dict.fromkeys(self._nodes, -inf)

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        self._check()
        return [self._apply(append) for append in batch]

    def _apply(self, append: Append) -> Outcome:
        header = append.header
        scope = append.scope if header is None else header.scope
        assert scope is not None, "an append without a header names the scope of its sends"
        owned = self._scopes.get(scope)
        if owned is None:
            owned = self._scopes[scope] = Owned(scope)
        for send in append.sends:
            known = owned.sends.get(send.key)
            if known is not None:
                return Outcome(Verdict.DUPLICATE, known)
        if header is not None:
            task = owned.tasks.get(header.id)
            if append.expected == 0:
                if task is not None:
                    return LOST
                task = owned.tasks[header.id] = Task(header)
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
            for push in append.pushes:
                self._put_push(push)
            if not header.node:
                task.settle(owned.scope)
        for send in append.sends:
            owned.sends[send.key] = send
        return COMMITTED

    async def mark_context(
        self,
        scope: TaskScope,
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

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        self._check()
        if node in self._nodes and not self._alive(node, now):
            return False
        self._nodes[node] = now + lease
        return True

    async def retire(self, node: str, *, now: float) -> None:
        self._check()
        self._nodes[node] = -inf

    async def remind(self, ref: TaskRef, timer: Timer) -> bool:
        task = self._find(ref.scope, ref.id)
        if task is None or task.header.state in TERMINAL:
            return False
        self._set_timers(task, (), (timer,))
        return True


__all__ = ["MemoryStore"]
