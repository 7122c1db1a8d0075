"""The interpreters on which servers are tried, and what a process of ours needs around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

_NEEDED = "import sys, aiosqlite, anyio, betterproto2, h2, hypercorn, msgspec"


@cache
def interpreters() -> dict[str, str | None]:
    """Every version that a server must run on, and an interpreter of it that has what a server
    needs: this one, that of an environment ``.venv-3.x`` (in the checkout or beside this one), or
    ``python3.x`` on the PATH. ``None``: there is none here."""
    collected: dict[str, str | None] = {}
    for minor in (11, 12, 13):
        places = [folder / f".venv-3.{minor}/bin" for folder in (ROOT, Path(sys.prefix).parent)]
        known = [str(place / "python") for place in places]
        if on_path := shutil.which(f"python3.{minor}"):
            known.append(on_path)
        collected[f"3.{minor}"] = next((python for python in known if _serves(python, minor)), None)
    collected[f"3.{sys.version_info[1]}"] = sys.executable
    return collected


def _serves(python: str, minor: int) -> bool:
    if not Path(python).exists():
        return False
    script = f"{_NEEDED}; assert sys.version_info[:2] == (3, {minor})"
    done = subprocess.run([python, "-c", script], capture_output=True, check=False)
    return done.returncode == 0


def pythons() -> list[Any]:
    """The interpreters there are, as parameters of a test."""
    return [pytest.param(path, id=name) for name, path in interpreters().items() if path]


def environment() -> dict[str, str]:
    """That of a process which serves from this checkout, whatever its interpreter has installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}
