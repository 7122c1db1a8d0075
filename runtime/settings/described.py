"""What the fields of a Struct mean: ``Meta(description=...)`` in the annotation of each field."""

from __future__ import annotations

import inspect
import textwrap
from typing import TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

S = TypeVar("S", bound=Struct)


def meanings(kind: type[Struct]) -> dict[str, str]:
    """Return the meaning of each field, in the order of declaration; empty without a description.

    The outermost description counts, where a type that is used has one too.
    """
    hints = get_type_hints(kind, include_extras=True)
    return {name: _meaning(hints[name]) for name in kind.__struct_fields__}


def described(kind: type[S]) -> type[S]:
    """Let ``help`` tell what the fields of ``kind`` mean."""
    text = "\n".join(
        textwrap.fill(f"{name}: {meaning}", 88, subsequent_indent="    ")
        for name, meaning in meanings(kind).items()
    )
    kind.__doc__ = f"{inspect.cleandoc(kind.__doc__ or '')}\n\n{text}"
    return kind


def _meaning(hint: object) -> str:
    for meta in reversed(get_args(hint)):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return ""
