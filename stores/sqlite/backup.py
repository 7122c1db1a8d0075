"""A copy of a store while somebody serves from it, by SQLite's own online backup."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import aiosqlite
import anyio

from ...runtime import files
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
    is no copy. Only the user who made the copy may read it.
    """
    made = anyio.Path(target)
    if not await anyio.Path(source).exists():
        raise StoreError(f"{source} does not exist: is the path right?")
    check_file(source)
    try:
        descriptor = files.create(target)
    except FileExistsError:
        raise StoreError(f"{target} exists already: name a new file") from None
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from None
    try:
        await _copy(source, target, descriptor)
    except sqlite3.Error as error:
        await made.unlink(missing_ok=True)
        raise StoreError(f"{source} could not be copied to {target}: {reason(error)}") from error
    except BaseException:
        with anyio.CancelScope(shield=True):
            await made.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return (await made.stat()).st_size


async def _copy(source: Path, target: Path, descriptor: int) -> None:
    path = Path(await anyio.Path(source).resolve())
    address = f"{path.as_uri()}?mode={reading_mode(path)}"
    async with aiosqlite.connect(address, uri=True) as store:
        async with store.execute("PRAGMA application_id") as cursor:
            row = await cursor.fetchone()
        if row is None or row[0] != APPLICATION_ID:
            raise StoreFormatError(f"{source} is not a store of Greenroom")
        async with aiosqlite.connect(target) as copy:
            there, ours = os.lstat(target), os.fstat(descriptor)
            if (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev):
                raise StoreError(f"{target} was exchanged while Greenroom opened it: try again")
            await store.backup(copy, pages=_PAGES, sleep=0.01)
            async with copy.execute("PRAGMA quick_check(1)") as cursor:
                answer = await cursor.fetchone()
    if answer != ("ok",):
        raise StoreError(f"{source} could not be copied: {DAMAGED}")
