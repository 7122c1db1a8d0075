"""What is known and allowed, in ``known.toml``; each list may only hold what is there."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct, field

from .circles import arrows, chain, circles
from .reaches import lazy_imports, private_reaches
from .source import Module

KNOWN = Path(__file__).with_name("known.toml")
PLACE = "tests/house/known.toml"


class Known(Struct):
    """``optional`` names packages that an extra installs; the lists say why each is there."""

    circles: list[list[str]] = field(default_factory=list)
    optional: dict[str, str] = field(default_factory=dict)
    private_reaches: dict[str, str] = field(default_factory=dict)
    lazy_imports: dict[str, str] = field(default_factory=dict)


class Counts(Struct):
    """What the modules have of each."""

    circles: list[list[str]]
    chains: list[list[str]]
    """One way round each circle."""
    private_reaches: set[str]
    lazy_imports: set[str]


def read(path: Path = KNOWN) -> Known:
    return Known(**tomllib.loads(path.read_text()))


def count(modules: Sequence[Module], known: Known) -> Counts:
    ways = arrows(modules)
    cycles = circles(ways)
    reaches: Counter[str] = Counter()
    lazy: Counter[str] = Counter()
    for module in modules:
        reaches += private_reaches(module)
        lazy += lazy_imports(module, known.optional)
    chains = [chain(circle, ways) for circle in cycles]
    return Counts(cycles, chains, _numbered(reaches), _numbered(lazy))


def _numbered(found: Counter[str]) -> set[str]:
    return {one if times == 1 else f"{one} ({times} times)" for one, times in found.items()}


def problems_of_circles(counts: Counts, known: Known) -> list[str]:
    """One line for each circle that is not known as it is, with what to do."""
    told = [
        f"These files import each other: {' -> '.join(way)} ({len(circle)} files in all). Move "
        f"what they share to a module below them."
        for circle, way in zip(counts.circles, counts.chains, strict=True)
        if circle not in known.circles
    ]
    told += [
        f"The circle of {circle[0]} and {len(circle) - 1} others is not there any more as "
        f"{PLACE} has it: shorten it there."
        for circle in known.circles
        if circle not in counts.circles
    ]
    return told


def problems_of_lists(counts: Counts, known: Known) -> list[str]:
    """One line for each reach and each lazy import that is not known, and the other way round."""
    return [
        *_compare(
            counts.private_reaches,
            known.private_reaches,
            "private_reaches",
            "reaches into a private attribute. Give the other object a public method",
        ),
        *_compare(
            counts.lazy_imports,
            known.lazy_imports,
            "lazy_imports",
            "is an import that is not at the top of its file. Move it there",
        ),
    ]


def _compare(found: Iterable[str], known: dict[str, str], table: str, what: str) -> list[str]:
    found = set(found)
    told = [
        f"{one} {what}, or write it with its reason under [{table}] in {PLACE}."
        for one in sorted(found - known.keys())
    ]
    told += [
        f"{one} is not there any more: delete it under [{table}] in {PLACE}."
        for one in sorted(known.keys() - found)
    ]
    told += [
        f"{one} has no reason under [{table}] in {PLACE}: write why it must be."
        for one, reason in sorted(known.items())
        if not reason.strip() and one in found
    ]
    return told


def write(counts: Counts, known: Known, path: Path = KNOWN) -> None:
    """Write the lists as they are, with the reasons that are known."""
    lines = [
        "# What the check of the house knows and allows. `python -m tests.house --write` adds what",
        "# is new without a reason and deletes what is gone; the check refuses an empty reason.",
        "",
        "# Files that import each other. This list may only become shorter.",
        f"circles = {json.dumps(counts.circles, indent=4)}",
    ]
    for title, comment, rows in (
        ("optional", "Packages that an extra installs: importable in functions.", known.optional),
        (
            "private_reaches",
            'Private attributes of other objects: "file: object.attribute" = "reason".',
            {one: known.private_reaches.get(one, "") for one in counts.private_reaches},
        ),
        (
            "lazy_imports",
            'Imports that are not at the top: "file: module" = "reason".',
            {one: known.lazy_imports.get(one, "") for one in counts.lazy_imports},
        ),
    ):
        lines += ["", f"# {comment}", f"[{title}]"]
        lines += [f"{json.dumps(one)} = {json.dumps(rows[one])}" for one in sorted(rows)]
    path.write_text("\n".join(lines) + "\n")
