"""The tables of the store in memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from math import inf

from msgspec.structs import replace

from ...protocol.types import TERMINAL
from ...runtime.call import TaskScope
from ...runtime.journal.entries import ALL_TIMERS, Header, PushRow, TaskRef, Timer
from ...runtime.journal.store import StoreClosedError
from .rows import Owned, Task


class Tables:
    """All that there is, and what keeps it in order."""

    def __init__(self) -> None:
        self._scopes: dict[TaskScope, Owned] = {}
        self._nodes: dict[str, float] = {}
        """Node id to the end of its lease; the past once it is retired."""
        self._working: dict[str, dict[TaskRef, None]] = {}
        """Tasks by the node that owns them."""
        self._timers: list[tuple[float, TaskScope, str, str]] = []
        self._pushes: dict[TaskRef, dict[str, tuple[int, PushRow]]] = {}
        """Push configurations of a task by id, each with its number."""
        self._numbers: dict[int, TaskRef] = {}
        """Whose push configuration a number stands for."""
        self._last_number = 0
        self._closed = False

    def _find(self, scope: TaskScope, task_id: str) -> Task | None:
        self._check()
        owned = self._scopes.get(scope)
        return None if owned is None else owned.tasks.get(task_id)

    def _check(self) -> None:
        if self._closed:
            raise StoreClosedError("the memory store is closed; opened again it has what it had")

    def _alive(self, node: str, now: float) -> bool:
        return now < self._nodes.get(node, -inf)

    def _state_over(self, ref: TaskRef) -> bool:
        return self._scopes[ref.scope].tasks[ref.id].header.state in TERMINAL

    def _update(self, owned: Owned, task: Task, header: Header) -> None:
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

    def _put_push(self, row: PushRow) -> PushRow:
        ref = TaskRef(row.scope, row.task_id)
        mine = self._pushes.setdefault(ref, {})
        numbered = mine.get(row.id)
        if numbered is None:
            self._last_number += 1
            number, row = self._last_number, replace(row, revision=1)
            self._numbers[number] = ref
        else:
            number, old = numbered
            row = replace(
                row,
                created_at=old.created_at,
                generation=old.generation,
                revision=old.revision + 1,
            )
        mine[row.id] = number, row
        return row

    def _drop_pushes(self, ref: TaskRef) -> None:
        for number, _ in self._pushes.pop(ref, {}).values():
            del self._numbers[number]

    def _disown(self, header: Header) -> None:
        if header.node:
            working = self._working[header.node]
            del working[TaskRef(header.scope, header.id)]
            if not working:
                del self._working[header.node]

    def _set_timers(self, task: Task, cleared: Sequence[str], timers: Iterable[Timer]) -> None:
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


__all__ = ["Tables"]
