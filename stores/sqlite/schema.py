"""The tables, and how an older file becomes a newer one.

``task.number`` is private to the file. The children of a task have one integer as their key,
``number << 28 | n`` (n: generation of an event or segment, sequence of a message or record): rows
of a task lie together in order, and no second index is kept for them. Indexed columns of ``task``
change only when the status or the node does; a chunk touches none.

``codec`` says how ``body`` is encoded: 1 is JSON. A new one comes with a new schema version, so
that older code refuses the file instead of misreading it.
"""

from __future__ import annotations

import sqlite3

from ...protocol.types import TaskState
from ...runtime.journal.store import StoreFormatError
from .errors import reason

APPLICATION_ID = 0x47724E6D  # "GrNm"
SHIFT = 28
"""Bits of a child's key that number it within its task."""

STATES = tuple(TaskState)
"""States by the number that stands for them in the file: that of the proto file."""
STATE_NUMBERS = {state: number for number, state in enumerate(STATES)}
OVER = f"state IN ({', '.join(str(STATE_NUMBERS[s]) for s in STATES if s.terminal)})"
"""SQL for "is terminal", spelled the same everywhere: only so is the partial index used."""

_FIRST = f"""
CREATE TABLE deployment (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

CREATE TABLE scope (
    id INTEGER PRIMARY KEY,
    deployment INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    owner TEXT NOT NULL,
    UNIQUE (deployment, tenant, agent, owner)
);

CREATE TABLE task (
    number INTEGER PRIMARY KEY,
    deployment INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    id TEXT NOT NULL,
    context_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    state INTEGER NOT NULL,
    updated_at REAL NOT NULL,
    node TEXT NOT NULL,
    generation INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    run INTEGER NOT NULL,
    run_start INTEGER NOT NULL,
    folded INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    handler TEXT NOT NULL,
    blocked TEXT NOT NULL,
    status BLOB NOT NULL,
    metadata BLOB
);
CREATE UNIQUE INDEX task_id ON task (scope, id);
CREATE INDEX task_listed ON task (scope, updated_at, id, state);
CREATE INDEX task_context ON task (scope, context_id);
CREATE INDEX task_working ON task (node) WHERE node <> '';
CREATE INDEX task_over ON task (deployment, updated_at) WHERE {OVER};

CREATE TABLE event (
    key INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    run INTEGER NOT NULL,
    branch TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    body BLOB NOT NULL,
    codec INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    branch TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    body BLOB NOT NULL,
    codec INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE record (
    key INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    branch TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    body BLOB NOT NULL,
    codec INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE segment (
    key INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    body BLOB NOT NULL,
    codec INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE timer (
    task INTEGER NOT NULL,
    name TEXT NOT NULL,
    deployment INTEGER NOT NULL,
    due_at REAL NOT NULL,
    PRIMARY KEY (task, name)
);
CREATE INDEX timer_due ON timer (deployment, due_at);

CREATE TABLE send (
    number INTEGER PRIMARY KEY,
    deployment INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    message_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    task_id TEXT NOT NULL,
    message BLOB
);
CREATE UNIQUE INDEX send_key ON send (scope, key);
CREATE INDEX send_made ON send (deployment, created_at);

CREATE TABLE node (
    deployment INTEGER NOT NULL,
    id TEXT NOT NULL,
    until REAL,
    PRIMARY KEY (deployment, id)
) WITHOUT ROWID;
"""

_SECOND = """
CREATE TABLE context (
    scope INTEGER NOT NULL,
    id TEXT NOT NULL,
    touched_at REAL NOT NULL,
    pinned INTEGER NOT NULL,
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;
"""
"""Of contexts that a program has touched or pinned; what else there is to know of one, its tasks
tell."""

_THIRD = """
CREATE TABLE push (
    number INTEGER PRIMARY KEY,
    deployment INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    task INTEGER NOT NULL,
    id TEXT NOT NULL,
    created_at REAL NOT NULL,
    config BLOB NOT NULL,
    health BLOB NOT NULL,
    generation INTEGER NOT NULL,
    due_at REAL,
    open INTEGER NOT NULL,
    revision INTEGER NOT NULL
);
CREATE UNIQUE INDEX push_id ON push (task, id);
CREATE INDEX push_scope ON push (scope);
CREATE INDEX push_open ON push (deployment, number) WHERE open;
CREATE INDEX push_due ON push (deployment, due_at) WHERE open AND due_at IS NOT NULL;
"""
"""Push configurations: cursors of readers, one row each, however many events they read."""

MIGRATIONS: tuple[str, ...] = (_FIRST, _SECOND, _THIRD)
"""Scripts in order, forward only: the file's version is the number of those it has seen."""


def check(db: sqlite3.Connection, path: str) -> int:
    """Return the schema version of a file, 0 if it is empty. Raises ``StoreFormatError``."""
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
            raise
        raise StoreFormatError(
            f"{path} is not an SQLite database; if it was the store, {reason(error)}"
        ) from error
    if application != APPLICATION_ID and (application or tables):
        raise StoreFormatError(
            f"{path} is the database of another application: name a file of its own for the tasks"
        )
    if version > len(MIGRATIONS):
        raise StoreFormatError(
            f"{path} has schema {version}, and this version of greenroom knows {len(MIGRATIONS)}: "
            "upgrade greenroom, or go back to a copy of the file that you made before the upgrade"
        )
    return int(version)


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring a file to the newest schema: all of it or nothing."""
    if check(db, path) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[check(db, path) :]:
            for statement in script.split(";"):
                if statement.strip():
                    db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
