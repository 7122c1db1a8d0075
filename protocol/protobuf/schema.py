"""Tables of field numbers, compiled: one reader and one writer for each type of message.

A table names the fields of a Struct with their numbers; the kind of each field follows from the
Struct's annotation. Reading follows proto3: of a field sent twice the last counts, of a message
sent twice both do, of a ``oneof`` the last member; unknown fields are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, UNSET, Struct, UnsetType, structs

from ..errors import InvalidParamsError
from . import fields, values
from .fields import MERGES, Read, ReadBody, Values, Write, WriteBody
from .wire import BYTES, VARINT, WireError, read_tag, skip, tag

FALSY = object()


class Field(Struct, frozen=True):
    """The number of a field, and what its annotation does not say.

    ``body`` replaces what the annotation stands for: (write, read) of the bytes of one value.
    ``enum`` are the names of an enumeration's members that the Struct holds as text; ``wide`` is
    an integer of 64 bits, for the others have 32.
    """

    number: int
    body: tuple[WriteBody, ReadBody] | None = None
    enum: tuple[str, ...] = ()
    wide: bool = False


TIMESTAMP = (values.write_timestamp, values.read_timestamp)


class Table(Struct, frozen=True):
    """The wire form of one type of Struct. ``oneof`` are the members of which one is set."""

    fields: Mapping[str, int | Field]
    oneof: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    """Texts whose empty value differs from their absence: ``optional`` in the proto file."""


class Schema:
    """The tables of one protocol version, compiled one by one as they are needed."""

    def __init__(self, tables: Mapping[type, Table], *, without: frozenset[str] = frozenset()):
        """``without`` are fields that this version does not have, in whatever message."""
        self._tables = tables
        self._without = without
        self._messages: dict[type, Message] = {}

    def message(self, type_: type) -> Message:
        """Return the codec of a Struct type."""
        message = self._messages.get(type_)
        if message is None:
            message = self._messages[type_] = Message(type_)
            message.compile(self, self._tables[type_], self._without)
        return message

    def write(self, message: Any) -> bytes:
        """Return the wire form of a Struct; raises WireError where it has none."""
        try:
            return self.message(type(message)).write(message)
        except UnicodeEncodeError as error:
            raise WireError("a text holds a lone surrogate") from error

    def read(self, type_: type, buffer: bytes) -> Any:
        """Return the Struct that ``buffer`` holds; raises WireError and InvalidParamsError."""
        try:
            return self.message(type_).read(buffer, 0, len(buffer))
        except (IndexError, ValueError) as error:
            if isinstance(error, WireError):
                raise
            text = "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else "cut off"
            raise WireError(text) from None


class Message:
    """The codec of one type of Struct."""

    def __init__(self, type_: type) -> None:
        self.type = type_
        self._readers: dict[int, Read] = {}
        self._writers: list[tuple[Callable[[Any], Any], Any, Write]] = []
        self._blank: Values = {}
        self._fresh: list[tuple[str, Callable[[], Any]]] = []
        self._needed: list[tuple[str, str]] = []

    def compile(self, schema: Schema, table: Table, without: frozenset[str]) -> None:
        """Make a reader and a writer of each field."""
        hints = get_type_hints(self.type)
        infos = {info.name: info for info in structs.fields(self.type)}
        for name, entry in table.fields.items():
            if name in without:
                continue
            field = entry if isinstance(entry, Field) else Field(entry)
            member = name in table.oneof
            kind = _Kind(hints[name], member, name in table.optional)
            others = tuple(other for other in table.oneof if member and other != name)
            _compile_field(self, schema, name, field, kind, others)
            info = infos[name]
            if info.default is NODEFAULT and info.default_factory is NODEFAULT:
                self._require(name, info.encode_name, kind)

    def _require(self, name: str, label: str, kind: _Kind) -> None:
        if kind.repeated or kind.map is not None:
            self._fresh.append((name, list if kind.repeated else dict))
        elif kind.type is str:
            self._blank[name] = ""
        elif kind.type is int:
            self._blank[name] = 0
        elif issubclass(kind.type, StrEnum):
            self._blank[name] = next(iter(kind.type))
        else:
            self._needed.append((name, label))

    def read(self, buffer: bytes, position: int, end: int) -> Any:
        """Return the Struct between two positions."""
        parsed = self._blank.copy()
        readers = self._readers
        while position < end:
            mark = buffer[position]
            position += 1
            if mark > 127:
                mark, position = read_tag(buffer, position - 1)
            reader = readers.get(mark)
            if reader is not None:
                position = reader(buffer, position, parsed)
            else:
                if mark < 8:
                    raise WireError("a field has an impossible number")
                position = skip(buffer, position, mark)
        if position != end:
            raise WireError("cut off")
        parsed.pop(MERGES, None)
        for name, make in self._fresh:
            if name not in parsed:
                parsed[name] = make()
        for name, label in self._needed:
            if name not in parsed:
                raise InvalidParamsError.of([(label, "is required")])
        return self.type(**parsed)

    def write(self, message: Any) -> bytes:
        """Return the wire form of a Struct."""
        out: list[bytes] = []
        append = out.append
        for get, empty, write in self._writers:
            value = get(message)
            if value or (empty is not FALSY and value is not empty):
                write(value, append)
        return b"".join(out)

    def add(self, name: str, mark: bytes, empty: Any, write: Write, read: Read) -> None:
        """``empty`` is the value of a field that is not there; ``FALSY``: every false one."""
        self._readers[read_tag(mark, 0)[0]] = read
        self._writers.append((attrgetter(name), empty, write))


class _Kind:
    """What an annotation says: the type of one value, and whether there are many."""

    def __init__(self, hint: Any, oneof: bool = False, optional: bool = False) -> None:
        arguments = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        given = [one for one in arguments if one not in (NoneType, UnsetType)]
        inner = given[0] if given else object
        self.json = inner is Any or len(given) != 1
        self.repeated = get_origin(inner) is list
        self.map: Any = None
        self.presence = oneof or len(arguments) > 1
        if self.repeated:
            (inner,) = get_args(inner)
        elif get_origin(inner) is dict:
            self.map = get_args(inner)[1]
            inner = dict
        self.type: Any = inner if isinstance(inner, type) else object
        self.emptiable = oneof or optional or not self.presence
        """An empty text is a value; else proto3 cannot tell it from none."""
        self.empty: Any = FALSY if not self.presence else UNSET if self.json else None


def _compile_field(
    message: Message,
    schema: Schema,
    name: str,
    field: Field,
    kind: _Kind,
    others: tuple[str, ...],
) -> None:
    number = field.number
    if field.enum:
        write, read = fields.enum(
            name, number, dict(enumerate(field.enum)), absent=None, lenient=True
        )
        message.add(name, tag(number, VARINT), FALSY, write, read)
        return
    if field.body is not None:
        write, read = fields.delimited(name, number, *field.body, others, merge=True)
        message.add(name, tag(number, BYTES), kind.empty, write, read)
        return
    if kind.map is not None and kind.map is not Any:
        write, read = fields.mapping(name, number, *_body(schema, _Kind(kind.map)))
        message.add(name, tag(number, BYTES), FALSY, write, read)
        return
    if kind.type in (bool, int) and not kind.repeated:
        write, read = fields.integer(name, number, kind.type is bool, field.wide)
        message.add(name, tag(number, VARINT), kind.empty, write, read)
        return
    if issubclass(kind.type, StrEnum):
        members = dict(enumerate(kind.type))
        write, read = fields.enum(
            name, number, members, absent=None if kind.presence else members[0]
        )
        message.add(name, tag(number, VARINT), FALSY, write, read)
        return
    if kind.type is str and not kind.repeated:
        write, read = fields.text(name, number, kind.emptiable, others)
        empty = kind.empty if kind.emptiable else FALSY
        message.add(name, tag(number, BYTES), empty, write, read)
        return
    body_write, body_read = _body(schema, kind)
    if kind.repeated:
        write, read = fields.repeated(name, number, body_write, body_read)
        message.add(name, tag(number, BYTES), FALSY, write, read)
        return
    merge = issubclass(kind.type, Struct) or kind.map is Any or kind.json
    write, read = fields.delimited(name, number, body_write, body_read, others, merge=merge)
    message.add(name, tag(number, BYTES), kind.empty, write, read)


def _body(schema: Schema, kind: _Kind) -> tuple[WriteBody, ReadBody]:
    """Return how the bytes of one value are written and read."""
    if kind.type is str:
        return str.encode, fields.read_text
    if kind.type is bytes:
        return bytes, fields.read_bytes
    if kind.map is Any:
        return values.write_struct, values.read_struct
    if kind.json:
        return values.write_value, values.read_value
    inner = schema.message(kind.type)
    return inner.write, inner.read
