"""One serving process per file: an advisory lock that the kernel releases when its holder dies.

It lies on a file beside the database, because SQLite's own locks on the database are dropped when
any descriptor of it is closed. The file stays when the lock goes: removing it would be a race.
"""

from __future__ import annotations

import os

from ...runtime import files
from ...runtime.journal.store import StoreError, StoreInUseError


class FileLock:
    """Held from construction to ``release``; raises ``StoreInUseError`` if another holds it, and
    ``StoreError`` if its file cannot be written."""

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = files.open_lock(path, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write {path} ({error.strerror}): the database needs a folder that this "
                "process may write to"
            ) from None
        try:
            files.lock(self._descriptor, wait=False)
        except OSError:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise StoreInUseError(
                f"{path.removesuffix('.lock')} is served by another process"
                f"{f' (pid {holder})' if holder else ''}: stop it first, or give this one a file "
                "of its own"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._descriptor)
