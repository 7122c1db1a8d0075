"""ProtoJSON in and out of Structs: a strict, fast way first, the lenient way only when needed.

``strict`` takes what every ordinary peer sends. ``lenient`` takes all that ProtoJSON allows beside
it (snake_case names, ``null`` for absent, numbers as strings, integral floats, enum numbers,
url-safe or unpadded base64), fills what is missing with the proto default, and names every fault
with its path. Contents of ``Part.data``, ``metadata`` and ``params`` are the user's own JSON and
never touched.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from .errors import InvalidParamsError, ParseError
from .reader import ForgivingReader, Reader

T = TypeVar("T")
Body = bytes | bytearray | memoryview

MAX_DEPTH = 100
"""How deep arrays and objects may be nested, as in the protobuf parsers."""

_encode = msgspec.json.Encoder().encode
_decode_plain = msgspec.json.Decoder().decode


def encode(value: Any) -> bytes:
    """Return the JSON of a Struct or plain value."""
    return _encode(value)


def decode(body: Body, type_: type[T], longest: int | None = None) -> T:
    """Return the ``type_`` that ``body`` holds, as leniently as ProtoJSON.

    ``longest``: items that a list may have where it is read the lenient way, fifty times as slow.
    Raises ParseError where it is no JSON, InvalidParamsError where it is no ``type_``.
    """
    decoded = strict(body, type_)
    return lenient(body, type_, longest) if decoded is None else decoded


def strict(body: Body, type_: type[T]) -> T | None:
    """Return the ``type_`` that ``body`` holds, or ``None`` where that takes ``lenient``.

    Raises ParseError where it is no JSON.
    """
    text = _text(body)
    guard(text)
    shape = _shape(type_)
    if b'""' in text or (_snake(text) and any(name in text for name in shape.snake_names)):
        return None
    try:
        decoded: T = shape.decode(text)
        return decoded
    except msgspec.ValidationError:
        return None
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def lenient(body: Body, type_: type[T], longest: int | None = None) -> T:
    """Return the ``type_`` that ``body`` holds, which ``strict`` has looked at and guarded.

    Arguments and errors as of ``decode``.
    """
    text = _text(body)
    return read(_plain(text), type_, longest)


def plain(body: Body) -> Any:
    """Return the plain JSON value that ``body`` holds, or raise ParseError."""
    text = _text(body)
    guard(text)
    return _plain(text)


def _plain(text: bytes) -> Any:
    try:
        return _decode_plain(text)
    except msgspec.ValidationError as error:  # a number that no JSON reader could hold
        message, _, path = str(error).partition(" - at `$")
        raise InvalidParamsError.of([(path.rstrip("`").lstrip("."), message)]) from None
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def read_forgiving(value: Any, type_: type[T]) -> T:
    """Return the ``type_`` that a plain JSON value describes, member by member.

    For documents of strangers that are read and never acted on as a whole, such as cards: a member
    that is not understood is left out, and so is an item of a list or of a map. A required member
    gets its default. Numbers are read as text where text is meant. Raises InvalidParamsError only
    where ``value`` is no object.
    """
    reader = ForgivingReader()
    document = reader.read(_shape(type_).schema, value, "")
    if not isinstance(document, type_):
        raise InvalidParamsError.of(reader.faults)
    return document


def read(value: Any, type_: type[T], longest: int | None = None) -> T:
    """Return the ``type_`` that a plain JSON value describes, or raise InvalidParamsError."""
    reader = Reader(longest)
    value_read: T = reader.read(_shape(type_).schema, value, "")
    if reader.faults:
        raise InvalidParamsError.of(reader.faults)
    return value_read


def unmarked(body: bytes) -> bytes:
    """Return ``body`` in UTF-8 and without the byte order mark that some writers put before it."""
    if body.startswith(codecs.BOM_UTF8):
        return body[len(codecs.BOM_UTF8) :]
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", errors="replace").encode()
    return body


def _text(body: Body) -> bytes:
    """Return a body without the byte order mark that a parser may ignore (RFC 8259 section 8.1)."""
    return (body if isinstance(body, bytes) else bytes(body)).removeprefix(codecs.BOM_UTF8)


# An escape; a pair of surrogates is one.
_ESCAPE = re.compile(
    rb"(?s)\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def tolerated(body: bytes) -> bytes:
    """Return JSON that a stranger wrote as a strict reader takes it.

    A byte order mark goes. Half a character becomes U+FFFD, whether it is an escape (a text that
    was cut between two surrogates) or bytes that are not UTF-8: the rest can be read.
    """
    body = unmarked(body)
    if not body.isascii():
        body = body.decode(errors="replace").encode()
    if b"\\u" not in body:
        return body
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape["half"] else escape[0], body)


def guard(body: bytes) -> None:
    """Raise ParseError for what a JSON reader must never see: bad UTF-8 and deep nesting."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise _not_json(error) from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deep(body):
        raise ParseError(f"Invalid JSON payload: nested deeper than {MAX_DEPTH} levels")


def _not_json(error: Exception) -> ParseError:
    if isinstance(error, UnicodeDecodeError):
        return ParseError("Invalid JSON payload: not UTF-8")
    if isinstance(error, RecursionError):
        return ParseError(f"Invalid JSON payload: nested deeper than {MAX_DEPTH} levels")
    text = str(error).removeprefix("JSON is malformed: ")
    return ParseError(f"Invalid JSON payload: {text[:1].lower()}{text[1:]}")


# A string, or what is left of the body where one does not end: so the search is linear.
_STRING = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")
_OPEN = ord("[")


def _deep(body: bytes) -> bool:
    """Whether arrays and objects are nested deeper than ``MAX_DEPTH``."""
    brackets = left = _STRING.sub(b"", body).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(6):  # what is flat, however long it is, is gone quickly
        left = left.replace(b"[]", b"")
    if not left:
        return False
    depth = 0
    for char in brackets:
        depth += 1 if char == _OPEN else -1
        if depth > MAX_DEPTH:
            return True
    return False


# --- what is known about a type, found once ------------------------------------------------------

_snake = re.compile(rb"_[a-z]").search


class _Shape:
    """A type's decoder, its schema, and its proto names that are not also the JSON names."""

    __slots__ = ("decode", "schema", "snake_names")

    def __init__(self, type_: Any) -> None:
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(type_).decode
        self.schema = inspect.type_info(type_)
        names = sorted(set(_names(self.schema, set())))
        self.snake_names = tuple(b'"%b"' % name.encode() for name in names)


_shapes: dict[Any, _Shape] = {}


def _shape(type_: Any) -> _Shape:
    shape = _shapes.get(type_)
    if shape is None:
        shape = _shapes[type_] = _Shape(type_)
    return shape


def _names(node: inspect.Type, seen: set[type]) -> Iterator[str]:
    if isinstance(node, inspect.UnionType):
        for member in node.types:
            yield from _names(member, seen)
    elif isinstance(node, inspect.ListType):
        yield from _names(node.item_type, seen)
    elif isinstance(node, inspect.DictType):
        yield from _names(node.value_type, seen)
    elif isinstance(node, inspect.StructType) and node.cls not in seen:
        seen.add(node.cls)
        for field in node.fields:
            if field.name != field.encode_name:
                yield field.name
            yield from _names(field.type, seen)
