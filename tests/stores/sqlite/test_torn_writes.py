"""A write that a power cut tore: the file holds what came before it, whole, and nothing of it."""

# ruff: noqa: ASYNC240  (the files are small and nothing else runs)

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from greenroom.runtime.journal.entries import TaskQuery
from greenroom.stores.sqlite import SQLiteStore

from .writer import SCOPE, append

pytestmark = pytest.mark.anyio
COMMITS = 12
EACH = 3


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _grown(path: Path) -> tuple[Path, list[int]]:
    """A copy of a store that was never closed, and the length of its log after each commit."""
    store = SQLiteStore(path)
    await store.open(now=0.0)
    log = Path(f"{path}-wal")
    lengths = [log.stat().st_size]
    for number in range(COMMITS):
        await store.append([append(f"{number}-{n}") for n in range(EACH)], now=0.0)
        lengths.append(log.stat().st_size)
    left = path.parent / "left.db"
    for tail in ("", "-wal"):
        shutil.copy(f"{path}{tail}", f"{left}{tail}")
    await store.close()
    assert lengths == sorted(set(lengths)), "each commit made the log longer"
    return left, lengths


async def _kept(path: Path) -> int:
    """How many commits are there; each must be there whole and as it was, and none behind it."""
    store = SQLiteStore(path)
    await store.open(now=0.0)
    try:
        names = [f"{number}-{n}" for number in range(COMMITS) for n in range(EACH)]
        there = [name for name in names if await store.header(SCOPE, name) is not None]
        assert there == names[: len(there)]
        assert len(there) % EACH == 0
        assert (await store.tasks(TaskQuery(SCOPE, 1))).total == len(there)
        for name in there:
            assert await store.header(SCOPE, name) == append(name).header
            assert list(await store.journal(SCOPE, name)) == list(append(name).entries)
            assert await store.find_send(SCOPE, name.encode()) == append(name).sends[0]
        for name in names[len(there) :]:
            assert await store.find_send(SCOPE, name.encode()) is None
        # What was lost can be sent and committed again.
        await store.append([append(name) for name in names[len(there) :]], now=0.0)
        assert (await store.tasks(TaskQuery(SCOPE, 1))).total == len(names)
    finally:
        await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return len(there) // EACH


def _places(lengths: Sequence[int], number: int) -> list[int]:
    """Where to tear the commit: at its ends, at every border of a page, and anywhere."""
    first, last = lengths[number], lengths[number + 1]
    chance = random.Random(number)
    borders = [*range(first, last, 24 + 4096)][:3]
    return sorted({first, *borders, first + 1, last - 1, *chance.sample(range(first, last), 3)})


async def test_a_torn_write_takes_nothing_with_it_that_was_acknowledged(path: Path) -> None:
    left, lengths = await _grown(path)
    for number in (0, 1, COMMITS // 2, COMMITS - 1):
        for place in _places(lengths, number):
            for garbage in (b"", b"\0" * 4096, random.Random(place).randbytes(9000)):
                torn = path.parent / "torn.db"
                shutil.copy(left, torn)
                body = Path(f"{left}-wal").read_bytes()[:place] + garbage
                Path(f"{torn}-wal").write_bytes(body)
                Path(f"{torn}-shm").unlink(missing_ok=True)
                assert await _kept(torn) == number, f"{place} of {lengths}, {len(garbage)} more"


async def test_a_whole_log_is_kept_whole(path: Path) -> None:
    left, _ = await _grown(path)
    assert await _kept(left) == COMMITS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"
