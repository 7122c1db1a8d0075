"""``greenroom serve --reload``: run the server as a child, and again when a source file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from .terminal import note

INTERVAL = 0.5
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


def watch(arguments: Sequence[str], roots: Sequence[Path]) -> int:
    """Run ``greenroom`` with ``arguments``, restarting it on changes below ``roots``.

    Returns when a signal ends us. A child that ended by itself is started again by the next change.
    """
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    seen = snapshot(roots)
    child = _start(arguments)
    while not stopping:
        time.sleep(INTERVAL)
        now = snapshot(roots)
        if now == seen:
            continue
        changed = sorted(str(path) for path, _ in now.items() ^ seen.items())
        note(f"{changed[0]} changed: restarting")
        seen = now
        _end(child)
        child = _start(arguments)
    return _end(child)


def snapshot(roots: Iterable[Path]) -> dict[Path, int]:
    """Return every Python file below ``roots`` with the time of its last change."""
    changes: dict[Path, int] = {}
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name not in SKIPPED and name[0] != "."]
            for name in files:
                if name.endswith(".py"):
                    path = Path(folder, name)
                    try:
                        changes[path] = path.stat().st_mtime_ns
                    except FileNotFoundError:
                        continue
    return changes


def _start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches us alone, and the child once, from us.
    return subprocess.Popen([sys.executable, "-m", "greenroom", *arguments], start_new_session=True)


def _end(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()  # it drains and keeps its own deadline
    return child.wait()
