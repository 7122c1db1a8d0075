"""The canonical form of JSON (RFC 8785), over which agent cards are signed."""

from __future__ import annotations

import json
import math
from typing import Any

from ..protojson import MAX_DEPTH

_SAFE = 2**53


def canonical(value: Any) -> bytes:
    """Return the canonical bytes of a plain JSON value.

    Raises ValueError for what has no canonical form: NaN and infinities, lone surrogates, keys
    that are not text, nesting beyond ``MAX_DEPTH``, integers that a double does not hold.
    """
    out: list[str] = []
    _write(value, out, 0)
    try:
        return "".join(out).encode()
    except UnicodeEncodeError:
        raise ValueError("text with a lone surrogate has no canonical JSON") from None


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"JSON nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        out.append(_text(value))
    elif value is None:
        out.append("null")
    elif isinstance(value, bool):
        out.append("true" if value else "false")
    elif isinstance(value, (int, float)):
        out.append(number(value))
    elif isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of JSON objects are text")
        # RFC 8785 section 3.2.3 sorts by UTF-16 code units, which differs beyond the BMP.
        before = "{"
        for key in sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass")):
            out.append(f"{before}{_text(key)}:")
            _write(value[key], out, depth + 1)
            before = ","
        out.append("}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        before = "["
        for item in value:
            out.append(before)
            _write(item, out, depth + 1)
            before = ","
        out.append("]" if value else "[]")
    else:
        raise ValueError(f"{type(value).__name__} is no JSON")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """Return a number as ECMAScript writes it (RFC 8785 section 3.2.2.3)."""
    if isinstance(value, int):
        if -_SAFE <= value <= _SAFE:
            return str(value)
        try:
            exact, value = value, float(value)
        except OverflowError:
            raise ValueError("the number is too large for JSON") from None
        if value != exact:  # its neighbours would have the same form
            raise ValueError(f"{exact} has more digits than numbers in JSON: write it as text")
    if not math.isfinite(value):
        raise ValueError("NaN and infinities are no JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr gives the shortest digits that read back, as ECMAScript asks; only the layout differs.
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    head = digits[0] + (f".{digits[1:]}" if count > 1 else "")
    return f"{sign}{head}e{'+' if point > 0 else '-'}{abs(point - 1)}"
