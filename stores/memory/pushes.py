"""Push configurations in memory: of each task by id, and all of them by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from ...protocol.types import TERMINAL
from ...runtime.call import TaskScope
from ...runtime.journal.entries import OpenPush, PushLimits, PushRow, TaskRef
from .tables import Tables


class Pushes(Tables):
    """The part of the store that keeps push configurations."""

    async def put_push(self, row: PushRow, *, limits: PushLimits | None = None) -> PushRow | None:
        if self._find(row.scope, row.task_id) is None:
            return None
        mine = self._pushes.get(TaskRef(row.scope, row.task_id), {})
        if limits is not None and row.id not in mine:
            owned = sum(ref.scope == row.scope for ref in self._numbers.values())
            if len(mine) >= limits.per_task or owned >= limits.per_owner:
                return None
        return self._put_push(row)

    async def push(self, scope: TaskScope, task_id: str, push_id: str) -> PushRow | None:
        self._check()
        numbered = self._pushes.get(TaskRef(scope, task_id), {}).get(push_id)
        return None if numbered is None else numbered[1]

    async def pushes(self, scope: TaskScope, task_id: str) -> Sequence[PushRow]:
        self._check()
        return [row for _, row in sorted(self._of_task(TaskRef(scope, task_id)), key=_number)]

    async def save_pushes(self, rows: Sequence[PushRow]) -> Sequence[bool]:
        self._check()
        return [self._save(row) for row in rows]

    def _save(self, row: PushRow) -> bool:
        mine = self._pushes.get(TaskRef(row.scope, row.task_id), {})
        numbered = mine.get(row.id)
        if numbered is None or numbered[1].revision != row.revision:
            return False
        created_at = numbered[1].created_at
        mine[row.id] = numbered[0], replace(row, revision=row.revision + 1, created_at=created_at)
        return True

    async def delete_push(self, scope: TaskScope, task_id: str, push_id: str) -> bool:
        self._check()
        ref = TaskRef(scope, task_id)
        mine = self._pushes.get(ref, {})
        numbered = mine.pop(push_id, None)
        if numbered is None:
            return False
        del self._numbers[numbered[0]]
        if not mine:
            del self._pushes[ref]
        return True

    async def due_pushes(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[PushRow]:
        self._check()
        due = [
            (row.due_at, number, row)
            for number, row in self._all(agents)
            if row.open and row.due_at is not None and row.due_at <= now
        ]
        return [row for _, _, row in sorted(due, key=lambda item: item[:2])[:limit]]

    async def open_pushes(
        self, *, limit: int, after: int = 0, agents: Sequence[str] | None = None
    ) -> Sequence[OpenPush]:
        self._check()
        rows = (item for item in self._all(agents) if item[1].open)
        return self._listed(rows, limit, after)

    async def all_pushes(self, *, limit: int, after: int = 0) -> Sequence[OpenPush]:
        self._check()
        return self._listed(self._all(None), limit, after)

    def _listed(
        self, rows: Iterable[tuple[int, PushRow]], limit: int, after: int
    ) -> Sequence[OpenPush]:
        numbered = sorted((item for item in rows if item[0] > after), key=_number)[:limit]
        return [self._with_task(number, row) for number, row in numbered]

    def _with_task(self, number: int, row: PushRow) -> OpenPush:
        header = self._scopes[row.scope].tasks[row.task_id].header
        over = header.state in TERMINAL
        return OpenPush(row, number, header.generation, over, header.updated_at)

    def _all(self, agents: Sequence[str] | None) -> Iterator[tuple[int, PushRow]]:
        for ref in self._pushes:
            if agents is None or ref.scope.agent in agents:
                yield from self._of_task(ref)

    def _of_task(self, ref: TaskRef) -> Iterable[tuple[int, PushRow]]:
        return self._pushes.get(ref, {}).values()

    def _kept_by_push(self, scope: TaskScope, task_id: str) -> bool:
        """Whether an open configuration has not reached the end of its task."""
        generation = self._scopes[scope].tasks[task_id].header.generation
        rows = self._of_task(TaskRef(scope, task_id))
        return any(row.open and row.generation < generation for _, row in rows)


def _number(item: tuple[int, PushRow]) -> int:
    return item[0]


__all__ = ["Pushes"]
