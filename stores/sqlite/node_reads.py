"""Reads over all owners of a deployment: contexts, and what a node has to look after."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    NEVER,
    Context,
    DueTimer,
    OpenPush,
    PushRow,
    TaskRef,
    Timer,
)
from . import pushes
from .queries import CONTEXTS, FOLDED, ONE_CONTEXT, OUTDATED, SCOPE, context_of, reading, scope_of
from .schema import OVER


class AcrossReads:
    """What is read without knowing a task. ``deployment`` is the number that stands for it."""

    def __init__(self, deployment: int) -> None:
        self._deployment = deployment

    # --- contexts -------------------------------------------------------------------------------

    def contexts(
        self, db: sqlite3.Connection, scope: TaskScope, limit: int, after: tuple[float, str] | None
    ) -> Sequence[Context]:
        having = "" if after is None else "HAVING (active, context_id) < (?, ?)"
        rows = db.execute(
            f"{CONTEXTS} WHERE task.scope = {SCOPE} GROUP BY context_id {having} "
            "ORDER BY active DESC, context_id DESC LIMIT ?",
            (self._deployment, *scope, *(after or ()), limit),
        )
        return [context_of(row) for row in rows]

    def context(self, db: sqlite3.Connection, scope: TaskScope, context_id: str) -> Context | None:
        row = db.execute(
            f"{CONTEXTS} WHERE task.scope = {SCOPE} AND context_id = ? GROUP BY context_id",
            (self._deployment, *scope, context_id),
        ).fetchone()
        return None if row is None else context_of(row)

    def quiet_contexts(
        self, db: sqlite3.Connection, after: float, until: float
    ) -> Sequence[tuple[TaskScope, Context]]:
        quiet: list[tuple[TaskScope, Context]] = []
        with reading(db):
            # One scope after the other: no index orders the tasks of all scopes by time.
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
                    quiet.append((scope_of(db, place[0]), context_of(row)))
        return quiet

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
                and not pushes.keep(db, place)
            ][:limit]
        numbers: Sequence[int] = ()
        if events_before > NEVER:
            rows = db.execute(
                f"SELECT number FROM task WHERE deployment = ? AND {FOLDED} "
                "ORDER BY updated_at LIMIT ?",
                (self._deployment, events_before, limit),
            )
            numbers = [number for (number,) in rows]
        return contexts, numbers

    # --- what is due, left or looked for --------------------------------------------------------

    def orphans(
        self, db: sqlite3.Connection, now: float, limit: int, agents: Sequence[str] | None
    ) -> Sequence[TaskRef]:
        of, names = _of_agents(agents)
        return [
            TaskRef(TaskScope(*scope), task_id)
            for task_id, *scope in db.execute(
                "SELECT task.id, tenant, agent, owner FROM task JOIN scope ON scope.id = scope "
                f"WHERE node <> '' AND task.deployment = ? AND NOT {OVER} AND node NOT IN "
                f"(SELECT id FROM node WHERE deployment = ? AND until > ?){of} LIMIT ?",
                (self._deployment, self._deployment, now, *names, limit),
            )
        ]

    def owned(
        self, db: sqlite3.Connection, node: str, agents: Sequence[str] | None
    ) -> Sequence[TaskRef]:
        of, names = _of_agents(agents)
        return [
            TaskRef(TaskScope(*scope), task_id)
            for task_id, *scope in db.execute(
                "SELECT task.id, tenant, agent, owner FROM task JOIN scope ON scope.id = scope "
                f"WHERE node = ? AND node <> '' AND task.deployment = ? AND NOT {OVER}{of}",
                (node, self._deployment, *names),
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
            DueTimer(TaskRef(TaskScope(*scope), task_id), Timer(called, due_at))
            for called, due_at, task_id, *scope in db.execute(
                "SELECT timer.name, due_at, task.id, tenant, agent, owner FROM timer "
                "JOIN task ON task.number = timer.task JOIN scope ON scope.id = task.scope "
                f"WHERE timer.deployment = ? AND due_at <= ?{of} ORDER BY due_at LIMIT ?",
                (self._deployment, now, *names, limit),
            )
        ]

    def due_pushes(
        self, db: sqlite3.Connection, now: float, limit: int, agents: Sequence[str] | None
    ) -> Sequence[PushRow]:
        return pushes.due(db, self._deployment, now, limit, agents)

    def open_pushes(
        self, db: sqlite3.Connection, limit: int, after: int, agents: Sequence[str] | None
    ) -> Sequence[OpenPush]:
        return pushes.listed(db, self._deployment, limit, after, agents)

    def all_pushes(self, db: sqlite3.Connection, limit: int, after: int) -> Sequence[OpenPush]:
        return pushes.listed(db, self._deployment, limit, after, closed=True)

    def scopes(self, db: sqlite3.Connection) -> Sequence[TaskScope]:
        return [
            TaskScope(*row)
            for row in db.execute(
                "SELECT tenant, agent, owner FROM scope WHERE deployment = ? ORDER BY id",
                (self._deployment,),
            )
        ]


def _of_agents(agents: Sequence[str] | None) -> tuple[str, Sequence[str]]:
    """A condition for the agents wanted, and its values."""
    if agents is None:
        return "", ()
    return f" AND agent IN ({', '.join('?' * len(agents))})", agents
