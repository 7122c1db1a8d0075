"""Which file the URL of a store names: the one that is written, or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from greenroom.app import open_store
from greenroom.settings.settings import SettingsError
from greenroom.store_url import parse

NAMED = {
    "tasks.db": "tasks.db",
    "tasks#1.db": "tasks#1.db",
    "tasks%231.db": "tasks#1.db",
    "a b.db": "a b.db",
    "a%20b.db": "a b.db",
    " a.db ": " a.db ",
    "what%3F.db": "what?.db",
    "100%25.db": "100%.db",
    "a+b&c=d;e.db": "a+b&c=d;e.db",
    "a\tb\n.db": "a\tb\n.db",
    "агент.db": "агент.db",
    "%D0%B0.db": "а.db",
    "%FF.db": os.fsdecode(b"\xff.db"),
    "a:b.db": "a:b.db",
    "a//b@c.db": "a/b@c.db",
    "tasks.db?": "tasks.db",
    "tasks.db?durability=relaxed": "tasks.db",
}


@pytest.mark.anyio
@pytest.mark.parametrize(("written", "file"), NAMED.items(), ids=map(ascii, NAMED))
@pytest.mark.parametrize("absolute", [True, False])
async def test_the_file_is_the_one_that_the_url_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, file: str, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    store = open_store(f"sqlite:///{tmp_path}/{written}" if absolute else f"sqlite:///{written}")
    await store.open(now=0.0)
    await store.close()
    assert files_below(tmp_path) == {file}


def files_below(folder: Path) -> set[str]:
    """Return the files of stores below ``folder``, their locks left out."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.db*") if path.is_file()}
    return {file for file in files if not file.endswith(".lock")}


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("sqlite:///what?.db", "%3F"),
        ("sqlite:///a.db?mode=ro", "durability"),
        ("sqlite:///a.db?durability", "durability"),
        ("sqlite:///a.db?durability=", "durability"),
        ("sqlite:///a.db?durability=relaxed#1", "durability"),
        ("sqlite:///a.db?durability=relaxed&durability=strict", "durability"),
        ("sqlite:///a.db?Durability=relaxed", "durability"),
        ("sqlite:///100%.db", "%25"),
        ("sqlite:///a%zz.db", "%25"),
        ("sqlite:///a%00.db", "names no file"),
        ("sqlite:///dir/", "names no file"),
        ("sqlite:////", "names no file"),
        ("sqlite:///?durability=strict", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///file:a.db", r"sqlite:///\./file:a\.db"),
        ("sqlite://localhost/a.db", "three slashes"),
        ("sqlite:a.db", "three slashes"),
        ("sqlite", "three slashes"),
        (" sqlite:///a.db", "three slashes"),
        ("memory://#1", "memory://"),
        ("memory://?durability=strict", "memory://"),
        ("memory:///", "memory://"),
    ],
)
def test_what_names_no_file_is_refused(url: str, advice: str) -> None:
    with pytest.raises(SettingsError, match=advice):
        open_store(url)


def test_the_scheme_may_be_in_capitals() -> None:
    assert parse("SQLite:///A.db") == ("A.db", "strict")
    assert parse("MEMORY://") == (None, "strict")


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("C:/data/tasks.db", "C:/data/tasks.db"),
        ("/C:/data/tasks.db", "C:/data/tasks.db"),
        ("C:\\data\\tasks.db", "C:\\data\\tasks.db"),
        ("/C:\\data\\tasks.db", "C:\\data\\tasks.db"),
        ("//server/share/tasks.db", "//server/share/tasks.db"),
        ("tasks.db", "tasks.db"),
    ],
)
def test_paths_of_windows(written: str, path: str) -> None:
    assert parse(f"sqlite:///{written}", windows=True).path == path


def test_a_drive_is_a_directory_elsewhere() -> None:
    assert parse("sqlite:////C:/tasks.db", windows=False).path == "/C:/tasks.db"
