"""All of it or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from ...runtime.journal.store import OutcomeUnknownError


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None, None, None]:
    """All of it or nothing. A commit that fails leaves open which."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # SQLite itself rolls back when the disk is full
            db.execute("ROLLBACK")
        raise
    try:
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise OutcomeUnknownError(
            f"the commit failed ({error}): read again to know what was written, and look after "
            "the disk"
        ) from error
