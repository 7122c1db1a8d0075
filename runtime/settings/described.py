"""What the fields of a Struct mean: the text below each, or its ``Meta(description=…)``."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

S = TypeVar("S", bound=Struct)


def meanings(kind: type[Struct]) -> dict[str, str]:
    """Return the meaning of each field, in the order of declaration; empty where nobody told."""
    found = dict.fromkeys(kind.__struct_fields__, "")
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for meta in get_args(hint):
            if isinstance(meta, msgspec.Meta) and meta.description and name in found:
                found[name] = meta.description
    return found | _below(kind)


def described(kind: type[S]) -> type[S]:
    """Let ``help`` tell what the fields of ``kind`` mean."""
    told = "\n".join(
        textwrap.fill(f"{name}: {text}", 88, subsequent_indent="    ")
        for name, text in _below(kind).items()
    )
    kind.__doc__ = f"{inspect.cleandoc(kind.__doc__ or '')}\n\n{told}"
    return kind


def _below(kind: type[Struct]) -> dict[str, str]:
    """The texts below the fields. Python keeps them nowhere but in the source."""
    try:
        source = Path(sys.modules[kind.__module__].__file__ or "").read_text(encoding="utf-8")
    except OSError:  # installed without it
        return {}
    definition = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    found = {}
    for statement, below in pairwise(definition.body):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found
