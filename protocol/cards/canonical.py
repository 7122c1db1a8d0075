"""The canonical form of JSON (RFC 8785), over which agent cards are signed.

The package ``rfc8785`` writes it. Here is what Greenroom asks beyond: a bound of the depth, and
integers beyond 53 bits, which JSON from elsewhere may hold.
"""

from __future__ import annotations

from typing import Any

import rfc8785

from ..protojson import MAX_DEPTH

_SAFE = 2**53 - 1


def canonical(value: Any) -> bytes:
    """Return the canonical bytes of a plain JSON value.

    Raises ValueError for what has no canonical form: NaN and infinities, lone surrogates, keys
    that are not text, nesting beyond ``MAX_DEPTH``, integers that a double does not hold.
    """
    return rfc8785.dumps(_plain(value, 0))


def number(value: float) -> str:
    """Return a number as ECMAScript writes it (RFC 8785 section 3.2.2.3). Raises ValueError."""
    return canonical(value).decode()


def _plain(value: Any, depth: int) -> Any:
    """Return ``value`` with numbers as ``rfc8785`` takes them. Raises ValueError."""
    if depth > MAX_DEPTH:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {key: _plain(member, depth + 1) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member, depth + 1) for member in value]
    if isinstance(value, int) and not -_SAFE <= value <= _SAFE:
        return _double(value)
    return value


def _double(value: int) -> float:
    try:
        double = float(value)
    except OverflowError:
        raise ValueError("the number is too large for JSON") from None
    if double != value:  # its neighbours would have the same form
        raise ValueError(f"{value} has more digits than numbers in JSON: write it as text")
    return double
