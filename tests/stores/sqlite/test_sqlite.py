"""What is SQLite's own: files, processes, threads, full disks, cancellation."""

# ruff: noqa: ASYNC240  (the files are small and nothing else runs)

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from greenroom.protocol.types import TaskState
from greenroom.runtime.journal.entries import Outcome, TaskQuery, TaskRef, Verdict
from greenroom.runtime.journal.store import (
    OutcomeUnknownError,
    StoreClosedError,
    StoreError,
    StoreFormatError,
    StoreInUseError,
)
from greenroom.stores.sqlite import SQLiteStore
from greenroom.stores.sqlite.schema import MIGRATIONS
from tests.support.paths import ROOT

from .writer import SCOPE, append

pytestmark = pytest.mark.anyio
WRITER = [sys.executable, "-m", "tests.stores.sqlite.writer"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks with 100% odd ? name#.db"


async def _count(path: Path) -> int:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    total = (await store.tasks(TaskQuery(SCOPE, 1))).total
    await store.close()
    return total


@contextmanager
def _writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*WRITER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("lines", [1, 40, 200])
async def test_what_was_acknowledged_survives_a_kill(path: Path, lines: int) -> None:
    with _writer(path) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    store = SQLiteStore(path)
    await store.open(now=0.0)
    for task_id in acknowledged:
        assert await store.header(SCOPE, task_id) == append(task_id).header
        assert list(await store.journal(SCOPE, task_id)) == list(append(task_id).entries)
    # And nothing is there by half.
    total = (await store.tasks(TaskQuery(SCOPE, 1))).total
    assert total >= len(acknowledged)
    assert total % 8 == 0
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM event").fetchone() == (total * 3,)
        assert db.execute("SELECT count(*) FROM send").fetchone() == (total,)


async def test_a_second_server_is_refused_while_the_first_lives(path: Path) -> None:
    with _writer(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        second = SQLiteStore(path)
        with pytest.raises(StoreInUseError, match=f"pid {process.pid}.*stop it first"):
            await second.open(now=0.0)
        await second.close()
    assert await _count(path) > 0


async def test_a_file_that_cannot_be_opened_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=f"{path.name[:5]}.* is no file: a store is one"):
        await SQLiteStore(path).open(now=0.0)


async def test_a_folder_that_cannot_be_written_is_named(path: Path) -> None:
    Path(f"{path}.lock").mkdir()  # refused to root as well, unlike permissions
    with pytest.raises(StoreError, match=r"cannot write .*: the database needs a folder that"):
        await SQLiteStore(path).open(now=0.0)


async def test_a_second_store_in_this_process_is_refused_too(path: Path) -> None:
    first, second = SQLiteStore(path), SQLiteStore(path)
    await first.open(now=0.0)
    with pytest.raises(StoreInUseError):
        await second.open(now=0.0)
    await first.close()
    await second.open(now=0.0)
    await second.close()


async def test_a_tool_works_beside_the_server(path: Path) -> None:
    server, tool = SQLiteStore(path), SQLiteStore(path, exclusive=False)
    await server.open(now=0.0)
    await server.append([append("a")], now=0.0)
    await tool.open(now=0.0)
    assert await tool.header(SCOPE, "a") == append("a").header
    await tool.append([append("b")], now=0.0)
    await server.append([append("c")], now=0.0)
    assert (await tool.tasks(TaskQuery(SCOPE, 9))).total == 3
    await tool.close()
    assert (await server.tasks(TaskQuery(SCOPE, 9))).total == 3
    await server.close()


async def test_only_who_serves_alone_knows_that_nodes_are_gone(path: Path) -> None:
    """What a crash left behind is taken up at once, not when its lease is over; a tool that looks
    in takes nothing from the server."""
    given = append("a")
    assert given.header is not None
    working = structs.replace(given.header, state=TaskState.WORKING, node="n1")
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([structs.replace(given, header=working)], now=0.0)
    assert await store.heartbeat("n1", now=0.0, lease=15.0)
    tool = SQLiteStore(path, exclusive=False)
    await tool.open(now=1.0)
    await tool.close()
    assert list(await store.orphans(now=1.0, limit=9)) == []
    await store.close()
    await store.open(now=1.0)
    assert list(await store.orphans(now=1.0, limit=9)) == [TaskRef(SCOPE, "a")]
    assert not await store.heartbeat("n1", now=1.0, lease=15.0)
    await store.close()


async def test_a_tool_makes_no_file(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        await SQLiteStore(path, exclusive=False).open(now=0.0)
    assert not path.exists()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere is not a directory"):
        await SQLiteStore(tmp_path / "nowhere" / "t.db").open(now=0.0)


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await _count(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreFormatError, match="upgrade greenroom"):
        await SQLiteStore(path).open(now=0.0)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


async def test_the_database_of_another_application_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE task (theirs)")
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match="another application"):
        await SQLiteStore(path).open(now=0.0)
    assert path.read_bytes() == before


async def test_what_is_no_database_is_refused_untouched(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreFormatError, match="not an SQLite database"):
        await SQLiteStore(path).open(now=0.0)
    assert path.read_bytes() == b"Dear diary, " * 1000


def _scratch(path: Path) -> None:
    """Overwrite every page of a store but the first, as a disk may that goes bad."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("exclusive", [True, False], ids=["server", "tool"])
async def test_a_damaged_database_says_what_to_do(path: Path, exclusive: bool) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([append("a")], now=0.0)
    await store.close()
    _scratch(path)
    store = SQLiteStore(path, exclusive=exclusive)
    with pytest.raises(StoreError, match=r"malformed; it is damaged: put a backup in its place"):
        await store.open(now=0.0)
    path.write_bytes(b"\xa5" * 8192)
    with pytest.raises(StoreFormatError, match=r"if it was the store, .*it is damaged: put a"):
        await store.open(now=0.0)


async def test_what_is_damaged_while_it_is_served_says_what_to_do(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([append(f"task-{number}") for number in range(100)], now=0.0)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _scratch(path)
    with pytest.raises(StoreError, match=r"malformed; it is damaged: put a backup in its place"):
        await store.journal(SCOPE, "task-1")
    await store.close()


async def test_a_tool_that_may_not_write_beside_the_file_says_so(path: Path) -> None:
    await _count(path)
    Path(f"{path}-shm").mkdir()  # refused to root as well, unlike permissions
    with pytest.raises(StoreError, match=r"must be allowed to write the file and the folder"):
        await SQLiteStore(path, exclusive=False).open(now=0.0)


@pytest.mark.parametrize("exclusive", [True, False], ids=["server", "tool"])
async def test_a_file_with_two_names_is_refused(path: Path, exclusive: bool) -> None:
    """The lock lies beside the name, and so does SQLite's log."""
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([append("a")], now=0.0)
    other = path.with_name("other.db")
    other.hardlink_to(path)
    with pytest.raises(StoreError, match=r"has 2 names \(hard links\).*remove the others"):
        await SQLiteStore(other, exclusive=exclusive).open(now=0.0)
    await store.close()
    other.unlink()
    assert await _count(path) == 1


async def test_a_symbolic_link_leads_to_the_lock_of_the_file(path: Path) -> None:
    first, other = SQLiteStore(path), path.with_name("other.db")
    await first.open(now=0.0)
    other.symlink_to(path)
    with pytest.raises(StoreInUseError):
        await SQLiteStore(other).open(now=0.0)
    tool = SQLiteStore(other, read_only=True)
    await first.append([append("a")], now=0.0)
    await tool.open(now=0.0)
    assert await tool.header(SCOPE, "a") == append("a").header
    with pytest.raises(StoreError, match="opened to be read"):
        await tool.append([append("b")], now=0.0)
    await tool.close()
    await first.close()


async def test_a_refused_store_can_be_opened_when_the_reason_is_gone(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)
    store = SQLiteStore(path)
    with pytest.raises(StoreFormatError):
        await store.open(now=0.0)
    path.unlink()
    await store.open(now=0.0)
    await store.close()


@pytest.mark.parametrize("name", ["", ":memory:", "file:x.db"])
def test_a_path_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="MemoryStore"):
        SQLiteStore(name)


