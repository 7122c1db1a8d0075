"""The well-known types that the model holds as plain Python: Struct, Value, Timestamp."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from .wire import WireError, length, read_tag, read_varint, signed, skip, varint

_DOUBLE = struct.Struct("<d")
_pack, _unpack = _DOUBLE.pack, _DOUBLE.unpack_from
MAX_DEPTH = 100
_EXACT = 2.0**53

_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"
_NUMBER, _STRING, _STRUCT, _LIST = 0x11, 0x1A, 0x2A, 0x32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z; a Timestamp goes no further
_EARLIEST = -62_135_596_800
_SECOND = timedelta(seconds=1)


def write_value(value: Any) -> bytes:
    """Return ``google.protobuf.Value``; raises WireError for what it cannot hold."""
    if isinstance(value, str):
        text = value.encode()
        return b"\x1a" + length(len(text)) + text
    if value is None:
        return _NULL
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if not isfinite(number):
            raise WireError("a number is too large for google.protobuf.Value")
        return b"\x11" + _pack(number)
    if isinstance(value, dict):
        body = write_struct(value)
        return b"\x2a" + length(len(body)) + body
    if isinstance(value, list | tuple):
        out = bytearray()
        for item in value:
            inner = write_value(item)
            out += b"\x0a" + length(len(inner)) + inner
        return b"\x32" + length(len(out)) + bytes(out)
    raise WireError(f"{type(value).__name__} is no JSON value")


def write_struct(value: dict[str, Any]) -> bytes:
    """Return ``google.protobuf.Struct``."""
    out = bytearray()
    for name, item in value.items():
        key, inner = name.encode(), write_value(item)
        entry = b"\x0a" + length(len(key)) + key + b"\x12" + length(len(inner)) + inner
        out += b"\x0a" + length(len(entry)) + entry
    return bytes(out)


def read_value(buffer: bytes, position: int, end: int, depth: int = MAX_DEPTH) -> Any:
    """Return the JSON value between ``position`` and ``end``; the last member set counts.

    Whole numbers that a double holds exactly come back as int, as JSON would have them.
    """
    if not depth:
        raise WireError(f"a value is nested more than {MAX_DEPTH} deep")
    value: Any = None
    while position < end:
        mark, position = read_tag(buffer, position)
        if mark == _NUMBER:
            if position + 8 > end:
                raise WireError("a value is cut off")
            (number,) = _unpack(buffer, position)
            position += 8
            value = _number(number)
        elif mark in (_STRING, _STRUCT, _LIST):
            size, position = read_varint(buffer, position)
            stop = position + size
            if stop > end:
                raise WireError("a value is cut off")
            if mark == _STRING:
                value = str(buffer[position:stop], "utf-8")
            elif mark == _LIST:
                more = _read_list(buffer, position, stop, depth - 1)
                if isinstance(value, list):
                    value += more
                else:
                    value = more
            else:
                fields = read_struct(buffer, position, stop, depth - 1)
                if isinstance(value, dict):
                    value.update(fields)
                else:
                    value = fields
            position = stop
        elif mark == 0x20:
            flag, position = read_varint(buffer, position)
            value = flag != 0
        elif mark == 0x08:
            _, position = read_varint(buffer, position)
            value = None
        else:
            position = skip(buffer, position, mark)
    if position != end:
        raise WireError("a value is cut off")
    return value


def _number(number: float) -> int | float:
    if not isfinite(number):
        raise WireError("NaN and infinity are no JSON values")
    if number.is_integer() and abs(number) <= _EXACT and (number or str(number) == "0.0"):
        return int(number)
    return number


def _read_list(buffer: bytes, position: int, end: int, depth: int) -> list[Any]:
    items: list[Any] = []
    while position < end:
        mark, position = read_tag(buffer, position)
        if mark != 0x0A:
            position = skip(buffer, position, mark)
            continue
        size, position = read_varint(buffer, position)
        stop = position + size
        if stop > end:
            raise WireError("a list is cut off")
        items.append(read_value(buffer, position, stop, depth))
        position = stop
    if position != end:
        raise WireError("a list is cut off")
    return items


def read_struct(buffer: bytes, position: int, end: int, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the object between ``position`` and ``end``; of equal names the last counts."""
    if not depth:
        raise WireError(f"a value is nested more than {MAX_DEPTH} deep")
    members: dict[str, Any] = {}
    while position < end:
        mark, position = read_tag(buffer, position)
        if mark != 0x0A:
            position = skip(buffer, position, mark)
            continue
        size, position = read_varint(buffer, position)
        stop = position + size
        if stop > end:
            raise WireError("an object is cut off")
        key, value = "", None
        while position < stop:
            mark, position = read_tag(buffer, position)
            if mark not in (0x0A, 0x12):
                position = skip(buffer, position, mark)
                continue
            size, position = read_varint(buffer, position)
            inner = position + size
            if inner > stop:
                raise WireError("an object is cut off")
            if mark == 0x0A:
                key = str(buffer[position:inner], "utf-8")
            else:
                value = read_value(buffer, position, inner, depth - 1)
            position = inner
        if position != stop:
            raise WireError("an object is cut off")
        members[key] = value
    if position != end:
        raise WireError("an object is cut off")
    return members


def write_timestamp(text: str) -> bytes:
    """Return ``google.protobuf.Timestamp`` of RFC 3339 text; keeps nanoseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WireError(f"{text[:40]!r} is no RFC 3339 timestamp") from None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    seconds, nanos = since // _SECOND, 0
    if len(text) > 20 and text[19] == ".":
        digits = 20
        while digits < len(text) and text[digits].isdigit():
            digits += 1
        nanos = int(text[20:digits][:9].ljust(9, "0"))
    out = b"" if not seconds else b"\x08" + varint(seconds)
    return out + b"\x10" + varint(nanos) if nanos else out


def read_timestamp(buffer: bytes, position: int, end: int) -> str:
    """Return RFC 3339 text in UTC with as many digits (0, 3, 6 or 9) as the fraction needs."""
    seconds = nanos = 0
    while position < end:
        mark, position = read_tag(buffer, position)
        if mark == 0x08:
            value, position = read_varint(buffer, position)
            seconds = signed(value)
        elif mark == 0x10:
            value, position = read_varint(buffer, position)
            nanos = signed(value)
        else:
            position = skip(buffer, position, mark)
    if position != end:
        raise WireError("a timestamp is cut off")
    if not (_EARLIEST <= seconds <= _LATEST and 0 <= nanos < 1_000_000_000):
        raise WireError("a timestamp is out of range")
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    if not nanos:
        return text + "Z"
    fraction = f"{nanos:09d}"
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{text}.{fraction}Z"
