"""What the one writing connection does. Every method is one transaction and runs on its thread.

An append first reads all that its batch is checked against, decides in Python, and then writes row
kind by row kind: two dozen statements for a batch, however many appends are in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    ALL_TIMERS,
    COMMITTED,
    LOST,
    Append,
    Entry,
    Header,
    Kind,
    Outcome,
    PushLimits,
    PushRow,
    SendRecord,
    TaskRef,
    Timer,
    Verdict,
)
from . import pushes
from .bulk import Row, read, write
from .deletes import Deletes
from .queries import SCOPE
from .schema import OVER, SHIFT, STATE_NUMBERS
from .transactions import transaction

_SCOPES_KEPT = 10_000

_FIND_TASKS = """
SELECT task.scope, task.id, number, sequence, epoch, floor, updated_at, state, node
FROM ({rows}) AS wanted CROSS JOIN task
ON task.scope = wanted.column1 AND task.id = wanted.column2"""
_FIND_SENDS = """
SELECT send.scope, key, message_id, created_at, task_id, message
FROM ({rows}) AS wanted CROSS JOIN send
ON send.scope = wanted.column1 AND key = wanted.column2"""
_ADD_TASKS = """
INSERT INTO task (number, deployment, scope, id, context_id, created_at, generation, sequence,
epoch, run, run_start, folded, floor, attempts, handler, blocked, status, metadata, state,
updated_at, node) {rows}"""
_ADD_EVENTS = "INSERT INTO event (key, sequence, run, branch, ordinal, body) {rows}"
_ADD_MESSAGES = "INSERT INTO message (key, run, branch, ordinal, body) {rows}"
_ADD_RECORDS = "INSERT INTO record (key, run, branch, ordinal, body) {rows}"
_ADD_SEGMENTS = "INSERT INTO segment (key, last, body) {rows}"
_ADD_SENDS = """
INSERT INTO send (deployment, scope, key, message_id, created_at, task_id, message) {rows}"""
_ADD_TIMERS = "INSERT OR REPLACE INTO timer (task, name, deployment, due_at) {rows}"
_CHANGE = """
UPDATE task SET generation = new.column2, sequence = new.column3, epoch = new.column4,
run = new.column5, run_start = new.column6, folded = new.column7, floor = new.column8,
attempts = new.column9, handler = new.column10, blocked = new.column11, status = new.column12,
metadata = new.column13"""
_FROM = " FROM ({rows}) AS new WHERE number = new.column1"
_CHANGE_QUIETLY = _CHANGE + _FROM
"""Touches no index: what a chunk needs."""
_CHANGE_ALL = (
    _CHANGE + ", state = new.column14, updated_at = new.column15, node = new.column16" + _FROM
)


class _Row:
    """A task row while its batch is applied: as it stands, and the header it shall have."""

    __slots__ = ("epoch", "floor", "header", "indexed", "known", "number", "sequence")

    def __init__(
        self, number: int, sequence: int, epoch: int, floor: int, indexed: Row | None
    ) -> None:
        self.number = number
        self.sequence = sequence
        self.epoch = epoch
        self.floor = floor
        self.indexed = indexed
        """(updated_at, state, node) in the file; ``None``: the row is not there yet."""
        self.header: Header | None = None


class _Plan:
    """The rows that a batch adds, by table."""

    def __init__(self) -> None:
        self.events: list[Row] = []
        self.messages: list[Row] = []
        self.records: list[Row] = []
        self.segments: list[Row] = []
        self.sends: list[Row] = []
        self.timers: dict[tuple[int, str], Row | None] = {}
        self.floors: list[tuple[int, int]] = []
        self.pushes: list[tuple[int, int, PushRow]] = []

    def add_entries(self, number: int, entries: Sequence[Entry]) -> None:
        first = number << SHIFT
        for e in entries:
            kind = e.kind
            if kind is Kind.EVENT:
                self.events.append(
                    (first + e.generation, e.sequence, e.run, e.branch, e.ordinal, e.body)
                )
            else:
                row = (first + e.sequence, e.run, e.branch, e.ordinal, e.body)
                (self.messages if kind is Kind.MESSAGE else self.records).append(row)


class Writes(Deletes):
    """The writing half of the store."""

    def __init__(self, deployment: str) -> None:
        self._name = deployment
        self._deployment = 0
        self._scopes: dict[TaskScope, int] = {}

    def enlist(self, db: sqlite3.Connection, *, alone: bool) -> int:
        """Return the number that stands for the deployment in this file.

        ``alone``: nobody else serves from it, so every node there was is gone, and need not be
        waited for until its lease is over.
        """
        with transaction(db):
            db.execute("INSERT OR IGNORE INTO deployment (name) VALUES (?)", (self._name,))
            (self._deployment,) = db.execute(
                "SELECT id FROM deployment WHERE name = ?", (self._name,)
            ).fetchone()
            if alone:
                # Kept as dead: forgotten, one of them could come back.
                db.execute("UPDATE node SET until = NULL WHERE deployment = ?", (self._deployment,))
        return self._deployment

    def enlisted(self, db: sqlite3.Connection) -> int:
        """The same without writing: 0, which nothing is kept under, if there is none yet."""
        row = db.execute("SELECT id FROM deployment WHERE name = ?", (self._name,)).fetchone()
        return int(row[0]) if row else 0

    # --- append ---------------------------------------------------------------------------------

    def append(self, db: sqlite3.Connection, batch: Sequence[Append]) -> list[Outcome]:
        new_scopes: dict[TaskScope, int] = {}
        with transaction(db):
            outcomes = self._append(db, batch, new_scopes)
        if len(self._scopes) > _SCOPES_KEPT:
            self._scopes.clear()
        self._scopes.update(new_scopes)
        return outcomes

    def _append(
        self, db: sqlite3.Connection, batch: Sequence[Append], new_scopes: dict[TaskScope, int]
    ) -> list[Outcome]:
        scopes = [self._scope(db, append, new_scopes) for append in batch]
        rows = self._rows(db, batch, scopes)
        sends = self._sends(db, batch, scopes)
        number = self._last_number(db, batch)
        plan = _Plan()
        outcomes: list[Outcome] = []
        for append, scope in zip(batch, scopes, strict=True):
            if append.sends and (
                known := next(
                    (s for send in append.sends if (s := sends.get((scope, send.key)))), None
                )
            ):
                outcomes.append(Outcome(Verdict.DUPLICATE, known))
                continue
            header = append.header
            if header is not None:
                row = rows.get((scope, header.id))
                if append.expected == 0:
                    if row is not None:
                        outcomes.append(LOST)
                        continue
                    number += 1
                    row = rows[scope, header.id] = _Row(number, 0, 0, 0, None)
                elif (
                    row is None
                    or row.sequence != append.expected
                    or row.epoch != (append.epoch or header.epoch)
                ):
                    outcomes.append(LOST)
                    continue
                self._apply(plan, row, header, append)
                plan.pushes += [(scope, row.number, push) for push in append.pushes]
            for send in append.sends:
                sends[scope, send.key] = send
                plan.sends.append(
                    (
                        self._deployment, scope, send.key, send.message_id, send.created_at,
                        send.task_id, send.message,
                    )
                )  # fmt: skip
            outcomes.append(COMMITTED)
        self._write(db, rows, plan)
        return outcomes

    def _scope(
        self, db: sqlite3.Connection, append: Append, new_scopes: dict[TaskScope, int]
    ) -> int:
        scope = append.scope if append.header is None else append.header.scope
        assert scope is not None, "an append without a header names the scope of its sends"
        number = self._scopes.get(scope) or new_scopes.get(scope)
        if number is None:
            values = (self._deployment, *scope)
            db.execute(
                "INSERT OR IGNORE INTO scope (deployment, tenant, agent, owner) "
                "VALUES (?, ?, ?, ?)",
                values,
            )
            (number,) = db.execute(
                "SELECT id FROM scope "
                "WHERE deployment = ? AND tenant = ? AND agent = ? AND owner = ?",
                values,
            ).fetchone()
            new_scopes[scope] = number
        return number

    @staticmethod
    def _rows(
        db: sqlite3.Connection, batch: Sequence[Append], scopes: Sequence[int]
    ) -> dict[tuple[int, str], _Row]:
        wanted = {
            (scope, append.header.id): None
            for append, scope in zip(batch, scopes, strict=True)
            if append.header is not None
        }
        return {
            (scope, task_id): _Row(number, sequence, epoch, floor, tuple(indexed))
            for scope, task_id, number, sequence, epoch, floor, *indexed in read(
                db, _FIND_TASKS, list(wanted)
            )
        }

    @staticmethod
    def _sends(
        db: sqlite3.Connection, batch: Sequence[Append], scopes: Sequence[int]
    ) -> dict[tuple[int, bytes], SendRecord]:
        wanted = {
            (scope, send.key): None
            for append, scope in zip(batch, scopes, strict=True)
            for send in append.sends
        }
        return {
            (scope, key): SendRecord(key, message_id, created_at, task_id, message)
            for scope, key, message_id, created_at, task_id, message in read(
                db, _FIND_SENDS, list(wanted)
            )
        }

    @staticmethod
    def _last_number(db: sqlite3.Connection, batch: Sequence[Append]) -> int:
        """Read, not remembered: a command-line tool may have written meanwhile."""
        if all(append.expected for append in batch):
            return 0
        (number,) = db.execute("SELECT max(number) FROM task").fetchone()
        return number or 0

    def _apply(self, plan: _Plan, row: _Row, header: Header, append: Append) -> None:
        row.header = header
        row.sequence = header.sequence
        row.epoch = header.epoch
        number = row.number
        plan.add_entries(number, append.entries)
        if header.floor > row.floor:
            row.floor = header.floor
            plan.floors.append((number << SHIFT, (number << SHIFT) + header.floor))
        if append.segment is not None:
            segment = append.segment
            plan.segments.append(((number << SHIFT) + segment.first, segment.last, segment.body))
        for name in append.cleared:
            plan.timers[number, name] = None
        for timer in append.timers:
            plan.timers[number, timer.name] = (number, timer.name, self._deployment, timer.due_at)

    def _write(
        self, db: sqlite3.Connection, rows: dict[tuple[int, str], _Row], plan: _Plan
    ) -> None:
        added: list[Row] = []
        quiet: list[Row] = []
        moved: list[Row] = []
        for (scope, task_id), row in rows.items():
            h = row.header
            if h is None:
                continue
            values = (
                h.generation, h.sequence, h.epoch, h.run, h.run_start, h.folded, h.floor,
                h.attempts, h.handler, h.blocked, h.status, h.metadata,
            )  # fmt: skip
            state = STATE_NUMBERS[h.state]
            if row.indexed is None:
                identity = (
                    row.number, self._deployment, scope, task_id, h.context_id, h.created_at,
                )  # fmt: skip
                added.append((*identity, *values, state, h.updated_at, h.node))
            elif row.indexed == (h.updated_at, state, h.node):
                quiet.append((row.number, *values))
            else:
                moved.append((row.number, *values, state, h.updated_at, h.node))
        write(db, _ADD_TASKS, added)
        write(db, _CHANGE_QUIETLY, quiet)
        write(db, _CHANGE_ALL, moved)
        write(db, _ADD_MESSAGES, plan.messages)
        write(db, _ADD_EVENTS, plan.events)
        write(db, _ADD_RECORDS, plan.records)
        write(db, _ADD_SEGMENTS, plan.segments)
        write(db, _ADD_SENDS, plan.sends)
        for scope, number, push in plan.pushes:
            pushes.add(db, self._deployment, scope, number, push)
        for first, last in plan.floors:
            db.execute("DELETE FROM event WHERE key BETWEEN ? AND ?", (first, last))
        if plan.timers:
            cleared = [key for key, row in plan.timers.items() if row is None]
            whole = [(number,) for number, name in cleared if name == ALL_TIMERS]
            db.executemany("DELETE FROM timer WHERE task = ?", whole)
            db.executemany("DELETE FROM timer WHERE task = ? AND name = ?", cleared)
            write(db, _ADD_TIMERS, [row for row in plan.timers.values() if row is not None])

    # --- push -----------------------------------------------------------------------------------

    def put_push(
        self, db: sqlite3.Connection, row: PushRow, limits: PushLimits | None
    ) -> PushRow | None:
        return pushes.put(db, self._deployment, row, limits)

    def save_pushes(self, db: sqlite3.Connection, rows: Sequence[PushRow]) -> Sequence[bool]:
        return pushes.save(db, self._deployment, rows)

    def delete_push(
        self, db: sqlite3.Connection, scope: TaskScope, task_id: str, push_id: str
    ) -> bool:
        return pushes.delete(db, self._deployment, scope, task_id, push_id)

    # --- ownership ------------------------------------------------------------------------------

    def heartbeat(self, db: sqlite3.Connection, node: str, now: float, lease: float) -> bool:
        with transaction(db):
            changed = db.execute(
                "INSERT INTO node (deployment, id, until) VALUES (?, ?, ?) ON CONFLICT "
                "(deployment, id) DO UPDATE SET until = excluded.until WHERE until > ?",
                (self._deployment, node, now + lease, now),
            ).rowcount
        return changed > 0

    def retire(self, db: sqlite3.Connection, node: str) -> None:
        with transaction(db):
            db.execute(
                "INSERT OR REPLACE INTO node (deployment, id, until) VALUES (?, ?, NULL)",
                (self._deployment, node),
            )

    def remind(self, db: sqlite3.Connection, ref: TaskRef, timer: Timer) -> bool:
        with transaction(db):
            changed = db.execute(
                "INSERT OR REPLACE INTO timer (task, name, deployment, due_at) "
                f"SELECT number, ?, ?, ? FROM task WHERE scope = {SCOPE} AND id = ? AND NOT {OVER}",
                (timer.name, self._deployment, timer.due_at, self._deployment, *ref.scope, ref.id),
            ).rowcount
        return changed > 0