async def test_a_full_disk_fails_the_append_and_later_ones_work(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([append("before")], now=0.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = path.with_name(path.name + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 20_000, hard))
    try:
        with pytest.raises(OutcomeUnknownError, match="look after the disk"):
            await store.append([append("too large", 1000)], now=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.header(SCOPE, "too large") is None
    await store.append([append("after"), append("too large", 1000)], now=0.0)
    assert (await store.tasks(TaskQuery(SCOPE, 9))).total == 3
    await store.close()
    assert await _count(path) == 3


async def test_a_write_that_waits_too_long_for_a_tool_fails_and_later_ones_work(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenroom.stores.sqlite.store._BUSY_TIMEOUT", 0.05)
    store = SQLiteStore(path)
    await store.open(now=0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await store.append([append("a")], now=0.0)
        tool.execute("ROLLBACK")
    await store.append([append("a")], now=0.0)
    await store.close()


async def test_cancelling_an_append_leaves_a_finished_transaction(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    outcomes: list[Outcome] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        outcomes += await store.append([append("a")], now=0.0)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.COMMITTED]
    assert await store.header(SCOPE, "a") == append("a").header
    await store.append([append("b")], now=0.0)
    await store.close()


async def test_cancelling_reads_leaves_the_store_well(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([append(f"{n}") for n in range(100)], now=0.0)
    for _ in range(20):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.tasks(TaskQuery(SCOPE, 100))
    assert (await store.tasks(TaskQuery(SCOPE, 9))).total == 100
    await store.close()


async def test_closing_ends_every_thread_and_leaves_one_file(path: Path) -> None:
    before = set(threading.enumerate())
    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.append([append("a")], now=0.0)
    assert await store.header(SCOPE, "a") is not None
    await store.close()
    mine = [t for t in set(threading.enumerate()) - before if t.name.startswith("greenroom")]
    assert mine == []
    left = sorted(p.name for p in path.parent.iterdir())
    assert left == [path.name, f"{path.name}.lock"]


async def test_closing_waits_for_what_was_handed_over(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(partial(store.append, [append(f"{number}")], now=0.0))
        await anyio.lowlevel.checkpoint()
    await store.close()
    with pytest.raises(StoreClosedError):
        await store.append([append("late")], now=0.0)
    assert await _count(path) == 20


def test_a_store_that_nobody_closed_does_not_hang_the_exit(path: Path) -> None:
    script = (
        "import anyio, sys\n"
        "from greenroom.stores.sqlite import SQLiteStore\n"
        "store = SQLiteStore(sys.argv[1])\n"
        "async def main(): await store.open(now=0.0)\n"
        "anyio.run(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], timeout=20, cwd=ROOT, check=False)
    assert done.returncode == 0


async def test_deployments_share_a_file_and_see_nothing_of_each_other(path: Path) -> None:
    blue = SQLiteStore(path, deployment="blue")
    green = SQLiteStore(path, deployment="green", exclusive=False)
    await blue.open(now=0.0)
    await green.open(now=0.0)
    await blue.append([append("a")], now=0.0)
    assert await green.header(SCOPE, "a") is None
    assert await green.find_send(SCOPE, b"a") is None
    assert (await green.tasks(TaskQuery(SCOPE, 9))).total == 0
    (outcome,) = await green.append([append("a", 6)], now=0.0)
    assert outcome.verdict is Verdict.COMMITTED
    assert (await green.prune(tasks_before=9.0, sends_before=9.0, limit=9)).tasks == 1
    assert await blue.header(SCOPE, "a") == append("a").header
    assert await blue.find_send(SCOPE, b"a") is not None
    await green.close()
    await blue.close()


async def test_a_chunk_touches_no_index(path: Path) -> None:
    """The statement for chunks names no indexed column, whatever indexes there will be."""
    from greenroom.stores.sqlite import writes

    store = SQLiteStore(path)
    await store.open(now=0.0)
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        indexed = {
            column
            for (index,) in db.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'task'"
            )
            for _, _, column in db.execute(f"PRAGMA index_info({index})")
        }
    assert indexed >= {"state", "updated_at", "node"}
    changed = writes._CHANGE_QUIETLY.partition("SET")[2].partition("FROM")[0]
    assert not indexed & {part.split("=")[0].strip() for part in changed.split(",")}
