"""One reader and one writer for each kind of field: closures over its name and its tag.

A reader takes the buffer, the position behind the tag and the values parsed so far, and returns the
position behind the field. A writer appends to the pieces of the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InvalidParamsError
from ..validation import MAX_ITEMS
from .wire import (
    BYTES,
    VARINT,
    WireError,
    length,
    read_tag,
    read_varint,
    signed,
    signed32,
    skip,
    tag,
    varint,
)

Values = dict[str, Any]
"""What was read of a message; under ``MERGES``, which is no field, how often one came again."""
MERGES = ""
MAX_MERGES = 4
"""How often a message may have a field again whose values are merged: each reads all anew."""
Read = Callable[[bytes, int, Values], int]
Write = Callable[[Any, Callable[[bytes], Any]], None]
ReadBody = Callable[[bytes, int, int], Any]
WriteBody = Callable[[Any], bytes]


def read_text(buffer: bytes, position: int, end: int) -> str:
    return str(buffer[position:end], "utf-8")


def read_bytes(buffer: bytes, position: int, end: int) -> bytes:
    return buffer[position:end]


def _span(buffer: bytes, position: int) -> tuple[int, int]:
    """Return where a value of known length begins and ends."""
    size = buffer[position]
    position += 1
    if size > 127:
        size, position = read_varint(buffer, position - 1)
    stop = position + size
    if stop > len(buffer):
        raise WireError("cut off")
    return position, stop


def text(name: str, number: int, keep: bool, others: tuple[str, ...]) -> tuple[Write, Read]:
    """``keep``: an empty text is a value, not the absence of one."""
    mark = tag(number, BYTES)

    def write(value: str, append: Callable[[bytes], Any]) -> None:
        body = value.encode()
        append(mark + length(len(body)))
        append(body)

    def read(buffer: bytes, position: int, parsed: Values) -> int:
        position, stop = _span(buffer, position)
        text = str(buffer[position:stop], "utf-8")
        parsed[name] = text if text or keep else None
        for other in others:
            parsed.pop(other, None)
        return stop

    return write, read


def delimited(
    name: str,
    number: int,
    write_body: WriteBody,
    read_body: ReadBody,
    others: tuple[str, ...],
    merge: bool = False,
) -> tuple[Write, Read]:
    mark = tag(number, BYTES)

    def write(value: Any, append: Callable[[bytes], Any]) -> None:
        body = write_body(value)
        append(mark + length(len(body)))
        append(body)

    def read(buffer: bytes, position: int, parsed: Values) -> int:
        position, stop = _span(buffer, position)
        if merge and name in parsed:
            parsed[MERGES] = parsed.get(MERGES, 0) + 1
            if parsed[MERGES] > MAX_MERGES:
                raise WireError(f"{name} comes more than {MAX_MERGES} times again")
            both = write_body(parsed[name]) + buffer[position:stop]
            parsed[name] = read_body(both, 0, len(both))
        else:
            parsed[name] = read_body(buffer, position, stop)
        for other in others:
            parsed.pop(other, None)
        return stop

    return write, read


def repeated(
    name: str, number: int, write_body: WriteBody, read_body: ReadBody
) -> tuple[Write, Read]:
    mark = tag(number, BYTES)

    def write(items: list[Any], append: Callable[[bytes], Any]) -> None:
        for value in items:
            body = write_body(value)
            append(mark + length(len(body)))
            append(body)

    def read(buffer: bytes, position: int, parsed: Values) -> int:
        position, stop = _span(buffer, position)
        value = read_body(buffer, position, stop)
        items = parsed.get(name)
        if items is None:
            parsed[name] = [value]
        elif len(items) < MAX_ITEMS:
            items.append(value)
        else:
            raise InvalidParamsError.of([(name, f"may have {MAX_ITEMS} items, not more")])
        return stop

    return write, read


def integer(name: str, number: int, boolean: bool, wide: bool) -> tuple[Write, Read]:
    mark = tag(number, VARINT)

    def write(value: int, append: Callable[[bytes], Any]) -> None:
        append(mark + varint(value))

    def read(buffer: bytes, position: int, parsed: Values) -> int:
        value, position = read_varint(buffer, position)
        parsed[name] = value != 0 if boolean else signed(value) if wide else signed32(value)
        return position

    return write, read


def enum(
    name: str, number: int, members: dict[int, Any], *, absent: Any, lenient: bool = False
) -> tuple[Write, Read]:
    """``lenient`` hands on a number that no member has, for the reader behind to judge."""
    mark = tag(number, VARINT)
    encoded = {member: mark + varint(value) for value, member in members.items()}
    zero = members[0]

    def write(value: Any, append: Callable[[bytes], Any]) -> None:
        if value != zero:
            append(encoded[value])

    def read(buffer: bytes, position: int, parsed: Values) -> int:
        value, position = read_varint(buffer, position)
        member = members.get(value) if value else absent
        if member is None and value:
            if not lenient:
                raise InvalidParamsError.of([(name, f"has no member {signed(value)}")])
            member = signed(value)
        parsed[name] = member
        return position

    return write, read


def mapping(
    name: str, number: int, write_body: WriteBody, read_body: ReadBody
) -> tuple[Write, Read]:
    mark = tag(number, BYTES)

    def write(items: dict[str, Any], append: Callable[[bytes], Any]) -> None:
        for key, value in items.items():
            label, body = key.encode(), write_body(value)
            entry = b"\x0a" + length(len(label)) + label + b"\x12" + length(len(body)) + body
            append(mark + length(len(entry)))
            append(entry)

    def read(buffer: bytes, position: int, parsed: Values) -> int:
        position, stop = _span(buffer, position)
        key, value = "", None
        while position < stop:
            mark, position = read_tag(buffer, position)
            if mark == 0x0A:
                position, end = _span(buffer, position)
                key = str(buffer[position:end], "utf-8")
                position = end
            elif mark == 0x12:
                position, end = _span(buffer, position)
                value = read_body(buffer, position, end)
                position = end
            else:
                position = skip(buffer, position, mark)
        if position != stop:
            raise WireError("cut off")
        items = parsed.setdefault(name, {})
        items[key] = read_body(b"", 0, 0) if value is None else value
        return stop

    return write, read
