"""The document names tests that exist, leaves no rule open, and counts every example once."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
DOCUMENT = TESTS.parent / "docs" / "conformance.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
BLOCKS = {"1.0": 78, "0.3": 77, "0.2": 75}


def tables() -> list[tuple[str, list[str]]]:
    """Every row of every table, without the heads, under the heading above it."""
    collected: list[tuple[str, list[str]]] = []
    heading, head = "", True
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        if not line.startswith("|"):
            head = True
        elif set(line) <= set("| -"):
            head = False
        elif not head:
            collected.append((heading, [cell.strip() for cell in line.strip("|").split("|")]))
    return collected


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(DOCUMENT.read_text())
    assert len(named) > 150
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (TESTS / path).is_file() or name not in names_in(path)
    ]
    assert missing == []


def test_every_rule_is_proved_or_said_not_to_apply() -> None:
    rows = tables()
    assert len(rows) > 170
    for heading, cells in rows:
        assert all(cells), (heading, cells)
        proof = cells[-1]
        reason = proof.partition("Not applicable")[2].lstrip(" her")
        assert NAMED.search(proof) or (reason.startswith(":") and len(reason) > 5), cells


def test_rules_are_numbered_once() -> None:
    for section in {heading for heading, _ in tables()}:
        numbers = [cells[0] for heading, cells in tables() if heading == section]
        assert len(set(numbers)) == len(numbers), section


@pytest.mark.parametrize("version", BLOCKS)
def test_every_example_is_counted_once(version: str) -> None:
    counted: list[int] = []
    for heading, cells in tables():
        if heading == version:
            for piece in cells[0].split(","):
                first, _, last = piece.partition(" to ")
                counted += range(int(first), int(last or first) + 1)
    assert sorted(counted) == list(range(1, BLOCKS[version] + 1))
