"""A crash after any commit: the next process brings the task to the same end."""

from __future__ import annotations

from collections import Counter
from functools import partial

import anyio
import pytest

from greenroom import Task
from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import Entry, Kind
from tests.support.crash import RecordingStore, ShufflingLoop, copy_of
from tests.support.drive import KeptStore, running

from .script import Script, heard, play

pytestmark = pytest.mark.anyio

SCOPE = TaskScope("", "script", "anonymous")
HEARD = ["go", "Ada", "old", "42", "yes", "sure", "more"]
AWAKE, PASSIVATED = 3600.0, 0.5
"""Idle times: waiting in memory, or in the store."""


async def record(idle: float, seed: int = 0) -> tuple[Script, Task, RecordingStore]:
    """Play the script once without a fault."""
    script, store = Script(seed=seed), RecordingStore()
    async with running(script.agent, store=store, idle=idle) as peer:
        task = await peer.send("go", now=True)
        return script, await play(peer, task.id), store


async def journal(store: KeptStore, task_id: str) -> list[Entry]:
    return list(await store.journal(SCOPE, task_id))


def outcome(task: Task) -> object:
    """What must be the same whatever happened on the way."""
    return (
        task.status.state,
        {artifact.artifact_id: artifact.parts for artifact in task.artifacts or []},
        heard(task),
    )


def check(entries: list[Entry]) -> None:
    places = Counter((e.run, e.branch, e.ordinal) for e in entries if e.ordinal)
    twice = [place for place, count in places.items() if count > 1]
    assert not twice, f"recorded twice: {twice}"
    assert [e.sequence for e in entries] == list(range(1, len(entries) + 1))
    generations = [e.generation for e in entries if e.kind is Kind.EVENT]
    assert generations == list(range(2, len(generations) + 2))


async def recover_from_every_prefix(idle: float, seed: int, stride: int = 1) -> None:
    script, task, recorded = await record(idle, seed)
    assert heard(task) == HEARD
    check(await journal(recorded, task.id))
    for name, keys in script.keys.items():
        assert len(keys) == 1, name
    for number, store in enumerate(recorded.copies[::stride]):
        before = await journal(store, task.id)
        again = Script(seed=seed + number + 1)
        async with running(again.agent, store=store, idle=idle) as peer:
            with anyio.fail_after(100_000):
                current = await play(peer, task.id)
        assert outcome(current) == outcome(task), f"after commit {number}"
        after = await journal(store, task.id)
        assert after[: len(before)] == before, "what is written never changes"
        check(after)
        for name, keys in again.keys.items():
            assert keys <= script.keys[name], f"another key for {name}"


@pytest.mark.parametrize("idle", [AWAKE, PASSIVATED])
async def test_every_prefix_ends_the_same(idle: float) -> None:
    await recover_from_every_prefix(idle, seed=1)


@pytest.mark.parametrize("seed", range(4))
def test_every_prefix_ends_the_same_in_any_order(seed: int) -> None:
    anyio.run(
        partial(recover_from_every_prefix, PASSIVATED if seed % 2 else AWAKE, seed, stride=3),
        backend="asyncio",
        backend_options={"loop_factory": partial(ShufflingLoop, seed)},
    )


async def test_a_crash_in_every_recovery_too() -> None:
    """Every start dies a few commits later, until there is nothing left to do."""
    _, task, recorded = await record(AWAKE)
    store = recorded.copies[0]
    crashes = 0
    while True:
        short = RecordingStore()
        vars(short).update(vars(copy_of(store)))
        async with running(Script(seed=crashes).agent, store=short, idle=AWAKE) as peer:
            with anyio.fail_after(100_000):
                current = await play(peer, task.id)
        # A stream that is interrupted begins anew: die after as much as it needs to end.
        before = len(await journal(store, task.id))
        following = [c for c in short.copies if len(await journal(c, task.id)) > before + 5]
        if not following:
            break
        store = following[0]
        crashes += 1
    assert outcome(current) == outcome(task)
    check(await journal(short, task.id))
    assert crashes > 10
