"""The file of a store: what can be one, how it is opened to be read, and which one it is."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

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


LOGS = ("-wal", "-shm")
"""What SQLite keeps beside the file while it is open. A commit is in the log first."""


class Identity(Struct, frozen=True):
    """What tells the files of a store from others that have their names: device and inode of each,
    by what is added to the path; ``None`` of one that is not there."""

    files: dict[str, tuple[int, int] | None]

    def missing(self, now: Identity) -> str | None:
        """What is added to the path of a file that was there and is gone, or is another;
        ``None``: all are there."""
        for added, known in self.files.items():
            if known is not None and now.files[added] != known:
                return added
        return None


def identity(path: str, *, logs: bool) -> Identity:
    """Look which files have the names of the store; with ``logs`` those of its log, too."""
    return Identity({added: _inode(path + added) for added in ("", *(LOGS if logs else ()))})


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
