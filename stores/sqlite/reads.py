"""What a reading connection does. Every method is one read transaction and runs on its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter

from ...runtime.call import Scope
from ...runtime.ports import (
    BORDERS,
    NEVER,
    Context,
    DueTimer,
    Entry,
    EventPage,
    Header,
    Kind,
    Loaded,
    SendRecord,
    Snapshot,
    TaskPage,
    TaskQuery,
    TaskRef,
    Timer,
)
from .rows import Row
from .schema import OVER, SHIFT, STATE_NUMBERS, STATES

SCOPE = """(SELECT id FROM scope
WHERE deployment = ? AND tenant = ? AND agent = ? AND owner = ?)"""
_COLUMNS = """number, id, context_id, state, status, generation, sequence, created_at, updated_at,
run, run_start, epoch, node, folded, floor, metadata, handler, blocked, attempts"""
HEADER = f"SELECT {_COLUMNS} FROM task WHERE scope = {SCOPE} AND id = ?"
"""Parameters: deployment, the scope, id of the task. See ``header_of``."""
FIND = """SELECT task.id, tenant, agent, owner FROM scope CROSS JOIN task
ON task.scope = scope.id AND task.id >= ? AND task.id < ? WHERE scope.deployment = ?
ORDER BY task.id, tenant, agent, owner LIMIT ?"""
"""Parameters: first id, one behind the last, deployment, limit. A range of the index ``task_id``:
LIKE and GLOB would read all ids."""
_LAST = (1 << SHIFT) - 1
_LAST_CHARACTER = "\U0010ffff"
_LONGEST_KEY = 64
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


def header_of(scope: Scope, row: Row) -> Header:
    """Make a header of a row of ``HEADER``."""
    _, task_id, context_id, state, *rest = row
    return Header(task_id, scope, context_id, STATES[state], *rest)


def scope_of(db: sqlite3.Connection, number: int) -> Scope:
    """Read the scope that a number stands for."""
    row = db.execute("SELECT tenant, agent, owner FROM scope WHERE id = ?", (number,)).fetchone()
    return Scope(*row)


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


class Reads:
    """The reading half of the store. ``deployment`` is the number that stands for it."""

    def __init__(self, deployment: int) -> None:
        self._deployment = deployment

    def find_send(self, db: sqlite3.Connection, scope: Scope, key: bytes) -> SendRecord | None:
        row = db.execute(
            "SELECT key, message_id, created_at, task_id, message FROM send "
            f"WHERE scope = {SCOPE} AND key = ?",
            (self._deployment, *scope, key),
        ).fetchone()
        return None if row is None else SendRecord(*row)

    def sends(self, db: sqlite3.Connection, scope: Scope, begin: bytes) -> Sequence[SendRecord]:
        rows = db.execute(
            "SELECT key, message_id, created_at, task_id, message FROM send "
            f"WHERE scope = {SCOPE} AND key BETWEEN ? AND ? ORDER BY number",
            (self._deployment, *scope, begin, begin + b"\xff" * _LONGEST_KEY),
        )
        return [SendRecord(*row) for row in rows]

    def contexts(
        self, db: sqlite3.Connection, scope: Scope, limit: int, after: tuple[float, str] | None
    ) -> Sequence[Context]:
        having = "" if after is None else "HAVING (active, context_id) < (?, ?)"
        rows = db.execute(
            f"{CONTEXTS} WHERE task.scope = {SCOPE} GROUP BY context_id {having} "
            "ORDER BY active DESC, context_id DESC LIMIT ?",
            (self._deployment, *scope, *(after or ()), limit),
        )
        return [context_of(row) for row in rows]

    def context(self, db: sqlite3.Connection, scope: Scope, context_id: str) -> Context | None:
        row = db.execute(
            f"{CONTEXTS} WHERE task.scope = {SCOPE} AND context_id = ? GROUP BY context_id",
            (self._deployment, *scope, context_id),
        ).fetchone()
        return None if row is None else context_of(row)

    def quiet_contexts(
        self, db: sqlite3.Connection, after: float, until: float
    ) -> Sequence[tuple[Scope, Context]]:
        found = []
        with _reading(db):
            # Scope by scope: no index knows the tasks of all scopes by time.
            places = db.execute(
                "SELECT DISTINCT scope.id, context_id FROM scope CROSS JOIN task ON task.scope = "
                "scope.id AND updated_at > ? AND updated_at <= ? WHERE scope.deployment = ? UNION "
                "SELECT scope, context.id FROM context JOIN scope ON scope.id = scope "
                "WHERE touched_at > ? AND touched_at <= ? AND deployment = ?",
                (after, until, self._deployment) * 2,
            ).fetchall()
            for place in places:
                row = db.execute(
                    f"{ONE_CONTEXT} HAVING active > ? AND active <= ?", (*place, after, until)
                ).fetchone()
                if row is not None:
                    found.append((scope_of(db, place[0]), context_of(row)))
        return found

    def outdated(
        self, db: sqlite3.Connection, contexts_before: float, events_before: float, limit: int
    ) -> tuple[Sequence[tuple[int, str]], Sequence[int]]:
        """Find (scope, id) of contexts and the numbers of tasks of which something may be pruned:
        here, where it keeps nobody from writing."""
        contexts: Sequence[tuple[int, str]] = ()
        if contexts_before > NEVER:
            contexts = [
                place
                for place in db.execute(
                    "SELECT DISTINCT scope, context_id FROM task WHERE deployment = ? "
                    f"AND updated_at < ? AND {OVER}",
                    (self._deployment, contexts_before),
                )
                if db.execute(
                    f"{ONE_CONTEXT} HAVING {OUTDATED}", (*place, contexts_before)
                ).fetchone()
            ][:limit]
        numbers: Sequence[int] = ()
        if events_before > NEVER:
            found = db.execute(
                f"SELECT number FROM task WHERE deployment = ? AND {FOLDED} "
                "ORDER BY updated_at LIMIT ?",
                (self._deployment, events_before, limit),
            )
            numbers = [number for (number,) in found]
        return contexts, numbers

    def header(self, db: sqlite3.Connection, scope: Scope, task_id: str) -> Header | None:
        row = self._find(db, scope, task_id)
        return None if row is None else header_of(scope, row)

    def load(self, db: sqlite3.Connection, scope: Scope, task_id: str) -> Loaded | None:
        with _reading(db):
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
        self, db: sqlite3.Connection, scope: Scope, task_id: str, generation: int
    ) -> Snapshot | None:
        with _reading(db):
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
        scope: Scope,
        task_ids: Sequence[str],
        history: int | None,
        artifacts: bool,
    ) -> Sequence[Snapshot]:
        with _reading(db):
            return [
                self._snapshot(db, scope, row, history, artifacts)
                for task_id in task_ids
                if (row := self._find(db, scope, task_id)) is not None
            ]

    def _snapshot(
        self, db: sqlite3.Connection, scope: Scope, row: Row, history: int | None, artifacts: bool
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
                        (number << SHIFT, (number << SHIFT) + _LAST),
                    )
                ]
            events = [event[1] for event in self._events(db, number, header.folded)]
        if history != 0:
            limit = -1 if history is None else history
            messages = [body for _, body in self._messages(db, number, None, None, limit)]
            messages.reverse()
        return Snapshot(header, segments, events, messages)

    def events(
        self, db: sqlite3.Connection, scope: Scope, task_id: str, after: int, limit: int
    ) -> EventPage | None:
        with _reading(db):
            row = self._find(db, scope, task_id)
            if row is None:
                return None
            found = [
                (key & _LAST, body) for key, body, *_ in self._events(db, row[0], after, limit)
            ]
        return EventPage(header_of(scope, row), found)

    def messages(
        self,
        db: sqlite3.Connection,
        scope: Scope,
        task_id: str,
        before: int | None,
        after: int | None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        with _reading(db):
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
        with _reading(db):
            (total,) = db.execute(f"SELECT count(*) FROM task WHERE {where}", values).fetchone()
            if query.after is not None:
                where += " AND (updated_at, id) < (?, ?)"
                values += query.after
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM task WHERE {where} "
                "ORDER BY updated_at DESC, id DESC LIMIT ?",
                (*values, query.limit + 1),
            ).fetchall()
        headers = [header_of(query.scope, row) for row in rows[: query.limit]]
        return TaskPage(headers, total, len(rows) > query.limit)

    def orphans(
        self, db: sqlite3.Connection, now: float, limit: int, agents: Sequence[str] | None
    ) -> Sequence[TaskRef]:
        of, names = _of_agents(agents)
        return [
            TaskRef(Scope(*scope), task_id)
            for task_id, *scope in db.execute(
                "SELECT task.id, tenant, agent, owner FROM task JOIN scope ON scope.id = scope "
                f"WHERE node <> '' AND task.deployment = ? AND NOT {OVER} AND node NOT IN "
                f"(SELECT id FROM node WHERE deployment = ? AND until > ?){of} LIMIT ?",
                (self._deployment, self._deployment, now, *names, limit),
            )
        ]

    def due(
        self,
        db: sqlite3.Connection,
        now: float,
        limit: int,
        agents: Sequence[str] | None,
        name: str,
    ) -> Sequence[DueTimer]:
        of, names = _of_agents(agents)
        if name:
            of, names = f"{of} AND timer.name = ?", (*names, name)
        return [
            DueTimer(TaskRef(Scope(*scope), task_id), Timer(called, due_at))
            for called, due_at, task_id, *scope in db.execute(
                "SELECT timer.name, due_at, task.id, tenant, agent, owner FROM timer "
                "JOIN task ON task.number = timer.task JOIN scope ON scope.id = task.scope "
                f"WHERE timer.deployment = ? AND due_at <= ?{of} ORDER BY due_at LIMIT ?",
                (self._deployment, now, *names, limit),
            )
        ]

    def scopes(self, db: sqlite3.Connection) -> Sequence[Scope]:
        return [
            Scope(*row)
            for row in db.execute(
                "SELECT tenant, agent, owner FROM scope WHERE deployment = ? ORDER BY id",
                (self._deployment,),
            )
        ]

    def find(self, db: sqlite3.Connection, beginning: str, limit: int) -> Sequence[Header]:
        with _reading(db):
            found = db.execute(
                FIND,
                (beginning, beginning + _LAST_CHARACTER, self._deployment, limit),
            ).fetchall()
            headers = [self.header(db, Scope(*scope), task_id) for task_id, *scope in found]
        return [header for header in headers if header is not None]

    def journal(self, db: sqlite3.Connection, scope: Scope, task_id: str) -> Sequence[Entry]:
        with _reading(db):
            row = self._find(db, scope, task_id)
            return [] if row is None else self._entries(db, row[0], 0)

    def next_due(self, db: sqlite3.Connection) -> float | None:
        (found,) = db.execute(
            "SELECT min(due_at) FROM timer WHERE deployment = ?", (self._deployment,)
        ).fetchone()
        return None if found is None else float(found)

    @staticmethod
    def _entries(db: sqlite3.Connection, number: int, since: int) -> list[Entry]:
        """Entries of every kind from a sequence on, in order."""
        entries = list(_run_events(db, number, since))
        first = (number << SHIFT) + since
        for table, kind in (("message", Kind.MESSAGE), ("record", Kind.RECORD)):
            entries += (
                Entry(key & _LAST, kind, body, 0, *place)
                for key, body, *place in db.execute(
                    f"SELECT key, body, run, branch, ordinal FROM {table} "
                    "WHERE key BETWEEN ? AND ?",
                    (first, (number << SHIFT) + _LAST),
                )
            )
        entries.sort(key=attrgetter("sequence"))
        return entries

    # --- parts ----------------------------------------------------------------------------------

    def _find(self, db: sqlite3.Connection, scope: Scope, task_id: str) -> Row | None:
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
        found = db.execute(
            "SELECT last FROM segment WHERE key BETWEEN ? AND ? AND last > ? ORDER BY key LIMIT ?",
            (begin or first, first + _LAST, header.floor, BORDERS),
        )
        return [last for (last,) in found]

    @staticmethod
    def _events(db: sqlite3.Connection, number: int, after: int, limit: int = -1) -> list[Row]:
        """(key, body, sequence, run, branch, ordinal) of events with a generation after one."""
        first = number << SHIFT
        return db.execute(
            "SELECT key, body, sequence, run, branch, ordinal FROM event "
            "WHERE key > ? AND key <= ? ORDER BY key LIMIT ?",
            (first + min(max(after, 0), _LAST), first + _LAST, limit),
        ).fetchall()

    @staticmethod
    def _messages(
        db: sqlite3.Connection, number: int, before: int | None, after: int | None, limit: int
    ) -> list[tuple[int, bytes]]:
        first = number << SHIFT
        begin = 0 if after is None else min(max(after + 1, 0), _LAST + 1)
        end = _LAST + 1 if before is None else min(max(before, 0), _LAST + 1)
        order = "DESC" if after is None else "ASC"
        return [
            (key & _LAST, body)
            for key, body in db.execute(
                "SELECT key, body FROM message WHERE key >= ? AND key < ? "
                f"ORDER BY key {order} LIMIT ?",
                (first + begin, first + end, limit),
            )
        ]


def _of_agents(agents: Sequence[str] | None) -> tuple[str, Sequence[str]]:
    """A condition for the agents wanted, and its values."""
    if agents is None:
        return "", ()
    return f" AND agent IN ({', '.join('?' * len(agents))})", agents


def _event(row: Row) -> Entry:
    key, body, sequence, *place = row
    return Entry(sequence, Kind.EVENT, body, key & _LAST, *place)


def _run_events(db: sqlite3.Connection, number: int, run_start: int) -> Iterator[Entry]:
    """Events of the current run, newest first: their sequence has no index, but falls with them."""
    for row in db.execute(
        "SELECT key, body, sequence, run, branch, ordinal FROM event "
        "WHERE key BETWEEN ? AND ? ORDER BY key DESC",
        (number << SHIFT, (number << SHIFT) + _LAST),
    ):
        entry = _event(row)
        if entry.sequence < run_start:
            return
        yield entry
