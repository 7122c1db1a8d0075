"""What a value in the settings may be, checked wherever the settings were made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1)]
Size = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]

S = TypeVar("S", bound=Struct)
_SCOPE = re.compile(r"[!#-\[\]-~]+")


def checked(settings: S) -> S:
    """Return ``settings``; raises ValueError, which names the one that is out of bounds.

    Structs check what they are decoded from, not what a program makes them of.
    """
    kind = type(settings)
    try:
        return msgspec.convert(msgspec.to_builtins(settings), kind)
    except msgspec.ValidationError as error:
        detail = re.sub(r" - at `\$\.?([\w.]*).*`", r" for \1", str(error))
        raise ValueError(f"{kind.__name__}: {detail}") from None


def seconds(value: float, what: str, instead: str = "") -> float:
    """Return ``value`` if ``what`` can take it as a number of seconds.

    Raises TypeError or ValueError; ``instead`` is what to do who means for ever.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} takes a number of seconds, not {value!r}")
    try:
        if isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(
        f"{what} takes a finite number of seconds, not {value!r}"[:200]
        + (f": {instead}" if instead else "")
    )


def check_scopes(scopes: Iterable[str], where: str) -> None:
    """Raise ValueError for scopes that no token could name (RFC 6749 section 3.3)."""
    if isinstance(scopes, str):
        raise ValueError(f"{where}: give a list of scopes, not the text {scopes!r}")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise ValueError(
                f"{where}: {scope!r} is no scope; one is of visible ASCII characters, without "
                "spaces, quotes and backslashes (RFC 6749 section 3.3)"
            )
