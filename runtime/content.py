"""Plain Python values as parts, and back."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from math import isfinite
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from ..protocol.types import Artifact, Part, Wire
from ..protocol.values import MAX_DEPTH, cut_half, mend, mend_all, unfit

Content = Any
"""What may stand for parts: str, bytes, Part, a list of those, or any JSON-able value."""


def parts_of(value: Content) -> list[Part]:
    """Turn a value into parts: text for str, a file for bytes, data for all else.

    Raises ``TypeError`` naming the type if it cannot be sent.
    """
    if isinstance(value, str):
        return [Part(text=str.__str__(value))]
    if isinstance(value, Part):
        return [_filled(value)]
    if isinstance(value, bytes | bytearray | memoryview):
        return [Part(raw=bytes(value), media_type="application/octet-stream")]
    if isinstance(value, list | tuple) and value and all(isinstance(v, Part) for v in value):
        return [_filled(part) for part in value]
    return [Part(data=json_of(value))]


class Halves:
    """Joins the text of chunks where one ends inside a character that the next one goes on with.

    A model's API that counts in UTF-16 may cut a character in two (``protocol.values.mend``).
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def join(self, chunk: list[Part]) -> list[Part]:
        """Return ``chunk`` with the half that was held back; hold back a half at its end. Empty:
        the chunk was that half."""
        first = chunk[0]
        if not self._half and len(chunk) == 1 and (text := first.text) and text.isascii():
            return chunk
        if self._half:
            if first.text is None:
                chunk = [Part(text=self._half), *chunk]
            else:
                chunk = [replace(first, text=self._half + first.text), *chunk[1:]]
            self._half = ""
        last = chunk[-1]
        if last.text:
            text, self._half = cut_half(last.text)
            if self._half:
                chunk = [*chunk[:-1], replace(last, text=text)] if text else chunk[:-1]
        return [_mended(part) for part in chunk]

    def rest(self) -> list[Part]:
        """Return what stands for a half that nothing came to complete; empty without one."""
        half, self._half = self._half, ""
        return [Part(text=mend(half))] if half else []


def _mended(part: Part) -> Part:
    text = part.text
    if text is None or (fixed := mend(text)) is text:
        return part
    return replace(part, text=fixed)


def _filled(part: Part) -> Part:
    """Refuse what no client could read (section 4.1.6)."""
    filled = (part.text is not None) + (part.raw is not None) + (part.url is not None)
    if filled + (part.data is not msgspec.UNSET) != 1:
        raise TypeError(
            f"a Part has exactly one of text, raw, url and data, and this one not: {part}"
        )
    if part.data is msgspec.UNSET and part.metadata is None:
        return part
    data = part.data if part.data is msgspec.UNSET else json_of(part.data)
    return replace(part, data=data, metadata=json_of(part.metadata))


def artifact_of(name: str, value: Content) -> Artifact:
    """Turn a value into an artifact: an ``Artifact`` stays what it is."""
    if isinstance(value, Artifact):
        return whole(value)
    return Artifact(artifact_id=name, name=name, parts=parts_of(value))


def whole(artifact: Artifact) -> Artifact:
    """Return the artifact that a handler made; raise TypeError for one that is none (4.1.7)."""
    if not artifact.artifact_id:
        raise TypeError("an Artifact has an artifact_id that is not empty")
    if not artifact.parts:
        raise TypeError("an Artifact has at least one part, as in parts=[Part(text=...)]")
    return replace(
        artifact,
        artifact_id=mend(artifact.artifact_id),
        parts=[_filled(part) for part in artifact.parts],
    )


T = TypeVar("T", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode


def fit(value: T) -> tuple[T, bytes]:
    """Return what an agent says as every binding can say it, and its JSON.

    Text is mended (``protocol.values.mend``); values in data and metadata become the plain JSON
    that they are written as. Raises TypeError, which says what to do, for what no binding or not
    every binding can hold.
    """
    try:
        body = _encode(value)
    except (TypeError, NotImplementedError, UnicodeEncodeError, RecursionError):
        value = _plain(value)
        body = _encode(value)
    if b'"data":' in body or b'"metadata":' in body:
        check_numbers(body, value)
        value = msgspec.json.decode(body, type=type(value))
        check_values(value)
    return value, body


def _plain(value: T) -> T:
    try:
        builtin = msgspec.to_builtins(value, str_keys=True, enc_hook=_enc_hook)
        return msgspec.convert(mend_all(builtin), type(value))
    except RecursionError:
        raise TypeError(f"what an agent says {_DEEP}") from None
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"{error}; {_ADVICE}") from None


