"""A copy of a store while somebody serves from it, by SQLite's own online backup."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import aiosqlite
import anyio

from ...runtime.journal.store import StoreError, StoreFormatError
from .errors import DAMAGED, reason
from .files import check_file, reading_mode
from .schema import APPLICATION_ID

_PAGES = 1024
"""Pages copied before writers get their turn: a page has 4 KiB."""


async def backup(source: Path, target: Path) -> int:
    """Copy the store ``source`` to the new file ``target``; return its size in bytes.

    What is committed when it begins is in the copy, and what is committed meanwhile may be. Raises
    StoreError if ``target`` exists, either cannot be opened, or ``source`` is damaged: then there
    is no copy.
    """
    copied, made = anyio.Path(source), anyio.Path(target)
    if not await copied.exists():
        raise StoreError(f"{source} does not exist: is the path right?")
    check_file(source)
    if await made.exists():
        raise StoreError(f"{target} exists already: name a new file")
    try:
        path = Path(await copied.resolve())
        address = f"{path.as_uri()}?mode={reading_mode(path)}"
        async with aiosqlite.connect(address, uri=True) as store:
            async with store.execute("PRAGMA application_id") as cursor:
                row = await cursor.fetchone()
            if row is None or row[0] != APPLICATION_ID:
                raise StoreFormatError(f"{source} is not a store of Greenroom")
            async with aiosqlite.connect(target) as copy:
                await store.backup(copy, pages=_PAGES, sleep=0.01)
                async with copy.execute("PRAGMA quick_check(1)") as cursor:
                    found = await cursor.fetchone()
        if found != ("ok",):
            await made.unlink(missing_ok=True)
            raise StoreError(f"{source} could not be copied: {DAMAGED}")
    except sqlite3.Error as error:
        await made.unlink(missing_ok=True)
        raise StoreError(f"{source} could not be copied to {target}: {reason(error)}") from error
    return (await made.stat()).st_size
