"""``greenroom settings``: every setting, its default and what it means; also docs/settings.md."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from msgspec import Struct

from ..runtime.settings.described import meanings
from ..settings.names import PREFIX
from ..settings.settings import GROUPS, Settings, names
from .parser import meant
from .terminal import complain, show

BYTES = frozenset(
    {
        "runtime.tail_bytes", "http.max_body", "http.drain", "http.max_unread",
        "http.max_unread_caller", "http.max_unread_total", "grpc.max_receive", "grpc.max_send",
        "grpc.max_buffered", "grpc.max_buffered_total", "grpc.max_unread",
        "grpc.max_unread_caller", "grpc.max_unread_total", "grpc.max_metadata",
        "limits.part_bytes", "limits.metadata_bytes",
    }
)  # fmt: skip
SECONDS = frozenset({"http.card_max_age", "http.cors_max_age"})
"""Numbers of ``int`` that count something else than things; a ``float`` is seconds, but for:"""
RATES = frozenset({"limits.rate"})

_PAGE = f"""\
# Settings

<!-- Written by `make settings`: what it says is said in the source. -->

Each setting below is, later ones first obeyed,

- a key of the `[greenroom]` table of a TOML file (`--config greenroom.toml`), those with a group in
  a table of their own: `idle = 30` below `[greenroom.runtime]`;
- an environment variable: `{PREFIX}PORT=8080`, `{PREFIX}RUNTIME_IDLE=30`;
- on the command line a flag, those with a group behind `--set`: `--port 8080`,
  `--set runtime.idle=30`. Lists are written with commas, and so are tables (`a=1,b=2`); `none`
  unsets what can be unset (but for `auth`, where it is a text as any other).

In a program it is a field of `Settings`, of `RuntimeSettings` for `runtime`, and so on; those
without a group are arguments, too: `serve(agent, port=8080)`. `greenroom settings` prints them in
the terminal, and `greenroom settings idle` those with "idle" in their names. Times are in seconds.
"""

_GROUPS = {
    "": "The server",
    "runtime": "Tasks and their handlers",
    "http": "HTTP",
    "grpc": "gRPC",
    "limits": "What one caller may ask",
    "auth": "Who may call",
    "push": "Push notifications",
}


class Explained(Struct, frozen=True):
    """One setting."""

    name: str
    default: str
    meaning: str


def explained() -> Iterator[Explained]:
    """Every setting, in the order of declaration."""
    texts = {"": meanings(Settings)} | {group: meanings(kind) for group, kind in GROUPS.items()}
    defaults = Settings()
    for name in names().values():
        group, _, leaf = name.rpartition(".")
        holder = getattr(defaults, group) if group else defaults
        kind = get_type_hints(type(holder))[leaf]
        meaning = texts[group][leaf].replace("``", "`")
        for word in ("None", "True", "False"):
            meaning = meaning.replace(f"`{word}`", f"`{word.lower()}`")
        yield Explained(name, _default(name, kind, getattr(holder, leaf)), meaning)


def page() -> str:
    """docs/settings.md."""
    parts = [_PAGE]
    for group, title in _GROUPS.items():
        rows = [
            f"| `{one.name}` | {one.default} | {one.meaning.replace('|', '&#124;')} |"
            for one in explained()
            if one.name.rpartition(".")[0] == group
        ]
        heading = f"{title}: `{group}`" if group else title
        heading = f"## {title}: `{group}`" if group else f"## {title}"
        head = [heading, "", "| Setting | Default | Meaning |", "| --- | --- | --- |"]
        parts.append("\n".join([*head, *rows, ""]))
    return "\n".join(parts)


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "settings", help="what can be set, with defaults", description=__doc__
    )
    parser.set_defaults(run=run)
    parser.add_argument("word", nargs="?", default="", help="only those with it in their names")


def run(parsed: argparse.Namespace) -> int:
    """Print the settings; return the exit code: 2 if none has that name."""
    matches = [one for one in explained() if parsed.word in one.name]
    for one in matches:
        text = textwrap.fill(one.meaning, 96, initial_indent="    ", subsequent_indent="    ")
        show(f"{one.name} ({one.default})\n{text}\n")
    if not matches:
        known = names().values()
        hint = meant(parsed.word, [*known, *(name.rpartition(".")[2] for name in known)])
        return complain(f"no setting has {parsed.word!r} in its name{hint}")
    return 0


def _default(name: str, kind: Any, value: object) -> str:
    match value:
        case None:
            return "none (s)" if float in get_args(kind) else "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:,.15g} {'a second' if name in RATES else 's'}"
        case int() if name in BYTES:
            return _bytes(value)
        case int() if name in SECONDS:
            return f"{value:,} s"
        case int():
            return str(value) if "port" in name else f"{value:,}"
        case str():
            return value or "empty"
        case tuple():
            return ", ".join(map(str, value)) or "empty"
        case _:
            return "empty"


def _bytes(value: int) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,} bytes"


if __name__ == "__main__":
    Path("docs/settings.md").write_text(page(), encoding="utf-8")
