"""Reading a plain JSON value into a Struct by the schema of its type, as leniently as ProtoJSON.

``Reader`` gathers every fault with its path. ``ForgivingReader`` leaves out what has a fault.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from enum import Enum
from typing import Any

from msgspec import inspect

from .errors import MAX_FAULTS, InvalidParamsError
from .types import Part

_INT64 = range(-(2**63), 2**63)
_DROP = object()  # a value that means "absent"
_ODD = object()  # a value that is left out for what it is


class Reader:
    """Reads one plain value by the schema of its type, and gathers what is wrong with it."""

    def __init__(self, longest: int | None = None) -> None:
        """``longest``: items that a list may have."""
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


class ForgivingReader(Reader):
    """Leaves out what ``Reader`` finds fault with."""

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
"""The methods of ``Reader``, by the kind of type."""
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
