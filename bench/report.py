"""Tables for people, JSON for programs, and the machine that the figures belong to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import environment
from .race import Table

_PACKAGES = (
    "a2a-sdk",
    "fasta2a",
    "uvicorn",
    "uvloop",
    "httptools",
    "hypercorn",
    "msgspec",
    "anyio",
)
_HIGHER_IS_BETTER = {"req/s", "events/cpu s"}
_VERSIONS = (
    "import json, platform, sys; from importlib.metadata import PackageNotFoundError, version\n"
    "found = {'python': platform.python_version()}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = version(name)\n"
    "    except PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)


def machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    versions = subprocess.run(
        [str(environment.PYTHON), "-c", _VERSIONS, *_PACKAGES],
        capture_output=True,
        text=True,
        check=True,
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=environment.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "commit": commit.stdout.strip(),
        **json.loads(versions.stdout),
    }


def text(table: Table) -> str:
    """Markdown: one line per contender, its figures, and how many times better than the first."""
    first = next(iter(table.rows.values()))
    heads = [*first, *(f"× {column}" for column in table.compared)]
    lines = [
        f"### {table.title}",
        "",
        "| |" + "".join(f" {head} |" for head in heads),
        "| --- |" + " ---: |" * len(heads),
    ]
    for name, figures in table.rows.items():
        cells = [_number(figures.get(column)) for column in first]
        cells += [_times(column, first[column], figures[column]) for column in table.compared]
        lines.append(f"| {name} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join([*lines, ""])


def _times(column: str, first: float, figure: float) -> str:
    ratio = figure / first if column in _HIGHER_IS_BETTER else first / figure
    return f"{ratio:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_json(described: dict[str, Any], tables: Sequence[Table]) -> str:
    answer = {"machine": described, "tables": {table.title: table.rows for table in tables}}
    return json.dumps(answer, indent=2, ensure_ascii=False)
