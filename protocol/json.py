"""ProtoJSON in and out of the Structs of ``types``: strict and fast first, lenient when needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from .errors import InvalidParamsError, ParseError

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def decode(body: bytes | memoryview, type_: type[T], extra: Mapping[str, str] | None = None) -> T:
    """Return the object of ``type_`` that ``body`` holds; ``extra`` are fields from elsewhere."""
    try:
        plain: Any = msgspec.json.decode(body)
        return msgspec.convert({**plain, **(extra or {})}, type_)
    except msgspec.ValidationError as error:
        raise InvalidParamsError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(str(error)) from None


def encode(value: Any) -> bytes:
    """Return the JSON of a Struct or plain value."""
    return _encode(value)
