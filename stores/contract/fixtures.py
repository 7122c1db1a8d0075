"""What the clauses are written with: a store that is open, and tasks that write like actors do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ...protocol.types import TaskState
from ...runtime.call import TaskScope
from ...runtime.journal.entries import (
    Append,
    Entry,
    Header,
    Kind,
    Outcome,
    Segment,
    SendRecord,
    Timer,
    Verdict,
)
from ...runtime.journal.store import Store

MakeStore = Callable[[], Store]
Clause = Callable[[MakeStore], Awaitable[None]]

NOW = 1_000_000.0
MINE = TaskScope("acme", "desk", "ann")
STRANGERS = (
    TaskScope("other", "desk", "ann"),
    TaskScope("acme", "other", "ann"),
    TaskScope("acme", "desk", "other"),
    TaskScope("", "", ""),
    TaskScope("acmedesk", "", "ann"),
)
"""Each differs from ``MINE`` in something, the last only in where one name ends."""


@asynccontextmanager
async def opened(make: MakeStore) -> AsyncGenerator[Store, None]:
    store = make()
    await store.open(now=NOW)
    try:
        yield store
    finally:
        await store.close()


Line = tuple[Kind, bytes, tuple[str, int]]


def message(text: str) -> Line:
    return Kind.MESSAGE, msgspec.json.encode({"text": text}), ("", 0)


def event(text: str, branch: str = "", ordinal: int = 0) -> Line:
    return Kind.EVENT, msgspec.json.encode({"event": text}), (branch, ordinal)


def record(text: str, branch: str = "", ordinal: int = 0) -> Line:
    return Kind.RECORD, msgspec.json.encode({"record": text}), (branch, ordinal)


def send(key: bytes, task_id: str = "", at: float = NOW) -> SendRecord:
    return SendRecord(
        key, f"message-{key.hex()}", at, task_id, None if task_id else b'{"direct":1}'
    )


class GivenTask:
    """A task as its one writer knows it: numbers entries, and remembers all that it wrote."""

    def __init__(self, task_id: str = "task", scope: TaskScope = MINE, **fields: Any) -> None:
        begin: dict[str, Any] = {
            "id": task_id, "scope": scope, "context_id": "context", "state": TaskState.SUBMITTED,
            "status": b'{"state":"TASK_STATE_SUBMITTED"}', "generation": 1, "sequence": 0,
            "created_at": NOW, "updated_at": NOW, "run": 1, "run_start": 1, "folded": 1,
        }  # fmt: skip
        self.header = Header(**{**begin, **fields})
        self.entries: list[Entry] = []

    def writes(
        self,
        *lines: Line,
        sends: Sequence[SendRecord] = (),
        segment: Segment | None = None,
        timers: Sequence[Timer] = (),
        cleared: Sequence[str] = (),
        row_epoch: int = 0,
        **fields: Any,
    ) -> Append:
        """The append that adds ``lines`` and changes ``fields`` of the header."""
        old = self.header
        sequence, generation = old.sequence, old.generation
        run = fields.get("run", old.run)
        entries: list[Entry] = []
        for kind, body, (branch, ordinal) in lines:
            sequence += 1
            generation += kind is Kind.EVENT
            number = generation if kind is Kind.EVENT else 0
            entries.append(Entry(sequence, kind, body, number, run, branch, ordinal))
        self.entries += entries
        self.header = msgspec.structs.replace(
            old, **{"sequence": sequence, "generation": generation, **fields}
        )
        return Append(
            old.sequence, row_epoch, self.header, entries, sends, None, segment, timers, cleared
        )

    def bodies(self, kind: Kind) -> list[bytes]:
        return [entry.body for entry in self.entries if entry.kind is kind]


async def commit(store: Store, *batch: Append, now: float = NOW) -> list[Outcome]:
    return list(await store.append(batch, now=now))


async def committed(store: Store, *batch: Append, now: float = NOW) -> None:
    """Append, and see to it that all of it was accepted."""
    outcomes = await commit(store, *batch, now=now)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.COMMITTED] * len(batch)


async def taken(store: Store, header: Header, node: str) -> Header | None:
    """Take a task over as an actor that wakes does: its first append names the epoch that it saw,
    and writes the next one. ``None``: somebody else was quicker."""
    mine = msgspec.structs.replace(header, node=node, epoch=header.epoch + 1)
    append = Append(header.sequence, header.epoch, mine)
    [outcome] = await commit(store, append)
    return mine if outcome.verdict is Verdict.COMMITTED else None


async def everything(store: Store, scope: TaskScope, task_id: str) -> tuple[object, ...]:
    """All that can be read of one task: equal before and after says that nothing changed."""
    return (
        await store.header(scope, task_id),
        await store.load(scope, task_id),
        await store.journal(scope, task_id),
        await store.snapshot(scope, task_id, history=None),
        await store.events(scope, task_id, after=0, limit=10_000),
        await store.messages(scope, task_id, before=None, limit=10_000),
    )
