"""What several processes need and one of them makes."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path


def made_once(mark: Path, lock: Path, make: Callable[[], object]) -> None:
    """Call ``make`` unless ``mark`` exists; the file ``mark`` appears when ``make`` has returned.

    Of the processes that ask for the same ``mark`` at once, one makes and the others wait for it.
    ``lock`` is a file that ``make`` leaves alone. After a failed attempt the next one to ask tries
    again.
    """
    if mark.exists():
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file is closed or its process dies
        if not mark.exists():
            make()
            mark.touch()
