"""What the URL of a store names: ``memory://``, or the file of ``sqlite:///path?durability=...``.

The reader takes a URL whole or refuses it: a file that the user did not name is never opened. So
the path goes up to the first ``?``, and ``#`` is a letter of the path like any other: no part of a
store has a fragment. ``%`` and two hexadecimal digits are one byte of the path.
"""

from __future__ import annotations

import os
import re
from typing import Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from .settings.settings import SettingsError

Durability = Literal["strict", "relaxed"]

_SQLITE = "sqlite:///"
_OPTIONS: dict[str, Durability] = {
    "": "strict", "durability=strict": "strict", "durability=relaxed": "relaxed",
}  # fmt: skip
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DRIVE = re.compile(r"/[A-Za-z]:[/\\]")


class StoreUrl(NamedTuple):
    """``path`` is a file name of the operating system; ``None``: the memory store."""

    path: str | None
    durability: Durability = "strict"


def parse(url: str, *, windows: bool = os.name == "nt") -> StoreUrl:
    """Return what ``url`` names. Raises SettingsError, which says how to write it."""
    scheme, colon, _ = url.partition(":")
    url = scheme.lower() + url[len(scheme) :]  # RFC 3986 section 3.1
    if url == "memory://":
        return StoreUrl(None)
    if not colon or not url.startswith(_SQLITE):
        raise SettingsError(
            f"store {url!r} is not understood: write sqlite:///file.db (three slashes for a "
            "relative path, four for an absolute one) or memory://"
        )
    written, _, options = url[len(_SQLITE) :].partition("?")
    durability = _OPTIONS.get(options)
    if durability is None:
        raise SettingsError(
            f"store {url!r}: after '?' there can be durability=strict or durability=relaxed and "
            "nothing else; write %3F for a question mark in the name of the file"
        )
    return StoreUrl(_path(url, written, windows), durability)


def _path(url: str, written: str, windows: bool) -> str:
    if _BROKEN_ESCAPE.search(written):
        raise SettingsError(f"store {url!r}: write %25 for a percent sign in the name of the file")
    if windows and _DRIVE.match(written):
        written = written[1:]  # sqlite:////C:/tasks.db, an absolute path written with four slashes
    try:
        path = os.fsdecode(unquote_to_bytes(written))
    except UnicodeDecodeError:
        raise SettingsError(f"store {url!r}: the name of the file is not UTF-8") from None
    if not path or path.endswith("/") or "\0" in path:
        raise SettingsError(f"store {url!r} names no file: write sqlite:///file.db")
    if path.startswith((":memory:", "file:")):
        raise SettingsError(
            f"store {url!r}: {path!r} has a meaning of its own in SQLite; write memory:// to keep "
            f"nothing, or sqlite:///./{path} for a file of that name"
        )
    return path
