"""What type checkers see of typical handlers: exact types, and errors where a use is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HANDLERS = Path(__file__).parent / "handlers.py"


def wrong_lines() -> set[int]:
    lines = HANDLERS.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def mypy(folder: Path) -> dict[int, str]:
    """The errors of mypy, by line."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--output=json",
         f"--cache-dir={folder}", HANDLERS],
        cwd=ROOT / "src", capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found or done.returncode == 0, done.stdout + done.stderr
    return {
        one["line"]: one["message"]
        for one in found
        if one["severity"] == "error" and Path(one["file"]).name == HANDLERS.name
    }


def pyright(folder: Path) -> dict[int, str]:
    """The errors of pyright, by line."""
    shutil.copy(HANDLERS, folder)
    settings = folder / "pyrightconfig.json"
    settings.write_text('{"include": ["handlers.py"], "typeCheckingMode": "strict"}')
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--project", settings, "--pythonpath", sys.executable,
         "--outputjson"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    return {
        one["range"]["start"]["line"] + 1: one["message"]
        for one in told["generalDiagnostics"]
        if one["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_types_are_exact_and_wrong_uses_are_errors(
    checker: Callable[[Path], dict[int, str]], tmp_path: Path
) -> None:
    errors = checker(tmp_path)
    wrong = wrong_lines()
    assert len(wrong) > 30
    assert {line: text for line, text in errors.items() if line not in wrong} == {}
    assert wrong - errors.keys() == set(), "nobody complains of these lines"
