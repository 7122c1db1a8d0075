"""The statements that several modules share, and what their rows mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from ...runtime.call import TaskScope
from ...runtime.journal.entries import Context, Header
from .bulk import Row
from .schema import OVER, SHIFT, STATES

SCOPE = """(SELECT id FROM scope
WHERE deployment = ? AND tenant = ? AND agent = ? AND owner = ?)"""
COLUMNS = """number, id, context_id, state, status, generation, sequence, created_at, updated_at,
run, run_start, epoch, node, folded, floor, metadata, handler, blocked, attempts"""
HEADER = f"SELECT {COLUMNS} FROM task WHERE scope = {SCOPE} AND id = ?"
"""Parameters: deployment, the scope, id of the task. See ``header_of``."""
FIND = """SELECT task.id, tenant, agent, owner FROM scope CROSS JOIN task
ON task.scope = scope.id AND task.id >= ? AND task.id < ? WHERE scope.deployment = ?
ORDER BY task.id, tenant, agent, owner LIMIT ?"""
"""Parameters: first id, one behind the last, deployment, limit. A range of the index ``task_id``:
LIKE and GLOB would read all ids."""
LAST = (1 << SHIFT) - 1
LAST_CHARACTER = "\U0010ffff"
LONGEST_KEY = 64
"""Bytes of the key of a send."""
CONTEXTS = f"""SELECT context_id, min(created_at),
max(max(updated_at), coalesce(max(touched_at), 0)) AS active, count(*), sum(NOT {OVER}) AS live,
coalesce(max(pinned), 0) AS kept
FROM task LEFT JOIN context ON context.scope = task.scope AND context.id = context_id"""
"""See ``context_of``; to be grouped by context."""
ONE_CONTEXT = f"{CONTEXTS} WHERE task.scope = ? AND context_id = ? GROUP BY context_id"
"""Parameters: number of the scope, id."""
OUTDATED = "active < ? AND live = 0 AND NOT kept"
"""Of ``CONTEXTS``: that it may go."""
UNPINNED = """NOT EXISTS (SELECT 1 FROM context WHERE context.scope = task.scope
AND context.id = context_id AND pinned)"""
"""Of a task: that its context does not keep it."""
FOLDED = f"updated_at < ? AND {OVER} AND folded > 1 AND floor < folded"
"""Of a task: that its events may go."""


def context_of(row: Row) -> Context:
    """Make a context of a row of ``CONTEXTS``."""
    context_id, created_at, active_at, tasks, live, pinned = row
    return Context(context_id, created_at, active_at, tasks, live, bool(pinned))


def header_of(scope: TaskScope, row: Row) -> Header:
    """Make a header of a row of ``HEADER``."""
    _, task_id, context_id, state, *rest = row
    return Header(task_id, scope, context_id, STATES[state], *rest)


def scope_of(db: sqlite3.Connection, number: int) -> TaskScope:
    """Read the scope that a number stands for."""
    row = db.execute("SELECT tenant, agent, owner FROM scope WHERE id = ?", (number,)).fetchone()
    return TaskScope(*row)


@contextmanager
def reading(db: sqlite3.Connection) -> Generator[None, None, None]:
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")
