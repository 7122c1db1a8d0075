"""``SQLiteStore``: the port, laid over one writing thread and a few reading ones."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    NEVER,
    Append,
    Context,
    DueTimer,
    Entry,
    EventPage,
    Gone,
    Header,
    Loaded,
    OpenPush,
    Outcome,
    Pruned,
    PushLimits,
    PushRow,
    SendRecord,
    Snapshot,
    TaskPage,
    TaskQuery,
    TaskRef,
    Timer,
)
from ...runtime.journal.store import (
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreFormatError,
)
from . import schema
from .errors import reason
from .files import Identity, check_file, identity, reading_mode
from .lock import FileLock
from .reads import Reads
from .worker import Workers
from .writes import Writes

P = ParamSpec("P")
T = TypeVar("T")

Durability = Literal["strict", "relaxed"]
_SYNCHRONOUS = {"strict": "FULL", "relaxed": "NORMAL"}
_BUSY_TIMEOUT = 5.0
"""Seconds that a command-line tool may hold the write lock."""
_CHECKPOINT_PAGES = 4000
"""Pages of the log before they are moved to the database: a page that is written often is moved
once. The log grows to about 16 MB."""
_CACHE_KIB = 4 * 1024


class SQLiteStore:
    """Tasks in one SQLite file (WAL).

    ``durability``: "strict" (default) fsyncs before an append returns; "relaxed" does not, and a
    power cut (never a crash of the process) can lose the last moments. ``exclusive=False`` opens an
    existing file beside the process that serves from it, for tools; it does not migrate.
    ``read_only`` does that too, and asks for no lock and no more than the right to read.
    ``keep_lock`` leaves the file locked when the store is closed, to the end of the process: for
    who cannot tell whether a thread still works at one of its tasks.
    ``readers`` is how many reads run at once. Not for network file systems.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "strict",
        deployment: str = "default",
        exclusive: bool = True,
        keep_lock: bool = False,
        read_only: bool = False,
        readers: int = 2,
    ) -> None:
        name = os.fspath(path)
        if not name or name.startswith((":memory:", "file:", "sqlite:")):
            raise ValueError(
                f"SQLiteStore needs the path of a file, not {name!r}; "
                "use MemoryStore (memory://) to keep nothing"
            )
        if durability not in _SYNCHRONOUS:
            raise ValueError(f"durability is 'strict' or 'relaxed', not {durability!r}")
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or later is needed")
        self.path = os.path.realpath(name)
        self.durability = durability
        self._exclusive = exclusive and not read_only
        self._keep_lock = keep_lock
        self._read_only = read_only
        self._reading = "ro"
        self._identity: Identity | None = None
        """Of the files that were opened."""
        # Of two that close at once neither is the last one, which removes the log's files.
        self._readers = 1 if read_only else readers
        self._writes = Writes(deployment)
        self._lock: FileLock | None = None
        self._keeper: sqlite3.Connection | None = None
        """Does nothing but stay open. SQLite removes the files of the log when the last connection
        closes, and a worker closes its connection after each error: without the keeper, the next
        connection could not tell this from a log that somebody else removed."""
        self._opened: tuple[Workers | None, Workers, Reads] | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r}, durability={self.durability!r})"

    async def open(self, *, now: float) -> None:
        if self._opened is not None:
            raise StoreError(f"{self!r} is open already")
        self._reserve()
        readers = Workers(self._connect_reader, self._readers, "reader")
        writer = None if self._read_only else Workers(self._connect_writer, 1, "writer")
        try:
            reads = Reads(await (writer or readers).run(self._prepare, shield=True))
            if writer is not None and self._exclusive:
                self._keeper = await writer.run(lambda _: self._keep_log(), shield=True)
        except BaseException as error:
            await readers.close()
            if writer is not None:
                await writer.close()
            self._unlock()
            if type(error) is StoreError and isinstance(error.__cause__, sqlite3.Error):
                detail = reason(error.__cause__)
                raise StoreError(f"{self.path} could not be used: {detail}") from error
            raise
        self._opened = writer, readers, reads
        self._identity = identity(self.path, logs=self._exclusive)

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        self._identity = None
        if opened is not None:
            writer, readers, _ = opened
            # The writer last: the last connection to go empties the log into the database.
            await readers.close()
            if self._keeper is not None:
                self._keeper.close()
                self._keeper = None
            if writer is not None:
                await writer.close()
            if not self._keep_lock:
                self._unlock()

    def _reserve(self) -> None:
        path = Path(self.path)
        if not path.parent.is_dir():
            raise StoreError(f"{path.parent} is not a directory: create it first")
        check_file(path)
        if self._exclusive:
            self._lock = FileLock(f"{path}.lock")
        elif not path.exists():
            raise StoreError(f"{path} does not exist: is the path right?")
        elif not path.stat().st_size:
            raise StoreFormatError(f"{path} is empty: it is no store yet")
        if self._read_only:
            self._reading = reading_mode(path)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # --- connections ----------------------------------------------------------------------------

    def _prepare(self, db: sqlite3.Connection) -> int:
        if self._exclusive:
            schema.migrate(db, self.path)
        elif (version := schema.check(db, self.path)) != len(schema.MIGRATIONS):
            raise StoreFormatError(
                f"{self.path} has schema {version} of {len(schema.MIGRATIONS)}: start the server "
                "on it once, which migrates it"
            )
        if self._read_only:
            return self._writes.enlisted(db)
        return self._writes.enlist(db, alone=self._exclusive)

    def _connect_writer(self) -> sqlite3.Connection:
        db = self._connect("rw" if not self._exclusive else "rwc")
        try:
            schema.check(db, self.path)  # before anything is written to a file that is not ours
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"the file system of {self.path} does not support SQLite's WAL")
            db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self.durability]}")
            db.execute("PRAGMA fullfsync = ON")  # where fsync alone does not reach the disk
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        except BaseException:
            db.close()
            raise
        return db

    def _connect_reader(self) -> sqlite3.Connection:
        db = self._connect(self._reading)
        db.execute("PRAGMA query_only = ON")
        return db

    def _keep_log(self) -> sqlite3.Connection:
        db = self._connect(self._reading, shared=True)
        db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()  # opens the log
        return db

    def _check_there(self) -> None:
        """Raise StoreDamagedError if a file that was opened has not its name any more: what is
        written to it goes when this process ends, and what has its name now is another's."""
        if self._identity is None:
            return
        gone = self._identity.missing(identity(self.path, logs=self._exclusive))
        if gone == "":
            raise StoreDamagedError(
                f"{self.path} was removed or replaced while it was served: stop this process, put "
                "a backup in its place, and start it again"
            )
        if gone:
            raise StoreDamagedError(
                f"{self.path}{gone} was removed or replaced while it was served: stop this process "
                "with SIGTERM, which saves what is in it, and start it again"
            )

    def _connect(self, mode: str, *, shared: bool = False) -> sqlite3.Connection:
        """Open a connection. With ``shared`` another thread may close it."""
        self._check_there()
        return sqlite3.connect(
            f"{Path(self.path).as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            cached_statements=256,
            check_same_thread=not shared,
        )

    # --- hops -----------------------------------------------------------------------------------

    def _open(self) -> tuple[Workers | None, Workers, Reads]:
        if self._opened is None:
            raise StoreClosedError(f"{self!r} is not open")
        return self._opened

    async def _write(
        self,
        job: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        writer, _, _ = self._open()
        if writer is None:
            raise StoreError(f"{self!r} was opened to be read")
        return await writer.run(lambda db: job(db, *args, **kwargs), shield=True)

    async def _read(
        self,
        job: Callable[Concatenate[Reads, sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        _, readers, reads = self._open()
        return await readers.run(lambda db: job(reads, db, *args, **kwargs))

    # --- the port -------------------------------------------------------------------------------

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        outcomes = await self._write(self._writes.append, batch)
        self._check_there()  # what was written to a log that is gone is not safe
        return outcomes

    async def find_send(self, scope: TaskScope, key: bytes) -> SendRecord | None:
        return await self._read(Reads.find_send, scope, key)

    async def sends(self, scope: TaskScope, begin: bytes) -> Sequence[SendRecord]:
        return await self._read(Reads.sends, scope, begin)

    async def contexts(
        self, scope: TaskScope, *, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[Context]:
        return await self._read(Reads.contexts, scope, limit, after)

    async def context(self, scope: TaskScope, context_id: str) -> Context | None:
        return await self._read(Reads.context, scope, context_id)

    async def as_of(self, scope: TaskScope, task_id: str, generation: int) -> Snapshot | None:
        return await self._read(Reads.as_of, scope, task_id, generation)

    async def mark_context(
        self,
        scope: TaskScope,
        context_id: str,
        *,
        touched_at: float | None = None,
        pinned: bool | None = None,
    ) -> bool:
        return await self._write(
            self._writes.mark_context, scope, context_id, touched_at or 0.0, pinned
        )

    async def delete_context(self, scope: TaskScope, context_id: str) -> Context | None:
        return await self._write(self._writes.delete_context, scope, context_id)

    async def quiet_contexts(
        self, *, after: float, until: float
    ) -> Sequence[tuple[TaskScope, Context]]:
        return await self._read(Reads.quiet_contexts, after, until)

    async def put_push(self, row: PushRow, *, limits: PushLimits | None = None) -> PushRow | None:
        return await self._write(self._writes.put_push, row, limits)

    async def push(self, scope: TaskScope, task_id: str, push_id: str) -> PushRow | None:
        return await self._read(Reads.push, scope, task_id, push_id)

    async def pushes(self, scope: TaskScope, task_id: str) -> Sequence[PushRow]:
        return await self._read(Reads.pushes, scope, task_id)

    async def save_pushes(self, rows: Sequence[PushRow]) -> Sequence[bool]:
        return await self._write(self._writes.save_pushes, rows)

    async def delete_push(self, scope: TaskScope, task_id: str, push_id: str) -> bool:
        return await self._write(self._writes.delete_push, scope, task_id, push_id)

    async def due_pushes(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[PushRow]:
        return await self._read(Reads.due_pushes, now, limit, agents)

    async def open_pushes(
        self, *, limit: int, after: int = 0, agents: Sequence[str] | None = None
    ) -> Sequence[OpenPush]:
        return await self._read(Reads.open_pushes, limit, after, agents)

    async def all_pushes(self, *, limit: int, after: int = 0) -> Sequence[OpenPush]:
        return await self._read(Reads.all_pushes, limit, after)

    async def delete_task(self, scope: TaskScope, task_id: str) -> Header | None:
        return await self._write(self._writes.delete_task, scope, task_id)

    async def header(self, scope: TaskScope, task_id: str) -> Header | None:
        return await self._read(Reads.header, scope, task_id)

    async def load(self, scope: TaskScope, task_id: str) -> Loaded | None:
        return await self._read(Reads.load, scope, task_id)

    async def snapshot(
        self, scope: TaskScope, task_id: str, *, history: int | None, artifacts: bool = True
    ) -> Snapshot | None:
        snapshots = await self.snapshots(scope, (task_id,), history=history, artifacts=artifacts)
        return snapshots[0] if snapshots else None

    async def snapshots(
        self,
        scope: TaskScope,
        task_ids: Sequence[str],
        *,
        history: int | None,
        artifacts: bool = True,
    ) -> Sequence[Snapshot]:
        return await self._read(Reads.snapshots, scope, task_ids, history, artifacts)

    async def events(
        self, scope: TaskScope, task_id: str, *, after: int, limit: int
    ) -> EventPage | None:
        return await self._read(Reads.events, scope, task_id, after, limit)

    async def messages(
        self,
        scope: TaskScope,
        task_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> Sequence[tuple[int, bytes]]:
        return await self._read(Reads.messages, scope, task_id, before, after, limit)

    async def tasks(self, query: TaskQuery) -> TaskPage:
        return await self._read(Reads.tasks, query)

    async def heartbeat(self, node: str, *, now: float, lease: float) -> bool:
        self._check_there()
        return await self._write(self._writes.heartbeat, node, now, lease)

    async def retire(self, node: str, *, now: float) -> None:
        await self._write(self._writes.retire, node)

    async def orphans(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None
    ) -> Sequence[TaskRef]:
        return await self._read(Reads.orphans, now, limit, agents)

    async def owned(self, node: str, *, agents: Sequence[str] | None = None) -> Sequence[TaskRef]:
        return await self._read(Reads.owned, node, agents)

    async def due(
        self, *, now: float, limit: int, agents: Sequence[str] | None = None, name: str = ""
    ) -> Sequence[DueTimer]:
        return await self._read(Reads.due, now, limit, agents, name)

    async def remind(self, ref: TaskRef, timer: Timer) -> bool:
        return await self._write(self._writes.remind, ref, timer)

    async def scopes(self) -> Sequence[TaskScope]:
        return await self._read(Reads.scopes)

    async def find(self, beginning: str, *, limit: int) -> Sequence[Header]:
        return await self._read(Reads.find, beginning, limit)

    async def journal(self, scope: TaskScope, task_id: str) -> Sequence[Entry]:
        return await self._read(Reads.journal, scope, task_id)

    async def prune(
        self,
        *,
        tasks_before: float,
        sends_before: float,
        contexts_before: float = NEVER,
        events_before: float = NEVER,
        limit: int,
    ) -> Pruned:
        contexts: Sequence[Gone] = ()
        logs = 0
        if max(contexts_before, events_before) > NEVER:
            places, numbers = await self._read(
                Reads.outdated, contexts_before, events_before, limit
            )
            if places:
                contexts = await self._write(self._writes.prune_contexts, places, contexts_before)
            if numbers:
                logs = await self._write(self._writes.prune_events, numbers, events_before)
        pruned = await self._write(self._writes.prune, tasks_before, sends_before, limit)
        return Pruned(pruned.tasks, pruned.sends, (*contexts, *pruned.contexts), logs)
