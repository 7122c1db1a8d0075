"""Whatever is appended, claimed and pruned: memory and SQLite answer the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import anyio.from_thread
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from greenroom.protocol.types import TaskState
from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import (
    NEVER,
    Append,
    Entry,
    Header,
    Kind,
    Segment,
    SendRecord,
    TaskQuery,
    Timer,
)
from greenroom.runtime.journal.store import Store
from greenroom.stores.memory import MemoryStore
from greenroom.stores.sqlite import SQLiteStore

SCOPES = (TaskScope("", "a", "x"), TaskScope("", "a", "y"))
times = st.integers(0, 40).map(float)
scopes = st.sampled_from(SCOPES)
ids = st.sampled_from(["t1", "t2", "t\x00", "ü"])
nodes = st.sampled_from(["", "n1", "n2"])
states = st.sampled_from([TaskState.WORKING, TaskState.INPUT_REQUIRED, TaskState.COMPLETED])
kinds = st.lists(st.sampled_from(list(Kind)), max_size=4)
keys = st.lists(st.sampled_from([b"k1", b"k2", b"k3", b"k4"]), max_size=2, unique=True)
names = st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True)


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.portal_context = anyio.from_thread.start_blocking_portal()
        self.portal = self.portal_context.__enter__()
        self.memory: Store = MemoryStore()
        self.sqlite: Store = SQLiteStore(Path(self.folder) / "t.db", durability="relaxed")
        self.rows: dict[tuple[TaskScope, str], Header] = {}
        self.nodes: set[str] = set()
        self.agree(lambda store: store.open(now=0.0))

    def teardown(self) -> None:
        self.agree(lambda store: store.close())
        self.portal_context.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    def agree(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """Ask both; answers compare as JSON, where a list is a list."""

        async def ask() -> tuple[Any, Any]:
            return await call(self.memory), await call(self.sqlite)

        first, second = self.portal.call(ask)
        assert msgspec.json.encode(first) == msgspec.json.encode(second)
        return first

    def draw_append(self, data: st.DataObject) -> Append:
        draw = data.draw
        scope, task_id = draw(scopes), draw(ids)
        sends = [
            SendRecord(key, "m", draw(times), task_id, draw(st.none() | st.just(b"{}")))
            for key in draw(keys)
        ]
        if draw(st.integers(0, 9)) == 0:
            return Append(scope=scope, sends=sends)
        old = self.rows.get((scope, task_id)) or Header(
            task_id, scope, draw(ids), TaskState.SUBMITTED, b"{}", 1, 0, 0.0, 0.0
        )
        stale = draw(st.integers(0, 9)) == 0
        sequence, generation, entries = old.sequence, old.generation, []
        for kind in draw(kinds) if old.sequence else [Kind.MESSAGE, *draw(kinds)]:
            sequence += 1
            generation += kind is Kind.EVENT
            number = generation if kind is Kind.EVENT else 0
            body = b"%d" % sequence
            entries.append(Entry(sequence, kind, body, number, old.run, draw(ids), sequence % 3))
        moved = draw(st.booleans())
        folded = old.folded or 1
        if old.folded and entries:  # without entries another append of the batch could fold too
            folded = draw(st.integers(old.folded, old.generation))
        header = msgspec.structs.replace(
            old,
            sequence=sequence,
            generation=generation,
            state=draw(states) if moved else old.state,
            updated_at=draw(times) if moved else old.updated_at,
            node=draw(nodes) if moved else old.node,
            run_start=draw(st.integers(old.run_start, sequence)),
            folded=folded,
            floor=draw(st.integers(old.floor, folded)) if moved else old.floor,
            status=draw(st.binary(max_size=3)),
            metadata=draw(st.none() | st.binary(max_size=3)),
        )
        segment = Segment(old.folded + 1, folded, b"[]") if folded > old.folded > 0 else None
        return Append(
            old.sequence + 1000 * stale,  # never what another append of the batch makes of it
            0,
            header,
            entries,
            sends,
            None,
            segment,
            [Timer(name, draw(times)) for name in draw(names)],
            draw(names),
        )

    @rule(data=st.data(), size=st.integers(1, 4))
    def append(self, data: st.DataObject, size: int) -> None:
        batch = [self.draw_append(data) for _ in range(size)]
        self.agree(lambda store: store.append(batch, now=0.0))
        self.refresh()

    @rule(node=nodes, now=times, lease=times)
    def heartbeat(self, node: str, now: float, lease: float) -> None:
        self.nodes.add(node)
        self.agree(lambda store: store.heartbeat(node, now=now, lease=lease))

    @rule(node=nodes)
    def retire(self, node: str) -> None:
        self.nodes.add(node)
        self.agree(lambda store: store.retire(node, now=0.0))

    @rule(tasks_before=times, sends_before=times, contexts_before=times | st.just(NEVER))
    def prune(self, tasks_before: float, sends_before: float, contexts_before: float) -> None:
        async def prune(store: Store) -> Any:
            pruned = await store.prune(
                tasks_before=tasks_before,
                sends_before=sends_before,
                contexts_before=contexts_before,
                limit=1000,
            )
            gone = sorted((*g.scope, g.context.id, repr(g)) for g in pruned.contexts)
            return gone, msgspec.structs.replace(pruned, contexts=())

        self.agree(prune)
        self.refresh()

    @rule(scope=scopes, context=ids, at=st.none() | times, pinned=st.none() | st.booleans())
    def mark(self, scope: TaskScope, context: str, at: float | None, pinned: bool | None) -> None:
        self.agree(lambda s: s.mark_context(scope, context, touched_at=at, pinned=pinned))

    @rule(scope=scopes, name=ids, whole=st.booleans())
    def delete(self, scope: TaskScope, name: str, whole: bool) -> None:
        self.agree(lambda s: s.delete_context(scope, name) if whole else s.delete_task(scope, name))
        self.refresh()

    @rule(scope=scopes, name=ids, after=times, until=times)
    def read_contexts(self, scope: TaskScope, name: str, after: float, until: float) -> None:
        async def quiet(store: Store) -> list[Any]:
            found = await store.quiet_contexts(after=after, until=until)
            return sorted((*owner, context.id, repr(context)) for owner, context in found)

        self.agree(quiet)
        self.agree(lambda s: s.contexts(scope, limit=3))
        self.agree(lambda s: s.context(scope, name))

    @rule()
    def restart(self) -> None:
        self.portal.call(self.sqlite.close)
        self.sqlite = SQLiteStore(Path(self.folder) / "t.db", durability="relaxed")
        self.portal.call(lambda: self.sqlite.open(now=0.0))
        for node in self.nodes:  # who serves alone knows that they are gone
            self.portal.call(partial(self.memory.retire, node, now=0.0))

    def refresh(self) -> None:
        """What a writer that reads again knows."""
        self.rows = {}
        for scope in SCOPES:
            query = TaskQuery(scope, 100)
            for header in self.agree(methodcaller("tasks", query)).headers:
                self.rows[scope, header.id] = header

    @rule(scope=scopes, task_id=ids, history=st.none() | st.integers(0, 3), at=st.integers(0, 12))
    def read_task(self, scope: TaskScope, task_id: str, history: int | None, at: int) -> None:
        self.agree(lambda s: s.header(scope, task_id))
        self.agree(lambda s: s.load(scope, task_id))
        self.agree(lambda s: s.snapshot(scope, task_id, history=history))
        self.agree(lambda s: s.events(scope, task_id, after=at, limit=3))
        self.agree(lambda s: s.as_of(scope, task_id, at))
        self.agree(lambda s: s.messages(scope, task_id, before=at, limit=2))
        self.agree(lambda s: s.messages(scope, task_id, after=at, limit=2))
        self.agree(lambda s: s.snapshots(scope, ["a", task_id], history=history))
        self.agree(lambda s: s.find_send(scope, b"k%d" % (at % 4)))

    @rule(
        scope=scopes, context=st.none() | ids, state=st.none() | states,
        after=st.none() | st.tuples(times, ids), updated=st.none() | times, limit=st.integers(1, 3),
    )  # fmt: skip
    def read_list(
        self,
        scope: TaskScope,
        context: str | None,
        state: TaskState | None,
        after: tuple[float, str] | None,
        updated: float | None,
        limit: int,
    ) -> None:
        self.agree(lambda s: s.tasks(TaskQuery(scope, limit, context, state, updated, after)))

    @rule(now=times)
    def read_time(self, now: float) -> None:
        async def due(store: Store) -> list[Any]:
            found = await store.due(now=now, limit=1000)
            return sorted((d.timer.due_at, *d.ref.scope, d.ref.id, d.timer.name) for d in found)

        async def orphans(store: Store) -> list[Any]:
            found = await store.orphans(now=now, limit=1000)
            return sorted((*ref.scope, ref.id) for ref in found)

        self.agree(due)
        self.agree(orphans)
        self.agree(lambda s: s.find("", limit=1000))


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
