"""The table of push configurations: each of them is a cursor over the events of its task."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...runtime.call import TaskScope
from ...runtime.journal.entries import OpenPush, PushLimits, PushRow
from .bulk import Row
from .queries import SCOPE
from .schema import OVER
from .transactions import transaction

_COLUMNS = """tenant, agent, owner, task.id, push.id, push.created_at, config, health,
push.generation, due_at, open, revision"""
_FROM = """FROM push JOIN task ON task.number = push.task JOIN scope ON scope.id = push.scope"""
_OF_TASK = f"SELECT {_COLUMNS} {_FROM} WHERE task.scope = {SCOPE} AND task.id = ?"
"""Parameters: deployment, the scope, id of the task."""
_WITH_TASK = f"SELECT {_COLUMNS}, push.number, task.generation, {OVER}, updated_at {_FROM}"
_NUMBER = f"SELECT number, scope FROM task WHERE scope = {SCOPE} AND id = ?"
_ADD = """INSERT INTO push (deployment, scope, task, id, created_at, config, health, generation,
due_at, open, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (task, id) DO UPDATE SET config = excluded.config, health = excluded.health,
due_at = excluded.due_at, open = excluded.open, revision = revision + 1"""
BEHIND = """EXISTS (SELECT 1 FROM push WHERE push.task = task.number AND open
AND push.generation < task.generation)"""
"""Of a task: that a push configuration keeps it."""
_KEEPS = f"SELECT 1 FROM task WHERE scope = ? AND context_id = ? AND {BEHIND} LIMIT 1"


def add(db: sqlite3.Connection, deployment: int, scope: int, task: int, row: PushRow) -> None:
    """Add a configuration inside a transaction, or give the one with its id another address."""
    db.execute(
        _ADD,
        (
            deployment, scope, task, row.id, row.created_at, row.config, row.health,
            row.generation, row.due_at, row.open,
        ),
    )  # fmt: skip


def keep(db: sqlite3.Connection, place: tuple[int, str]) -> bool:
    """Whether a push configuration keeps a context (number of its scope, id)."""
    return db.execute(_KEEPS, place).fetchone() is not None


def put(
    db: sqlite3.Connection, deployment: int, row: PushRow, limits: PushLimits | None
) -> PushRow | None:
    with transaction(db):
        place = db.execute(_NUMBER, (deployment, *row.scope, row.task_id)).fetchone()
        if place is None:
            return None
        task, scope = place
        add(db, deployment, scope, task, row)
        if limits is not None and _too_many(db, task, scope, limits):
            db.execute(
                "DELETE FROM push WHERE task = ? AND id = ? AND revision = 1", (task, row.id)
            )
        return one(db, deployment, row.scope, row.task_id, row.id)


def _too_many(db: sqlite3.Connection, task: int, scope: int, limits: PushLimits) -> bool:
    (of_task,) = db.execute("SELECT count(*) FROM push WHERE task = ?", (task,)).fetchone()
    (of_owner,) = db.execute("SELECT count(*) FROM push WHERE scope = ?", (scope,)).fetchone()
    return bool(of_task > limits.per_task or of_owner > limits.per_owner)


def one(
    db: sqlite3.Connection, deployment: int, scope: TaskScope, task_id: str, push_id: str
) -> PushRow | None:
    row = db.execute(f"{_OF_TASK} AND push.id = ?", (deployment, *scope, task_id, push_id))
    record = row.fetchone()
    return None if record is None else _row(record)


def of_task(
    db: sqlite3.Connection, deployment: int, scope: TaskScope, task_id: str
) -> Sequence[PushRow]:
    rows = db.execute(f"{_OF_TASK} ORDER BY push.number", (deployment, *scope, task_id))
    return [_row(row) for row in rows]


def save(db: sqlite3.Connection, deployment: int, rows: Sequence[PushRow]) -> Sequence[bool]:
    with transaction(db):
        return [
            db.execute(
                "UPDATE push SET config = ?, health = ?, generation = ?, due_at = ?, open = ?, "
                "revision = revision + 1 WHERE revision = ? AND id = ? AND task = "
                f"(SELECT number FROM task WHERE scope = {SCOPE} AND id = ?)",
                (
                    row.config, row.health, row.generation, row.due_at, row.open, row.revision,
                    row.id, deployment, *row.scope, row.task_id,
                ),
            ).rowcount > 0
            for row in rows
        ]  # fmt: skip


def delete(
    db: sqlite3.Connection, deployment: int, scope: TaskScope, task_id: str, push_id: str
) -> bool:
    with transaction(db):
        return (
            db.execute(
                "DELETE FROM push WHERE id = ? AND task = "
                f"(SELECT number FROM task WHERE scope = {SCOPE} AND id = ?)",
                (push_id, deployment, *scope, task_id),
            ).rowcount
            > 0
        )


def due(
    db: sqlite3.Connection, deployment: int, now: float, limit: int, agents: Sequence[str] | None
) -> Sequence[PushRow]:
    of, names = _of_agents(agents)
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE push.deployment = ? AND open AND due_at IS NOT NULL "
        f"AND due_at <= ?{of} ORDER BY due_at LIMIT ?",
        (deployment, now, *names, limit),
    )
    return [_row(row) for row in rows]


def listed(
    db: sqlite3.Connection,
    deployment: int,
    limit: int,
    after: int,
    agents: Sequence[str] | None = None,
    *,
    closed: bool = False,
) -> Sequence[OpenPush]:
    of, names = _of_agents(agents)
    only = "" if closed else " AND open"
    rows = db.execute(
        f"{_WITH_TASK} WHERE push.deployment = ? AND push.number > ?{only}{of} "
        "ORDER BY push.number LIMIT ?",
        (deployment, after, *names, limit),
    )
    return [_open(row) for row in rows]


def _of_agents(agents: Sequence[str] | None) -> tuple[str, Sequence[str]]:
    if agents is None:
        return "", ()
    return f" AND agent IN ({', '.join('?' * len(agents))})", agents


def _row(row: Row) -> PushRow:
    scope, (task_id, push_id, *rest) = TaskScope(*row[:3]), row[3:]
    created_at, config, health, generation, due_at, is_open, revision = rest
    return PushRow(
        scope, task_id, push_id, created_at, config, health, generation, due_at, bool(is_open),
        revision,
    )  # fmt: skip


def _open(row: Row) -> OpenPush:
    number, generation, over, updated_at = row[-4:]
    return OpenPush(_row(row[:-4]), number, generation, bool(over), updated_at)
