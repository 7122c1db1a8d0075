"""Root changes files in a folder of the service's user, who plants links there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.cli.main import main
from greenroom.runtime import files
from greenroom.stores.audit_file import FileAudit
from greenroom.stores.sqlite import SQLiteStore

NOBODY = 65534


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("root's")
    path.chmod(0o600)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "service"
    path.mkdir()
    _give(path)
    return path


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def _create(path: Path, *more: str) -> int:
    return main(["keys", "create", "bob", "--file", str(path), *more])


def _untouched(victim: Path) -> bool:
    status = victim.stat()
    return (
        victim.read_text() == "root's"
        and status.st_uid == os.geteuid()
        and stat.S_IMODE(status.st_mode) == 0o600
    )


@pytest.mark.parametrize("name", ["keys.json", "keys.json.lock", "keys.json.new"])
@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard", "pipe"])
def test_the_file_of_keys_is_never_written_through_a_link(
    folder: Path, victim: Path, name: str, kind: str
) -> None:
    keys = folder / "keys.json"
    if name != "keys.json":
        assert _create(keys) == 0
        _give(keys)
    planted = folder / name
    planted.unlink(missing_ok=True)
    absent = victim.with_name("absent")
    match kind:
        case "symbolic":
            planted.symlink_to(victim)
        case "dangling":
            planted.symlink_to(absent)
        case "hard":
            planted.hardlink_to(victim)
        case _:
            os.mkfifo(planted)
    code = _create(keys)
    assert _untouched(victim)
    assert not absent.exists()
    if name == "keys.json.new":
        assert code == 0
        assert keys.stat().st_uid == (NOBODY if os.geteuid() == 0 else os.geteuid())
    else:
        assert code == 2


def test_a_link_of_another_user_on_the_way_is_not_followed(folder: Path, victim: Path) -> None:
    real = victim.parent / "etc"
    real.mkdir()
    way = folder / "way"
    way.symlink_to(real)
    assert _create(way / "keys.json") == 0  # a link that this user made
    if os.geteuid() != 0:
        return
    (real / "keys.json").unlink()
    _give(way)
    assert _create(way / "keys.json") == 2
    assert not (real / "keys.json").exists()


def test_nothing_is_left_beside_the_file_of_keys(folder: Path) -> None:
    keys = folder / "keys.json"
    assert _create(keys) == 0
    assert _create(keys) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["keys.json", "keys.json.lock"]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_a_relative_path_and_a_folder_that_cannot_be_listed_will_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    inner = folder / "inner"
    inner.mkdir()
    folder.chmod(0o311)
    assert _create(Path("inner/keys.json")) == 0
    assert _create(Path("inner/../inner/keys.json")) == 0
    folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.anyio
async def test_the_lock_of_a_store_is_no_link(folder: Path, victim: Path, kind: str) -> None:
    lock = folder / "tasks.db.lock"
    lock.symlink_to(victim) if kind == "symbolic" else lock.hardlink_to(victim)
    store = SQLiteStore(folder / "tasks.db")
    with pytest.raises(Exception, match=r"tasks\.db\.lock"):
        await store.open(now=0.0)
    await store.close()
    assert _untouched(victim)


def test_the_audit_file_is_no_link_of_another_user(folder: Path, victim: Path) -> None:
    planted = folder / "audit.jsonl"
    planted.symlink_to(victim)
    if os.geteuid() == 0:
        _give(planted)
        with pytest.raises(OSError, match="link"):
            FileAudit(planted)
    planted.unlink()
    planted.hardlink_to(victim)
    with pytest.raises(OSError, match="link"):
        FileAudit(planted)
    assert _untouched(victim)


def test_the_audit_file_may_be_a_device(tmp_path: Path) -> None:
    FileAudit("/dev/null").close()
    (tmp_path / "audit").symlink_to("/dev/stdout")
    FileAudit(tmp_path / "audit").close()


@pytest.mark.anyio
async def test_a_backup_is_a_new_file_of_its_user_alone(folder: Path, victim: Path) -> None:
    store = SQLiteStore(folder / "tasks.db")
    await store.open(now=0.0)
    await store.close()

    def run(target: Path) -> int:
        return subprocess.run(
            [sys.executable, "-m", "greenroom", "tasks", "backup", folder / "tasks.db", target],
            capture_output=True,
        ).returncode

    absent = victim.with_name("absent")
    (folder / "copy.db").symlink_to(absent)
    assert run(folder / "copy.db") == 2
    assert not absent.exists()
    assert run(folder / "other.db") == 0
    assert stat.S_IMODE((folder / "other.db").stat().st_mode) == 0o600


_WITHOUT_POSIX = """
import os, sys
sys.modules.update(dict.fromkeys(["fcntl", "pwd", "grp", "resource", "termios", "msvcrt"]))
for name in ("fchown", "fchmod", "geteuid", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY",
             "O_PATH"):
    delattr(os, name)
os.supports_dir_fd = set()
from greenroom.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_keys_are_made_where_the_system_has_nothing_of_posix(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for action in (["create", "bob"], ["create", "ada"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_POSIX, "keys", *action, "--file", path],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2
    assert "bob" in done.stdout


def test_a_replaced_file_that_cannot_be_written_leaves_the_old_one(folder: Path) -> None:
    path = folder / "file"
    path.mkdir()
    with pytest.raises(OSError, match="file"):
        files.replace(path, b"x")
    assert [one.name for one in folder.iterdir()] == ["file"]
