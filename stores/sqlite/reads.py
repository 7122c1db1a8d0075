"""What a reading connection does. Every method is one read transaction and runs on its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from operator import attrgetter

from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    BORDERS,
    Entry,
    EventPage,
    Header,
    Kind,
    Loaded,
    PushRow,
    SendRecord,
    Snapshot,
    TaskPage,
    TaskQuery,
)
from . import pushes
from .bulk import Row
from .node_reads import AcrossReads
from .queries import (
    COLUMNS,
    FIND,
    HEADER,
    LAST,
    LAST_CHARACTER,
    LONGEST_KEY,
    SCOPE,
    header_of,
    reading,
)
from .schema import SHIFT, STATE_NUMBERS


class Reads(AcrossReads):
    """The reading half of the store. ``deployment`` is the number that stands for it."""

    def find_send(self, db: sqlite3.Connection, scope: TaskScope, key: bytes) -> SendRecord | None:
        row = db.execute(
            "SELECT key, message_id, created_at, task_id, message FROM send "
            f"WHERE scope = {SCOPE} AND key = ?",
            (self._deployment, *scope, key),
        ).fetchone()
        return None if row is None else SendRecord(*row)

    def sends(self, db: sqlite3.Connection, scope: TaskScope, begin: bytes) -> Sequence[SendRecord]:
        rows = db.execute(
            "SELECT key, message_id, created_at, task_id, message FROM send "
            f"WHERE scope = {SCOPE} AND key BETWEEN ? AND ? ORDER BY number",
            (self._deployment, *scope, begin, begin + b"\xff" * LONGEST_KEY),
        )
        return [SendRecord(*row) for row in rows]

    def push(
        self, db: sqlite3.Connection, scope: TaskScope, task_id: str, push_id: str
    ) -> PushRow | None:
        return pushes.one(db, self._deployment, scope, task_id, push_id)

    def pushes(self, db: sqlite3.Connection, scope: TaskScope, task_id: str) -> Sequence[PushRow]:
        return pushes.of_task(db, self._deployment, scope, task_id)

    def header(self, db: sqlite3.Connection, scope: TaskScope, task_id: str) -> Header | None:
        row = self._find(db, scope, task_id)
        return None if row is None else header_of(scope, row)

    def load(self, db: sqlite3.Connection, scope: TaskScope, task_id: str) -> Loaded | None:
        with reading(db):
            row = self._find(db, scope, task_id)
            if row is None:
                return None
            header = header_of(scope, row)
            number: int = row[0]
            tail = [_event(event) for event in self._events(db, number, header.folded)]
            if header.state.terminal:
                return Loaded(header, tail)
            entries = self._entries(db, number, header.run_start)
            return Loaded(header, tail, entries, self._borders(db, number, header))

    def as_of(
        self, db: sqlite3.Connection, scope: TaskScope, task_id: str, generation: int
    ) -> Snapshot | None:
        with reading(db):
            row = self._find(db, scope, task_id)
            if row is None:
                return None
            header = header_of(scope, row)
            if not 1 <= generation <= header.generation:
                return None
            first: int = row[0] << SHIFT
            segments = db.execute(
                "SELECT last, body FROM segment WHERE key BETWEEN ? AND ? AND last <= ? "
                "ORDER BY key",
                (first, first + generation, generation),
            ).fetchall()
            border = segments[-1][0] if segments else 1
            if border < header.floor:
                return None
            events = db.execute(
                "SELECT body FROM event WHERE key > ? AND key <= ? ORDER BY key",
                (first + border, first + generation),
            )
            return Snapshot(header, [body for _, body in segments], [body for (body,) in events])

    def snapshots(
        self,
        db: sqlite3.Connection,
        scope: TaskScope,
        task_ids: Sequence[str],
        history: int | None,
        artifacts: bool,
    ) -> Sequence[Snapshot]:
        with reading(db):
            return [
                self._snapshot(db, scope, row, history, artifacts)
                for task_id in task_ids
                if (row := self._find(db, scope, task_id)) is not None
            ]

    def _snapshot(
        self,
        db: sqlite3.Connection,
        scope: TaskScope,
        row: Row,
        history: int | None,
        artifacts: bool,
    ) -> Snapshot:
        header = header_of(scope, row)
        number: int = row[0]
        segments: list[bytes] = []
        events: list[bytes] = []
        messages: list[bytes] = []
        if artifacts:
            if header.folded > 1:
                segments = [
                    body
                    for (body,) in db.execute(
                        "SELECT body FROM segment WHERE key BETWEEN ? AND ? ORDER BY key",
                        (number << SHIFT, (number << SHIFT) + LAST),
                    )
                ]
            events = [event[1] for event in self._events(db, number, header.folded)]
        if history != 0:
            limit = -1 if history is None else history
            messages = [body for _, body in self._messages(db, number, None, None, limit)]
            messages.reverse()
        return Snapshot(header, segments, events, messages)

    def events(
        self, db: sqlite3.Connection, scope: TaskScope, task_id: str, after: int, limit: int
    ) -> EventPage | None:
        with reading(db):
            row = self._find(db, scope, task_id)
            if row is None:
                return None
            events = [
                (key & LAST, body) for key, body, *_ in self._events(db, row[0], after, limit)
            ]
        return EventPage(header_of(scope, row), events)

    def messages(
        self,
        db: sqlite3.Connection,
        scope: TaskScope,
        task_id: str,
        before: int | None,
        after: int | None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        with reading(db):
            row = self._find(db, scope, task_id)
            return [] if row is None else self._messages(db, row[0], before, after, limit)

    def tasks(self, db: sqlite3.Connection, query: TaskQuery) -> TaskPage:
        where = f"scope = {SCOPE}"
        values: list[object] = [self._deployment, *query.scope]
        for condition, value in (
            ("context_id = ?", query.context_id),
            ("state = ?", None if query.state is None else STATE_NUMBERS[query.state]),
            ("updated_at > ?", query.updated_after),
        ):
            if value is not None:
                where += f" AND {condition}"
                values.append(value)
        with reading(db):
            (total,) = db.execute(f"SELECT count(*) FROM task WHERE {where}", values).fetchone()
            if query.after is not None:
                where += " AND (updated_at, id) < (?, ?)"
                values += query.after
            rows = db.execute(
                f"SELECT {COLUMNS} FROM task WHERE {where} "
                "ORDER BY updated_at DESC, id DESC LIMIT ?",
                (*values, query.limit + 1),
            ).fetchall()
        headers = [header_of(query.scope, row) for row in rows[: query.limit]]
        return TaskPage(headers, total, len(rows) > query.limit)

    def find(self, db: sqlite3.Connection, beginning: str, limit: int) -> Sequence[Header]:
        with reading(db):
            rows = db.execute(
                FIND,
                (beginning, beginning + LAST_CHARACTER, self._deployment, limit),
            ).fetchall()
            headers = [self.header(db, TaskScope(*scope), task_id) for task_id, *scope in rows]
        return [header for header in headers if header is not None]

    def journal(self, db: sqlite3.Connection, scope: TaskScope, task_id: str) -> Sequence[Entry]:
        with reading(db):
            row = self._find(db, scope, task_id)
            return [] if row is None else self._entries(db, row[0], 0)

    @staticmethod
    def _entries(db: sqlite3.Connection, number: int, since: int) -> list[Entry]:
        """Entries of every kind from a sequence on, in order."""
        entries = list(_run_events(db, number, since))
        first = (number << SHIFT) + since
        for table, kind in (("message", Kind.MESSAGE), ("record", Kind.RECORD)):
            entries += (
                Entry(key & LAST, kind, body, 0, *place)
                for key, body, *place in db.execute(
                    f"SELECT key, body, run, branch, ordinal FROM {table} "
                    "WHERE key BETWEEN ? AND ?",
                    (first, (number << SHIFT) + LAST),
                )
            )
        entries.sort(key=attrgetter("sequence"))
        return entries

    # --- parts ----------------------------------------------------------------------------------

    def _find(self, db: sqlite3.Connection, scope: TaskScope, task_id: str) -> Row | None:
        row: Row | None = db.execute(HEADER, (self._deployment, *scope, task_id)).fetchone()
        return row

    @staticmethod
    def _borders(db: sqlite3.Connection, number: int, header: Header) -> Sequence[int]:
        if header.folded <= max(header.floor, 1):
            return ()
        first = number << SHIFT
        (begin,) = db.execute(
            "SELECT max(key) FROM segment WHERE key BETWEEN ? AND ?", (first, first + header.floor)
        ).fetchone()
        rows = db.execute(
            "SELECT last FROM segment WHERE key BETWEEN ? AND ? AND last > ? ORDER BY key LIMIT ?",
            (begin or first, first + LAST, header.floor, BORDERS),
        )
        return [last for (last,) in rows]

    @staticmethod
    def _events(db: sqlite3.Connection, number: int, after: int, limit: int = -1) -> list[Row]:
        """(key, body, sequence, run, branch, ordinal) of events with a generation after one."""
        first = number << SHIFT
        return db.execute(
            "SELECT key, body, sequence, run, branch, ordinal FROM event "
            "WHERE key > ? AND key <= ? ORDER BY key LIMIT ?",
            (first + min(max(after, 0), LAST), first + LAST, limit),
        ).fetchall()

    @staticmethod
    def _messages(
        db: sqlite3.Connection, number: int, before: int | None, after: int | None, limit: int
    ) -> list[tuple[int, bytes]]:
        first = number << SHIFT
        begin = 0 if after is None else min(max(after + 1, 0), LAST + 1)
        end = LAST + 1 if before is None else min(max(before, 0), LAST + 1)
        order = "DESC" if after is None else "ASC"
        return [
            (key & LAST, body)
            for key, body in db.execute(
                "SELECT key, body FROM message WHERE key >= ? AND key < ? "
                f"ORDER BY key {order} LIMIT ?",
                (first + begin, first + end, limit),
            )
        ]


def _event(row: Row) -> Entry:
    key, body, sequence, *place = row
    return Entry(sequence, Kind.EVENT, body, key & LAST, *place)


def _run_events(db: sqlite3.Connection, number: int, run_start: int) -> Iterator[Entry]:
    """Events of the current run, newest first: their sequence has no index, but falls with them."""
    for row in db.execute(
        "SELECT key, body, sequence, run, branch, ordinal FROM event "
        "WHERE key BETWEEN ? AND ? ORDER BY key DESC",
        (number << SHIFT, (number << SHIFT) + LAST),
    ):
        entry = _event(row)
        if entry.sequence < run_start:
            return
        yield entry
