"""What a number in the settings may be, checked wherever the settings were made."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1)]
Size = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]

S = TypeVar("S", bound=Struct)


def checked(settings: S) -> S:
    """Return ``settings``; raises ValueError, which names the one that is out of bounds.

    Structs check what they are decoded from, not what a program makes them of.
    """
    kind = type(settings)
    try:
        return msgspec.convert(msgspec.to_builtins(settings), kind)
    except msgspec.ValidationError as error:
        told = re.sub(r" - at `\$\.?([\w.]*).*`", r" for \1", str(error))
        raise ValueError(f"{kind.__name__}: {told}") from None
