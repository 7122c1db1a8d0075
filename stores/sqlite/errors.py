"""What SQLite's errors mean for whoever has to do something about them."""

from __future__ import annotations

import sqlite3

from ...runtime.journal.store import StoreDamagedError, StoreError

DAMAGED = "it is damaged: put a backup in its place (`greenroom tasks backup` makes them)"
_UNWRITABLE = "this process must be allowed to write the file and the folder that it lies in"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_CANTOPEN: _UNWRITABLE,
    sqlite3.SQLITE_PERM: _UNWRITABLE,
    sqlite3.SQLITE_READONLY: _UNWRITABLE,
}


_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def failure(error: sqlite3.Error) -> StoreError:
    """What the port has for it."""
    kind = StoreDamagedError if _code(error) in _DAMAGE else StoreError
    return kind(f"the database could not be used: {reason(error)}")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def reason(error: sqlite3.Error) -> str:
    """What SQLite says, and what can be done where that is known."""
    advice = _ADVICE.get(_code(error))
    return f"{error}; {advice}" if advice else str(error)
