"""Many rows in one statement.

Each step of a statement gives up the interpreter lock and has to win it back from a busy event
loop. ``executemany`` takes a step per row, a VALUES list one for all: beside a busy loop a batch of
16 sends takes a quarter of the time. Lists have a few fixed lengths, so statements stay prepared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

Row = tuple[Any, ...]
_LENGTHS = (64, 16, 4, 1)


@cache
def _values(width: int, length: int) -> str:
    row = f"({','.join('?' * width)})"
    return ",".join([row] * length)


@cache
def _statement(template: str, width: int, length: int) -> str:
    return template.replace("{rows}", f"VALUES {_values(width, length)}")


def _chunks(template: str, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
    width = len(rows[0]) if rows else 0
    start, left = 0, len(rows)
    for length in _LENGTHS:
        while left >= length:
            values = [value for row in rows[start : start + length] for value in row]
            yield _statement(template, width, length), values
            start += length
            left -= length


def write(db: sqlite3.Connection, template: str, rows: Sequence[Row]) -> None:
    """Run ``template`` with ``{rows}`` standing for a VALUES list of ``rows``."""
    for statement, values in _chunks(template, rows):
        db.execute(statement, values)


def read(db: sqlite3.Connection, template: str, rows: Sequence[Row]) -> Iterator[Row]:
    """The same for a query: what it finds for all the rows."""
    for statement, values in _chunks(template, rows):
        yield from db.execute(statement, values)