def check_values(value: Any) -> None:
    """Raise TypeError for JSON of the user that not every binding can hold: in the data of parts
    and in the metadata of everything, however deep in ``value``, a Struct of the protocol."""
    if isinstance(value, list):
        for item in value:
            check_values(item)
    elif isinstance(value, Wire):
        for name in value.__struct_fields__:
            inner = getattr(value, name)
            if name not in ("data", "metadata"):
                check_values(inner)
            elif inner is not msgspec.UNSET and (wrong := unfit(inner)) is not None:
                raise TypeError(f"{name} of {type(value).__name__} {wrong}")


def json_of(value: Any) -> Any:
    """Return a value as plain JSON, as the journal gives it back; dataclasses, Structs, pydantic
    models and what numpy holds included.

    Raises TypeError for what is no JSON, or what not every binding could hold.
    """
    why: object
    decoded = None
    try:
        body = _json(value)
        check_numbers(body, value)
        decoded = msgspec.json.decode(body)
        why = unfit(decoded)
    except RecursionError:
        why = _DEEP
    except (TypeError, NotImplementedError, ValueError) as error:
        why = error
    if why is None:
        return decoded
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(
            f"{value.__qualname__}(...) is a coroutine and no value yet: write `await` before it"
        )
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON ({why}); {_ADVICE}")


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_enc_hook)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_enc_hook)
        return _encode(mend_all(plain))


_DEEP = f"has more than {MAX_DEPTH} arrays and objects in one another, or contains itself"
_ADVICE = (
    "return text, bytes, a dict, a list, a dataclass, a Struct, a pydantic model, a Part or an "
    "Artifact, or turn the value into one of these"
)


def encode(value: Any) -> bytes:
    """Encode a value as JSON; raises ``TypeError`` with advice if that cannot be done."""
    try:
        body = _json(value)
        check_numbers(body, value)
        return body
    except (TypeError, NotImplementedError, ValueError, RecursionError) as error:
        raise TypeError(
            f"{type(value).__name__} cannot be kept in the journal ({error}); a step must return "
            f"JSON-able values: text, numbers, dicts, lists, dataclasses, Structs, pydantic models"
        ) from None


def check_numbers(body: bytes, value: Any) -> None:
    """Raise TypeError if ``body``, the JSON of ``value``, does not hold all its numbers: NaN and
    infinity are no JSON, and the encoder writes null for them."""
    if b"null" not in body:
        return
    left = [msgspec.to_builtins(value, str_keys=True, enc_hook=_enc_hook)]
    while left:
        match left.pop():
            case float() as number if not isfinite(number):
                raise TypeError("NaN and infinity cannot be written as JSON")
            case dict() as children:
                left += children.values()
            case list() | tuple() as children:
                left += children


def _enc_hook(value: Any) -> Any:
    """Return what the encoder takes instead of ``value``: of subclasses the value itself, of the
    collections of the standard library and of numpy's arrays and scalars what they hold."""
    for exact, of in _EXACT:
        if isinstance(value, exact):
            return of(value)
    if isinstance(value, type):
        raise NotImplementedError(f"the class {value.__qualname__} is no value")
    if callable(dump := getattr(value, "model_dump", None)):  # pydantic
        return dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | Set | deque):
        return list(value)
    if callable(unpack := getattr(value, "tolist", None)):  # numpy and its like
        return unpack()
    raise NotImplementedError(f"unsupported type {type(value).__qualname__}")


_EXACT: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
    (bytes, bytes.__bytes__),
    (bytearray, bytes),
)


def decode(body: bytes, annotation: Any) -> Any:
    """Decode JSON into the type an annotation names; ``Any`` or nothing gives plain values.

    Raises ``ValueError`` (or a subclass) when the data does not fit.
    """
    if annotation is None or annotation is Any or annotation is Ellipsis:
        return msgspec.json.decode(body)
    if annotation is type(None):
        return None
    if is_pydantic(annotation):
        return annotation.model_validate_json(body)
    return msgspec.json.decode(body, type=annotation, dec_hook=decode_hook)


def is_pydantic(annotation: Any) -> bool:
    return isinstance(annotation, type) and hasattr(annotation, "model_validate_json")


def decode_hook(annotation: Any, value: Any) -> Any:
    if is_pydantic(annotation):
        return annotation.model_validate(value)
    raise NotImplementedError(f"cannot decode into {annotation!r}")


__all__ = [
    "Content", "Halves", "artifact_of", "decode", "decode_hook", "encode", "fit", "is_pydantic",
    "json_of", "parts_of", "whole",
]  # fmt: skip
