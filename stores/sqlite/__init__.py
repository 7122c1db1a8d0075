"""The embedded store: one SQLite file, one process that serves from it."""

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
