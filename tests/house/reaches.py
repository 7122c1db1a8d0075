"""Reaches into private attributes of other objects, and imports that are not at the top."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Container, Iterator

from .source import Module, imports

PUBLIC = {"_asdict", "_fields", "_make", "_replace"}
"""Methods of named tuples: the underscore keeps them apart from fields."""


def private_reaches(module: Module) -> Counter[str]:
    """``path: x._y`` to how often; ``x`` is not ``self``, ``cls``, ``super()`` or of this module.

    ``getattr(x, "_y")`` counts as ``x._y``.
    """
    own = {
        node.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return Counter(
        f"{module.path}: {ast.unparse(value)}.{name}"
        for value, name in _attributes(module.tree)
        if _is_private(name) and not _is_own(value, own)
    )


def _attributes(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=name):
                yield value, name
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[value, ast.Constant(value=str(name)), *_],
            ):
                yield value, name


def _is_private(name: str) -> bool:
    dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not dunder and name not in PUBLIC


def _is_own(value: ast.expr, own: set[str]) -> bool:
    match value:
        case ast.Name(id="self" | "cls"):
            return True
        case ast.Name(id=name):
            return name in own
        case ast.Call(func=ast.Name(id="super" | "type")):
            return True
        case ast.Attribute(value=ast.Name(id="self"), attr="__class__"):
            return True
    return False


def lazy_imports(module: Module, optional: Container[str] = ()) -> Counter[str]:
    """``path: module`` to how often it is imported in functions or under ``TYPE_CHECKING``.

    The packages named in ``optional`` do not count: an extra installs them.
    """
    return Counter(
        f"{module.path}: {one.module}"
        for one in imports(module)
        if one.checking or one.function is not None
        if one.module.partition(".")[0] not in optional
    )
