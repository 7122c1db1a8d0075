"""``greenroom push`` on a store file."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from greenroom.cli.main import main
from greenroom.keyring import KeyRing, new_key
from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import PushRow
from greenroom.runtime.push.ports import SealError
from greenroom.runtime.push.records import (
    Attempt,
    DeadLetter,
    Destination,
    Health,
    State,
    bound_to,
    destination_of,
    encode,
    health_of,
)
from greenroom.stores.contract.fixtures import GivenTask, committed, event, message
from greenroom.stores.sqlite import SQLiteStore

SCOPE = TaskScope("", "desk", "ann")
K1, K2 = new_key("k1"), new_key("k2")


def filled(path: Path, ring: KeyRing) -> None:
    """A store with a task at generation 4 and a configuration that has a dead letter."""

    async def fill() -> None:
        store = SQLiteStore(path)
        await store.open(now=time.time())
        task = GivenTask("task-1", SCOPE)
        await committed(store, task.writes(message("a"), event("b"), event("c"), event("d")))
        health = Health(
            origin="https://hook.test",
            state=State.FAILING,
            why="503",
            dead=(DeadLetter(3, 1.8e9, "422"),),
            log=(Attempt(1.8e9, 3, 1, "422"),),
        )
        row = PushRow(SCOPE, "task-1", "hook", 1.8e9, b"", encode(health), 3, due_at=2e9)
        to = Destination("https://hook.test/secret-path", token="secret-token")
        sealed = ring.seal(encode(to), bound_to(row))
        await store.put_push(replace(row, config=sealed))
        await store.close()

    anyio.run(fill)


def read(path: Path) -> PushRow | None:
    async def found() -> PushRow | None:
        store = SQLiteStore(path)
        await store.open(now=time.time())
        row = await store.push(SCOPE, "task-1", "hook")
        await store.close()
        return row

    return anyio.run(found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.db"
    filled(path, KeyRing([K1]))
    return path


def test_what_is_shown_has_no_secret(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "list", str(path)]) == 0
    assert main(["push", "show", str(path), "task-1", "hook"]) == 0
    assert main(["push", "attempts", str(path), "task-1", "hook"]) == 0
    assert main(["push", "list", str(path), "--state", "disabled"]) == 0
    shown = capsys.readouterr().out
    assert "failing (503)" in shown
    assert "1 behind" in shown
    assert "dead letter: generation 3" in shown
    assert "attempt 1  422" in shown
    assert "no push configurations" in shown
    assert "secret" not in shown
    assert b"secret" not in path.read_bytes()


def test_redeliver_moves_the_cursor_back(path: Path) -> None:
    assert main(["push", "redeliver", str(path), "task-1", "hook"]) == 0
    row = read(path)
    assert row is not None
    assert (row.generation, row.open) == (2, True)
    assert health_of(row).dead == ()
    assert main(["push", "redeliver", str(path), "task-1", "hook", "--generation", "9"]) == 2
    assert main(["push", "redeliver", str(path), "task-1", "hook"]) == 2


def test_disable_enable_and_delete(path: Path) -> None:
    assert main(["push", "disable", str(path), "task-1", "hook"]) == 0
    row = read(path)
    assert row is not None
    assert not row.open
    assert main(["push", "enable", str(path), "task-1", "hook"]) == 0
    row = read(path)
    assert row is not None
    assert (row.open, health_of(row).state) == (True, State.ACTIVE)
    assert main(["push", "delete", str(path), "task-1", "hook"]) == 0
    assert read(path) is None
    assert main(["push", "show", str(path), "task-1", "hook"]) == 2


def test_rekey(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_PUSH_KEYS", f"{K2},{K1}")
    assert main(["push", "rekey", str(path)]) == 0
    row = read(path)
    assert row is not None
    opened = destination_of(KeyRing([K2]).unseal(row.config, bound_to(row)))
    assert opened.token == "secret-token"
    with pytest.raises(SealError, match="no key"):
        KeyRing([K1]).unseal(row.config, bound_to(row))
    with pytest.raises(SealError, match="changed"):
        KeyRing([K2]).unseal(row.config, bound_to(replace(row, task_id="another")))
    with pytest.raises(SealError, match="changed"):
        KeyRing([K2]).unseal(row.config[:-1] + b"x", bound_to(row))


def test_a_key_is_made_and_a_wrong_one_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["push", "key", "mine"]) == 0
    assert KeyRing([capsys.readouterr().out.strip()])
    monkeypatch.setenv("GREENROOM_PUSH_KEYS", "mine=c2hvcnQ=")
    assert main(["push", "rekey", str(path)]) == 2
    assert "c2hvcnQ" not in capsys.readouterr().err
