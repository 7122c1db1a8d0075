"""The file of a store: what can be one, how it is opened to be read, and which one it is."""

from __future__ import annotations

import os
from pathlib import Path

from ...runtime.journal.store import StoreError


def check_file(path: Path) -> None:
    """Raise ``StoreError`` for what is there and no file, and for a file with several names: each
    would have a lock and a log of its own, and two processes that come by two names would destroy
    what the other writes."""
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is no file: a store is one")
    if path.is_file() and (names := path.stat().st_nlink) > 1:
        raise StoreError(
            f"{path} has {names} names (hard links), and SQLite would keep a log for each: remove "
            "the others, or copy the file (`greenroom tasks backup`)"
        )


def reading_mode(path: Path) -> str:
    """How a tool opens the file so that it can be read, and that nothing is left behind."""
    if Path(f"{path}-wal").exists():
        return "ro"
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return "rw"  # "ro" would make the files that a log needs, and not remove them
    # Nobody has a log here, and we cannot make one and remove it: the file is all there is.
    return "ro&immutable=1"


def identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another that has its name: device and inode; ``None``: it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
