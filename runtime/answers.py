"""Answers to questions: read out of a message, as the type that the handler asked for."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Union, cast, get_args, get_origin

import msgspec
import msgspec.inspect

from ..protocol.types import Part
from .content import decode_hook, is_pydantic

_FAULTS = 10
"""Faults of one answer that its sender is told."""


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
            f"That does not look like {describe(annotation)}: {_reason(error)}"
        ) from None


def _convert(data: Any, annotation: Any) -> Any:
    if is_pydantic(annotation):
        return annotation.model_validate(data)
    return msgspec.convert(data, annotation, strict=False, dec_hook=decode_hook)


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
    return msgspec.json.decode(text.encode(), type=annotation, strict=False, dec_hook=decode_hook)


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


def _reason(error: Exception) -> str:
    """What is wrong with an answer, on one line: of pydantic every fault with its place."""
    faults: Any = getattr(error, "errors", None)
    if callable(faults):
        listed = cast("Sequence[Mapping[str, Any]]", faults())
        told = [_fault(fault) for fault in listed[:_FAULTS]]
        if len(listed) > _FAULTS:
            told.append(f"and {len(listed) - _FAULTS} more")
        if told:
            return "; ".join(told)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _fault(fault: Mapping[str, Any]) -> str:
    place = ".".join(map(str, fault.get("loc", ())))
    return f"{place}: {fault.get('msg')}" if place else str(fault.get("msg"))


__all__ = ["InvalidAnswer", "answer", "check_type", "describe"]
