"""``greenroom tasks`` on a store file, beside a runtime that serves from it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from greenroom import Agent, SQLiteStore, Task, TaskContext, TaskState
from greenroom.cli.main import main
from greenroom.runtime.call import Principal
from greenroom.runtime.runtime import Runtime
from greenroom.stores.sqlite.queries import FIND
from tests.support.drive import Caller

agent = Agent("Desk")


@agent.handler
async def handle(ctx: TaskContext) -> str:
    return f"Hello, {await ctx.ask('Who?')}, {await ctx.step(_add, 1)}"


async def _add(number: int) -> int:
    return number + 1


def test_tasks_are_listed_shown_canceled_and_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.db"

    def said(*arguments: str, code: int = 0) -> str:
        assert main(["tasks", *arguments]) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    async def serve() -> tuple[Task, Task]:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            peer = Caller(runtime)
            done = await peer.send("go")
            done = await peer.send("Ada", task=done.id)
            waiting = await peer.send("go")
            told = await anyio.to_thread.run_sync(lambda: said("cancel", str(path), waiting.id))
            assert "will be canceled" in told
            ended = await peer.until(waiting.id, lambda task: task.status.state.terminal)
            assert ended.status.state is TaskState.CANCELED
            assert ended.status.message is not None
            assert ended.status.message.text == "Canceled by the operator."
            return done, ended

    done, canceled = anyio.run(serve)
    url = f"sqlite:///{path}"
    lines = said("list", url).splitlines()
    assert [line.split()[:2] for line in lines] == [
        [canceled.id, "canceled"],
        [done.id, "completed"],
    ]
    assert said("list", url, "--state", "completed").split()[0] == done.id
    shown = said("show", url, done.id[:13])
    for expected in ("client says: go", "input-required: Who?", "step _add = 2", "Hello, Ada, 2"):
        assert expected in shown
    assert "is completed already" in said("cancel", url, done.id, code=2)
    assert "there is no task" in said("show", url, "nothing", code=2)
    assert said("prune", url, "--older", "1h") == "0 tasks deleted\n"
    assert said("prune", url, "--older", "0s") == "2 tasks deleted\n"
    assert said("list", url) == "no tasks\n"
    assert "does not exist" in said("list", str(tmp_path / "other.db"), code=2)
    assert "no store that lasts" in said("list", "memory://", code=2)
    # A store is named here as for `serve`.
    assert said("list", f"{url}?durability=relaxed") == "no tasks\n"
    assert "is not understood" in said("list", f"sqlite:/{path}", code=2)
    assert "is not understood" in said("list", "postgresql://host/db", code=2)
    assert "durability=strict or durability=relaxed" in said("list", f"{url}?mode=ro", code=2)


def test_contexts_are_listed_shown_pinned_and_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "tasks.db")

    def said(*arguments: str, code: int = 0) -> str:
        assert main(["contexts", *arguments]) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    async def serve() -> tuple[Task, Task]:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            peer = Caller(runtime)
            bob = Caller(runtime, principal=Principal("bob"))
            done = await peer.send("go", context="trip")
            done = await peer.send("Ada", task=done.id)
            await bob.cancel((await bob.send("go", context="trip")).id)
            waiting = await peer.send("go", context="other")
            told = await anyio.to_thread.run_sync(lambda: said("delete", path, "other", code=2))
            assert "1 of its 1 tasks is not over" in told
            return done, waiting

    done, waiting = anyio.run(serve)
    lines = [line.split() for line in said("list", path).splitlines()]
    assert [line[0] for line in lines] == ["other", "trip", "trip"]
    assert "1 live" in said("list", path)
    assert len(said("list", path, "--owner", "bob").splitlines()) == 1
    assert "say whose" in said("show", path, "trip", code=2)
    mine = ("trip", "--owner", "anonymous")
    assert done.id in said("show", path, *mine)
    assert waiting.id not in said("show", path, *mine)
    assert "is pinned" in said("pin", path, *mine)
    assert "pinned" in said("show", path, *mine)
    assert main(["tasks", "prune", path, "--older", "0s"]) == 0
    assert capsys.readouterr().out == "1 task deleted\n"
    assert said("show", path, "trip").count("pinned") == 1
    assert "is no longer pinned" in said("unpin", path, "trip")
    assert "1 task deleted" in said("delete", path, "trip")
    assert "there is no context" in said("pin", path, "trip", code=2)
    assert [line.split()[0] for line in said("list", path).splitlines()] == ["other"]
    assert said("list", path, "--agent", "nobody") == "no contexts\n"


async def ask(path: Path) -> Task:
    """Serve for as long as a client needs to get its question."""
    async with Runtime(agent, store=SQLiteStore(path)) as runtime:
        return await Caller(runtime).send("go")


def test_looking_takes_no_lock_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.db"
    task = anyio.run(ask, path)
    assert main(["tasks", "list", str(path)]) == 0
    assert capsys.readouterr().out.startswith(task.id)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tasks.db", "tasks.db.lock"]
    before = path.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for command in (
            ["tasks", "list", str(path)],
            ["tasks", "show", str(path), task.id],
            ["contexts", "list", str(path)],
            ["contexts", "show", str(path), str(task.context_id)],
        ):
            assert main(command) == 0
            told = capsys.readouterr().out
            assert task.id in told or str(task.context_id) in told
        writer.execute("ROLLBACK")
    assert path.read_bytes() == before


READER = """
import ctypes, os, sys
# root may write anywhere: give that up (PR_CAPBSET_DROP, CAP_DAC_OVERRIDE); others have not got it
ctypes.CDLL(None).prctl(24, 1)
os.execv(sys.executable, [sys.executable, "-m", "greenroom", *sys.argv[1:]])
"""


@pytest.mark.parametrize("served", [True, False], ids=["while it is served", "when nobody serves"])
def test_who_may_only_read_can_look(tmp_path: Path, served: bool) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    path = folder / "tasks.db"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        files = [file for file in folder.iterdir() if file.is_file()]
        for file in files:
            file.chmod(0o444)
        folder.chmod(0o555)
        try:
            return subprocess.run(
                [sys.executable, "-c", READER, "tasks", *arguments],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        finally:
            folder.chmod(0o755)
            for file in files:
                file.chmod(0o644)

    def look(task: Task) -> None:
        listed = run("list", str(path))
        assert (listed.returncode, listed.stderr) == (0, "")
        assert listed.stdout.startswith(task.id)
        shown = run("show", str(path), task.id[:8])
        assert "input-required: Who?" in shown.stdout, shown.stderr
        told = run("cancel", str(path), task.id)
        assert told.returncode == 2
        assert "must be allowed to write" in told.stderr

    async def serve() -> Task:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            task = await Caller(runtime).send("go")
            if served:
                await anyio.to_thread.run_sync(look, task)
            return task

    task = anyio.run(serve)
    if not served:
        look(task)


def test_what_a_killed_server_left_can_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, left = tmp_path / "tasks.db", tmp_path / "left.db"

    def copy() -> None:
        """What is on the disk now."""
        for ending in ("", "-wal"):
            Path(f"{left}{ending}").write_bytes(Path(f"{path}{ending}").read_bytes())

    async def serve() -> Task:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            task = await Caller(runtime).send("go")
            copy()
            return task

    task = anyio.run(serve)
    assert main(["tasks", "list", str(left)]) == 0
    assert capsys.readouterr().out.startswith(task.id)


def test_the_beginning_of_an_id_is_enough_if_it_is_of_one_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tasks.db"

    async def serve() -> list[str]:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            return [(await Caller(runtime).send("go", now=True)).id for _ in range(40)]

    ids = sorted(anyio.run(serve))
    assert main(["tasks", "show", str(path), ids[7][:-1]]) == 0
    assert capsys.readouterr().out.startswith(ids[7])
    for command in ("show", "cancel"):
        assert main(["tasks", command, str(path), ""]) == 2
        assert "write an id, or its beginning" in capsys.readouterr().err
    with closing(sqlite3.connect(path)) as db:
        plans = db.execute(f"EXPLAIN QUERY PLAN {FIND}", ("a", "b", 1, 9)).fetchall()
    assert any("USING COVERING INDEX task_id (scope=? AND id>? AND id<?)" in p[-1] for p in plans)


def test_one_is_not_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "tasks.db")

    async def serve() -> Task:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            task = await Caller(runtime).send("go")
            return await Caller(runtime).send("Ada", task=task.id)

    done = anyio.run(serve)
    assert main(["tasks", "show", path, done.id]) == 0
    told = capsys.readouterr().out
    assert ", run 1 of handler " in told
    lines = told.splitlines()
    assert lines[-1] == "1 run, 3 messages, 5 events, 3 records: completed", "it ends with a sum"
    assert "attempt" not in told, "it counts what did not come further, not what was started"
    assert main(["tasks", "prune", path, "--older", "0s"]) == 0
    assert capsys.readouterr().out == "1 task deleted\n"


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1000001", "9" * 20, "9" * 5000])
def test_a_limit_is_a_number_of_tasks(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["tasks", "list", "tasks.db", "--limit", limit])
    assert left.value.code == 2
    assert f"--limit: {limit} is no number from 1 to 1000000" in capsys.readouterr().err


@pytest.mark.parametrize("tasks", [1, 120], ids=["at exit", "while it prints"])
def test_who_has_read_enough_may_go(tmp_path: Path, tasks: int) -> None:
    path = tmp_path / "tasks.db"

    async def serve() -> None:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            for _ in range(tasks):
                await Caller(runtime).send("go", now=True)

    anyio.run(serve)
    reader, writer = os.pipe()
    os.close(reader)
    listed = subprocess.run(
        [sys.executable, "-m", "greenroom", "tasks", "list", str(path), "--limit", "120"],
        stdout=writer, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (listed.returncode, listed.stderr) == (141, b"")


def test_a_store_is_copied_while_it_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, copy = tmp_path / "tasks.db", tmp_path / "copy.db"

    async def serve() -> Task:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            waiting = await Caller(runtime).send("go")
            code = await anyio.to_thread.run_sync(main, ["tasks", "backup", str(path), str(copy)])
            assert code == 0
            await Caller(runtime).send("Ada", task=waiting.id)
            return waiting

    async def restored(task: Task) -> Task:
        async with Runtime(agent, store=SQLiteStore(copy)) as runtime:
            return await Caller(runtime).send("Grace", task=task.id)

    waiting = anyio.run(serve)
    done = anyio.run(restored, waiting)
    assert done.artifacts is not None
    assert done.artifacts[0].text == "Hello, Grace, 2"

    assert main(["tasks", "backup", str(path), str(copy)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["tasks", "backup", str(path), str(tmp_path / "other.db")]) == 0
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["copy.db", "copy.db.lock", "other.db", "tasks.db", "tasks.db.lock"]


@pytest.mark.parametrize("last", [True, False], ids=["its end", "all but its head"])
def test_what_is_damaged_is_not_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: bool
) -> None:
    path, copy = tmp_path / "tasks.db", tmp_path / "copy.db"

    async def serve() -> None:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            await Caller(runtime).send("go")

    anyio.run(serve)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 4096 if last else 4096)
        file.write(b"\xa5" * (size - file.tell()))
    assert main(["tasks", "backup", str(path), str(copy)]) == 2
    assert "it is damaged: put a backup in its place" in capsys.readouterr().err
    assert not copy.exists()


def test_a_second_name_of_a_store_is_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "tasks.db", tmp_path / "other.db"

    async def serve() -> None:
        async with Runtime(agent, store=SQLiteStore(path)):
            other.hardlink_to(path)

    anyio.run(serve)
    for command in (["list", str(other)], ["backup", str(other), str(tmp_path / "copy.db")]):
        assert main(["tasks", *command]) == 2
        assert "has 2 names" in capsys.readouterr().err


@pytest.mark.parametrize("age", ["-5d", "=-5d", "soon", "5", "9999999999d"])
def test_an_age_is_a_number_and_its_unit(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--older{age}"] if "=" in age else ["--older", age]
    with pytest.raises(SystemExit) as left:
        main(["tasks", "prune", "tasks.db", *arguments])
    assert left.value.code == 2
    told = capsys.readouterr().err
    expected = "not the option -5d (if it is none: --older=-5d)" if age == "-5d" else "write 30d"
    assert expected in told


@pytest.mark.parametrize("action", ["list", "show x", "cancel x", "prune --older 0s", "backup to"])
def test_what_is_no_store_is_told(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    name, *more = action.split()
    for path, told in (
        (str(empty), "not a store of Greenroom" if name == "backup" else "it is no store yet"),
        (os.devnull, f"{os.devnull} is no file: a store is one"),
        (str(tmp_path), f"{tmp_path} is no file: a store is one"),
    ):
        assert main(["tasks", name, path, *more]) == 2
        assert told in capsys.readouterr().err
    assert empty.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [empty]


def test_what_is_no_store_is_not_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"")
    assert main(["tasks", "backup", str(foreign), str(tmp_path / "copy.db")]) == 2
    assert "not a store of Greenroom" in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()
