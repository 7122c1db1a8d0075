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
from base64 import b64decode
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from .errors import MAX_FAULTS, InvalidParamsError, ParseError
from .types import Part

T = TypeVar("T")
Body = bytes | bytearray | memoryview

MAX_DEPTH = 100
"""How deep arrays and objects may be nested, as in the protobuf parsers."""

_encode = msgspec.json.Encoder().encode
_decode_plain = msgspec.json.Decoder().decode
_INT64 = range(-(2**63), 2**63)
_DROP = object()  # a value that means "absent"
_ODD = object()  # a value that is left out for what it is


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
    reader = _Forgiving()
    document = reader.read(_shape(type_).schema, value, "")
    if not isinstance(document, type_):
        raise InvalidParamsError.of(reader.faults)
    return document


def read(value: Any, type_: type[T], longest: int | None = None) -> T:
    """Return the ``type_`` that a plain JSON value describes, or raise InvalidParamsError."""
    reader = _Reader(longest)
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


# --- the lenient way -----------------------------------------------------------------------------


class _Reader:
    """Reads one plain value by the schema of its type, and gathers what is wrong with it."""

    def __init__(self, longest: int | None = None) -> None:
        self.longest = longest
        self.faults: list[tuple[str, str]] = []

    def fault(self, path: str, text: str) -> Any:
        self.faults.append((path, text))
        if len(self.faults) == MAX_FAULTS:  # no more is told, so no more is looked for
            raise InvalidParamsError.of(self.faults)
        return None

    def read(self, node: inspect.Type, value: Any, path: str) -> Any:
        if isinstance(node, inspect.UnionType):  # X | None: absence was settled before
            node = next(t for t in node.types if not isinstance(t, inspect.NoneType))
        method = _READ.get(type(node))
        # Any is the user's own JSON
        return value if method is None else getattr(self, method)(node, value, path)

    def struct_(self, node: inspect.StructType, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.fault(path, f"must be an object, not {_kind(value)}")
        members: dict[str, Any] = {}
        for field in node.fields:
            raw = value.get(field.encode_name, _DROP)
            if raw is _DROP:
                raw = value.get(field.name, _DROP)
            here = f"{path}.{field.encode_name}" if path else field.encode_name
            if raw is None:
                absent = not isinstance(field.type, inspect.AnyType)
            elif raw == "":  # in a oneof it is a value, elsewhere the same as absent
                absent = not field.required and field.name not in getattr(node.cls, "ONEOF", ())
            else:
                absent = raw is _DROP
            got = _ODD if absent else self.read(field.type, raw, here)
            if got is _ODD:
                if field.required:
                    members[field.name] = self.missing(field.type, here)
            elif field.required or not _unspecified(got):
                members[field.name] = got
        if node.cls is Part and members.get("data", _DROP) is None and _has_content(members):
            del members["data"]  # null beside another member is how some say "absent"
        return node.cls(**members)

    def missing(self, node: inspect.Type, path: str) -> Any:
        """Return the proto default of a required field, as an absent one reads in ProtoJSON."""
        if isinstance(node, inspect.StructType):
            return self.fault(path, "is required")
        if isinstance(node, inspect.EnumType):
            return next(iter(node.cls))
        default: Any = _DEFAULTS[type(node)]()
        return default

    def list_(self, node: inspect.ListType, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self.fault(path, f"must be an array, not {_kind(value)}")
        if self.longest is not None and len(value) > self.longest:
            return self.fault(path, f"may have {self.longest} items, not {len(value)}")
        return [self.read(node.item_type, v, f"{path}[{i}]") for i, v in enumerate(value)]

    def dict_(self, node: inspect.DictType, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.fault(path, f"must be an object, not {_kind(value)}")
        if isinstance(node.value_type, inspect.AnyType):
            return value
        return {k: self.read(node.value_type, v, f"{path}.{k}") for k, v in value.items()}

    def str_(self, node: inspect.StrType, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return value
        return self.fault(path, f"must be a string, not {_kind(value)}")

    def bool_(self, node: inspect.BoolType, value: Any, path: str) -> Any:
        if isinstance(value, bool):
            return value
        return self.fault(path, f"must be true or false, not {_kind(value)}")

    def int_(self, node: inspect.IntType, value: Any, path: str) -> Any:
        number = value
        if isinstance(number, str) and _NUMBER.fullmatch(number):
            number = int(number) if _DIGITS.fullmatch(number) else float(number)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            return self.fault(path, f"must be an integer, not {_kind(value)}")
        if number not in _INT64:
            return self.fault(path, "is out of range: it must fit 64 bits")
        return number

    def bytes_(self, node: inspect.BytesType, value: Any, path: str) -> Any:
        if not isinstance(value, str):
            return self.fault(path, f"must be base64 in a string, not {_kind(value)}")
        # The mapping of proto3 allows both alphabets, with and without padding; encoders of MIME
        # break lines, and the parsers of protobuf pass over the breaks.
        text = value.translate(_LINE_BREAKS).rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            return self.fault(path, "is no valid base64")

    def enum_(self, node: inspect.EnumType, value: Any, path: str) -> Any:
        # The members stand in the order of their proto numbers, from 0.
        members = list(node.cls)
        if isinstance(value, str):
            if (named := next((m for m in members if m.value == value), None)) is not None:
                return named
        elif not isinstance(value, bool) and value in range(len(members)):
            return members[int(value)]
        names = ", ".join(member.value for member in members[1:])
        return self.fault(path, f"has no value {str(value)[:64]!r}; it is one of {names}")


class _Forgiving(_Reader):
    """Leaves out what ``_Reader`` finds fault with."""

    def fault(self, path: str, text: str) -> Any:
        if not self.faults:
            self.faults.append((path, text))
        return _ODD

    def list_(self, node: inspect.ListType, value: Any, path: str) -> Any:
        items = super().list_(node, value, path)
        return items if items is _ODD else [item for item in items if item is not _ODD]

    def dict_(self, node: inspect.DictType, value: Any, path: str) -> Any:
        items = super().dict_(node, value, path)
        return items if items is _ODD else {k: v for k, v in items.items() if v is not _ODD}

    def str_(self, node: inspect.StrType, value: Any, path: str) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return super().str_(node, value, path)

    def missing(self, node: inspect.Type, path: str) -> Any:
        if isinstance(node, inspect.StructType):
            return self.struct_(node, {}, path)
        return super().missing(node, path)


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_LINE_BREAKS = {ord("\r"): None, ord("\n"): None}
_DIGITS = re.compile(r"-?[0-9]+")
_READ = {
    inspect.StructType: "struct_",
    inspect.ListType: "list_",
    inspect.DictType: "dict_",
    inspect.StrType: "str_",
    inspect.BoolType: "bool_",
    inspect.IntType: "int_",
    inspect.BytesType: "bytes_",
    inspect.EnumType: "enum_",
}
"""The methods of ``_Reader``, by the kind of type."""
_DEFAULTS: dict[type, Callable[[], Any]] = {
    inspect.StrType: str,
    inspect.ListType: list,
    inspect.DictType: dict,
    inspect.IntType: int,
    inspect.BoolType: bool,
    inspect.BytesType: bytes,
}
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def _unspecified(value: Any) -> bool:
    """Whether this is an enum's zero, which is the same as absent where absence is allowed."""
    return isinstance(value, Enum) and value is next(iter(type(value)))


def _has_content(fields: dict[str, Any]) -> bool:
    return any(fields.get(name) is not None for name in ("text", "raw", "url"))


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")
