"""The encoding itself: tags, varints, lengths, and how a reader passes over unknown fields.

Readers index past the end freely: ``IndexError`` is a truncated message, as is a position that
ends beyond the message it belongs to. ``Schema.read`` turns both into an error.
"""

from __future__ import annotations

VARINT, FIXED64, BYTES, GROUP, END, FIXED32 = range(6)
LENGTH = tuple(bytes((size,)) for size in range(128))
"""The length prefixes that fit one byte, ready made."""

_MAX_GROUPS = 100
_MASK = (1 << 64) - 1


class WireError(ValueError):
    """These bytes are no message."""


def tag(number: int, kind: int) -> bytes:
    """Return the tag of a field."""
    return varint(number << 3 | kind)


def varint(value: int) -> bytes:
    """Return the encoding of an integer of at most 64 bits; negative ones take ten bytes."""
    value &= _MASK
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def length(size: int) -> bytes:
    """Return the prefix of ``size`` bytes."""
    return LENGTH[size] if size < 128 else varint(size)


def read_varint(buffer: bytes, position: int) -> tuple[int, int]:
    """Return the value (unsigned, 64 bits) and the position behind it."""
    value = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MASK, position
        shift += 7
        if shift > 63:
            raise WireError("a varint is longer than ten bytes")


def signed(value: int) -> int:
    """Return the integer that an unsigned varint stands for."""
    return value - (1 << 64) if value >> 63 else value


def signed32(value: int) -> int:
    """Return the integer of 32 bits: what does not fit is cut off, as every reader does."""
    value &= (1 << 32) - 1
    return value - (1 << 32) if value >> 31 else value


def read_tag(buffer: bytes, position: int) -> tuple[int, int]:
    """Return the tag of the next field and the position behind it."""
    mark, position = read_varint(buffer, position)
    if mark >> 3 == 0 or mark >> 32:
        raise WireError("a field has an impossible number")
    return mark, position


def skip(buffer: bytes, position: int, mark: int, groups: int = _MAX_GROUPS) -> int:
    """Return the position behind the value of a field that nobody knows."""
    kind = mark & 7
    if kind == VARINT:
        return read_varint(buffer, position)[1]
    if kind == FIXED64:
        return position + 8
    if kind == FIXED32:
        return position + 4
    if kind == BYTES:
        size, position = read_varint(buffer, position)
        return position + size
    if kind != GROUP or not groups:
        raise WireError("a field has an impossible type")
    while True:
        inner, position = read_tag(buffer, position)
        if inner & 7 == END:
            if inner >> 3 != mark >> 3:
                raise WireError("a group ends that did not begin")
            return position
        position = skip(buffer, position, inner, groups - 1)
