"""What the writing connection deletes, and what keeps it from doing so."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...runtime.call import TaskScope
from ...runtime.journal.entries import Context, Gone, Header, Pruned
from .pushes import BEHIND, keep
from .queries import (
    FOLDED,
    HEADER,
    ONE_CONTEXT,
    OUTDATED,
    SCOPE,
    UNPINNED,
    context_of,
    header_of,
    scope_of,
)
from .schema import OVER, SHIFT
from .transactions import transaction


class Deletes:
    """A part of ``Writes``. Every method is one transaction."""

    _deployment: int
    """Number that stands for the deployment."""

    def mark_context(
        self,
        db: sqlite3.Connection,
        scope: TaskScope,
        context_id: str,
        touched_at: float,
        pinned: bool | None,
    ) -> bool:
        with transaction(db):
            place = self._place(db, scope, context_id)
            if db.execute(ONE_CONTEXT, place).fetchone() is None:
                return False
            db.execute(
                "INSERT INTO context (scope, id, touched_at, pinned) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET touched_at = max(touched_at, excluded.touched_at), "
                "pinned = iif(?, excluded.pinned, pinned)",
                (*place, touched_at, bool(pinned), pinned is not None),
            )
        return True

    def delete_context(
        self, db: sqlite3.Connection, scope: TaskScope, context_id: str
    ) -> Context | None:
        with transaction(db):
            place = self._place(db, scope, context_id)
            row = db.execute(ONE_CONTEXT, place).fetchone()
            if row is None:
                return None
            context = context_of(row)
            if not context.live:
                _delete_context(db, place)
        return context

    def delete_task(self, db: sqlite3.Connection, scope: TaskScope, task_id: str) -> Header | None:
        with transaction(db):
            row = db.execute(HEADER, (self._deployment, *scope, task_id)).fetchone()
            if row is None:
                return None
            header = header_of(scope, row)
            if header.state.terminal:
                _delete(db, row[0])
                _forget_context(db, self._place(db, scope, header.context_id))
        return header

    def _place(self, db: sqlite3.Connection, scope: TaskScope, context_id: str) -> tuple[int, str]:
        row = db.execute(f"SELECT {SCOPE}", (self._deployment, *scope)).fetchone()
        return row[0] or 0, context_id

    # --- time -----------------------------------------------------------------------------------

    def prune(
        self, db: sqlite3.Connection, tasks_before: float, sends_before: float, limit: int
    ) -> Pruned:
        with transaction(db):
            rows = db.execute(
                f"SELECT number, scope, context_id FROM task WHERE deployment = ? "
                f"AND updated_at < ? AND {OVER} AND {UNPINNED} AND NOT {BEHIND} "
                "ORDER BY updated_at, id LIMIT ?",
                (self._deployment, tasks_before, limit),
            ).fetchall()
            before = {
                (scope, context_id): db.execute(ONE_CONTEXT, (scope, context_id)).fetchone()
                for _, scope, context_id in rows
            }
            for number, _, _ in rows:
                _delete(db, number)
            contexts = [
                Gone(scope_of(db, place[0]), context_of(row), expired=False)
                for place, row in before.items()
                if _forget_context(db, place)
            ]
            sends = db.execute(
                "DELETE FROM send WHERE number IN (SELECT number FROM send WHERE deployment = ? "
                "AND created_at < ? ORDER BY created_at LIMIT ?)",
                (self._deployment, sends_before, limit),
            ).rowcount
        return Pruned(len(rows), sends, tuple(contexts))

    def prune_contexts(
        self, db: sqlite3.Connection, contexts: Sequence[tuple[int, str]], before: float
    ) -> Sequence[Gone]:
        """Delete those that are still as old as they were when they were found."""
        gone: list[Gone] = []
        with transaction(db):
            for place in contexts:
                row = db.execute(f"{ONE_CONTEXT} HAVING {OUTDATED}", (*place, before)).fetchone()
                if row is not None and not keep(db, place):
                    _delete_context(db, place)
                    gone.append(Gone(scope_of(db, place[0]), context_of(row), expired=True))
        return gone

    def prune_events(self, db: sqlite3.Connection, numbers: Sequence[int], before: float) -> int:
        pruned = 0
        with transaction(db):
            for number in numbers:
                row = db.execute(
                    f"UPDATE task SET floor = folded WHERE number = ? AND {FOLDED} RETURNING floor",
                    (number, before),
                ).fetchone()
                if row is not None:
                    first = number << SHIFT
                    db.execute(
                        "DELETE FROM event WHERE key BETWEEN ? AND ?", (first, first + row[0])
                    )
                    pruned += 1
        return pruned


def _delete(db: sqlite3.Connection, number: int) -> None:
    """A task and all that is its own."""
    keys = (number << SHIFT, (number + 1 << SHIFT) - 1)
    for table in ("event", "message", "record", "segment"):
        db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", keys)
    db.execute("DELETE FROM timer WHERE task = ?", (number,))
    db.execute("DELETE FROM push WHERE task = ?", (number,))
    db.execute("DELETE FROM task WHERE number = ?", (number,))


def _delete_context(db: sqlite3.Connection, place: tuple[int, str]) -> None:
    """All tasks of a context (number of its scope, id)."""
    of = "SELECT number FROM task WHERE scope = ? AND context_id = ?"
    for (number,) in db.execute(of, place).fetchall():
        _delete(db, number)
    _forget_context(db, place)


def _forget_context(db: sqlite3.Connection, place: tuple[int, str]) -> bool:
    """Drop the marks of a context if it has no task any more; whether it has none."""
    of = "SELECT 1 FROM task WHERE scope = ? AND context_id = ? LIMIT 1"
    if db.execute(of, place).fetchone() is not None:
        return False
    db.execute("DELETE FROM context WHERE scope = ? AND id = ?", place)
    return True
