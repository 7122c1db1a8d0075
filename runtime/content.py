"""Plain Python values as parts, and back."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, Union, get_args, get_origin

import msgspec
import msgspec.inspect

from ..protocol.types import Artifact, Part

Content = Any
"""What may stand for parts: str, bytes, Part, a list of those, or any JSON-able value."""


def parts_of(value: Content) -> list[Part]:
    """Turn a value into parts: text for str, a file for bytes, data for all else.

    Raises ``TypeError`` naming the type if it cannot be sent.
    """
    if isinstance(value, str):
        return [Part(text=value)]
    if isinstance(value, Part):
        return [_filled(value)]
    if isinstance(value, bytes | bytearray | memoryview):
        return [Part(raw=bytes(value), media_type="application/octet-stream")]
    if isinstance(value, list | tuple) and value and all(isinstance(v, Part) for v in value):
        return [_filled(part) for part in value]
    return [Part(data=json_of(value))]


def _filled(part: Part) -> Part:
    """Refuse what no client could read (section 4.1.6)."""
    filled = (part.text is not None) + (part.raw is not None) + (part.url is not None)
    if filled + (part.data is not msgspec.UNSET) != 1:
        raise TypeError(
            f"a Part has exactly one of text, raw, url and data, and this one not: {part}"
        )
    return part


def artifact_of(name: str, value: Content) -> Artifact:
    """Turn a value into an artifact: an ``Artifact`` stays what it is."""
    if isinstance(value, Artifact):
        return value
    return Artifact(artifact_id=name, name=name, parts=parts_of(value))


def json_of(value: Any) -> Any:
    """Turn a value into plain JSON values; Structs, dataclasses and pydantic models included."""
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_enc_hook)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(
            f"{type(value).__name__} cannot be sent as JSON ({error}); return text, bytes, a dict, "
            f"a list, a dataclass, a Struct, a pydantic model, a Part or an Artifact"
        ) from None


def encode(value: Any) -> bytes:
    """Encode a value as JSON; raises ``TypeError`` with advice if that cannot be done."""
    try:
        body = msgspec.json.encode(value, enc_hook=_enc_hook)
        check_numbers(body, value)
        return body
    except (TypeError, NotImplementedError, ValueError) as error:
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
            case dict() as found:
                left += found.values()
            case list() | tuple() as found:
                left += found


def _enc_hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # pydantic
    if callable(dump):
        return dump(mode="json")
    raise NotImplementedError(f"unsupported type {type(value).__qualname__}")


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
    return msgspec.json.decode(body, type=annotation, dec_hook=_dec_hook)


def is_pydantic(annotation: Any) -> bool:
    return isinstance(annotation, type) and hasattr(annotation, "model_validate_json")


def _dec_hook(annotation: Any, value: Any) -> Any:
    if is_pydantic(annotation):
        return annotation.model_validate(value)
    raise NotImplementedError(f"cannot decode into {annotation!r}")


class InvalidAnswer(ValueError):
    """An answer does not fit what was asked for. The text is shown to whoever answered."""


@lru_cache
def check_type(annotation: Any) -> None:
    """Raise ``TypeError`` if no answer could ever be read as the type: asking would never end."""
    try:
        unknown = isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.CustomType)
    except (TypeError, ValueError):
        unknown = True
    if unknown and not is_pydantic(annotation):
        raise TypeError(
            f"an answer cannot be read as {describe(annotation)}: ask for str, int, float, bool, a "
            "date, an Enum, a list, a dict, a dataclass, a Struct, a pydantic model or a Message"
        )


def answer(parts: Sequence[Part], annotation: Any) -> Any:
    """Read an answer out of a message: its data if it carries some, else its text.

    Scalars are read leniently from text (``"42"`` is an int, ``"yes"`` a bool, ISO dates dates).
    Raises ``InvalidAnswer``.
    """
    text = "\n".join(part.text for part in parts if part.text is not None)
    if annotation is str or annotation is None:
        return text
    data = next((part.data for part in parts if part.data is not msgspec.UNSET), msgspec.UNSET)
    try:
        if data is not msgspec.UNSET:
            return _convert(data, annotation)
        return _from_text(text.strip(), annotation)
    except (InvalidAnswer, NotImplementedError):  # the second is the fault of the handler
        raise
    except Exception as error:
        raise InvalidAnswer(
            f"That does not look like {describe(annotation)}: {_first_line(error)}"
        ) from None


def _convert(data: Any, annotation: Any) -> Any:
    if is_pydantic(annotation):
        return annotation.model_validate(data)
    return msgspec.convert(data, annotation, strict=False, dec_hook=_dec_hook)


_YES = frozenset({"yes", "y", "true", "1", "ok", "sure", "on"})
_NO = frozenset({"no", "n", "false", "0", "off"})


def _from_text(text: str, annotation: Any) -> Any:
    if annotation is bool:
        low = text.lower().rstrip(".!")
        if low in _YES or low in _NO:
            return low in _YES
        raise InvalidAnswer("Please answer yes or no.")
    origin = get_origin(annotation)
    if origin is Union or type(annotation).__name__ == "UnionType":
        for option in get_args(annotation):
            try:
                return _from_text(text, option)
            except Exception:
                continue
        raise InvalidAnswer(f"That does not look like {describe(annotation)}.")
    if _scalar(annotation):
        return msgspec.convert(text, annotation, strict=False)
    if is_pydantic(annotation):
        return annotation.model_validate_json(text)
    return msgspec.json.decode(text.encode(), type=annotation, strict=False, dec_hook=_dec_hook)


_SCALARS = (
    int,
    float,
    decimal.Decimal,
    uuid.UUID,
    datetime.date,
    datetime.time,
    datetime.datetime,
    datetime.timedelta,
    str,
)


def _scalar(annotation: Any) -> bool:
    if get_origin(annotation) is not None:
        return str(get_origin(annotation)).endswith("Literal'>") or "Literal" in str(annotation)
    return isinstance(annotation, type) and (
        annotation in _SCALARS or issubclass(annotation, enum.Enum)
    )


def describe(annotation: Any) -> str:
    """A few words for the type of an answer."""
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return "one of " + ", ".join(str(member.value) for member in annotation)
        names = {int: "a whole number", float: "a number", datetime.date: "a date (YYYY-MM-DD)"}
        return names.get(annotation, annotation.__name__)
    return str(annotation).replace("typing.", "")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def media_types(parts: Sequence[Part]) -> list[str]:
    """The media types of parts: as written, else what the kind of part implies.

    A file without a media type says nothing and gives none.
    """
    found: list[str] = []
    for part in parts:
        if part.media_type:
            found.append(part.media_type)
        elif part.text is not None:
            found.append("text/plain")
        elif part.data is not msgspec.UNSET:
            found.append("application/json")
    return found


def accepts(modes: Sequence[str], media_type: str) -> bool:
    """Whether a list of media types (wildcards allowed) contains one, parameters apart."""
    wanted = media_type.split(";", 1)[0].strip().lower()
    for mode in modes:
        offered = mode.split(";", 1)[0].strip().lower()
        if offered in ("*/*", "*", wanted):
            return True
        if offered.endswith("/*") and wanted.startswith(offered[:-1]):
            return True
    return False


__all__ = [
    "Content", "InvalidAnswer", "accepts", "answer", "artifact_of", "check_type", "decode",
    "describe", "encode", "is_pydantic", "json_of", "media_types", "parts_of",
]  # fmt: skip
