"""What of JSON every binding can hold: the one rule for the user's own values, in and out.

``Part.data``, ``metadata`` and their like are plain JSON. Over gRPC they travel as
``google.protobuf.Value``: numbers are doubles, and the parsers of protobuf stop at 100 messages in
one another, where an object in an object takes three. A task that one binding takes is read over
all, so what the narrowest cannot hold is refused where it comes in, and where a handler returns it.
"""

from __future__ import annotations

import sys
from typing import Any

MAX_DEPTH = 30
"""Arrays and objects in one another: three messages each, within the 100 that protobuf reads."""

_MAX_INT = int(sys.float_info.max)


def unfit(value: Any) -> str | None:
    """Return what is wrong with a plain JSON value, or ``None`` for one that every binding holds.

    Takes each level at once, without recursion: a value may be as large as a body.
    """
    kind = type(value)
    if kind is str or value is None:
        return None
    level = [value] if kind is dict or kind is list else []
    if kind is int and not -_MAX_INT <= value <= _MAX_INT:
        return _TOO_LARGE
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            for item in container.values() if type(container) is dict else container:
                kind = type(item)
                if kind is dict or kind is list:
                    inner.append(item)
                elif kind is int and not -_MAX_INT <= item <= _MAX_INT:
                    return _TOO_LARGE
        if not inner:
            return None
        level = inner
    return f"must not have more than {MAX_DEPTH} arrays and objects in one another"


_TOO_LARGE = "has a number that is too large for a double: send it as a string"


def mend(text: str) -> str:
    """Return ``text`` with the halves of surrogate pairs joined, or replaced by U+FFFD.

    APIs that count in UTF-16 cut characters beyond U+FFFF in two; no UTF-8 can hold a half.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def mend_all(value: Any) -> Any:
    """Return a plain JSON value whose texts, names of members included, are mended."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend_all(name): mend_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mend_all(item) for item in value]
    return value


def cut_half(text: str) -> tuple[str, str]:
    """Return ``text`` without the first half of a character at its end, and that half or ``""``."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return text[:-1], text[-1]
    return text, ""
