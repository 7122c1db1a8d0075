"""The production modules as syntax trees, with what each of them imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

FOLDERS = {
    "src/greenroom": "greenroom",
    "protocol": "greenroom.protocol",
    "runtime": "greenroom.runtime",
    "stores": "greenroom.stores",
    "transports": "greenroom.transports",
}
GENERATED = "transports/grpc/_pb/"


class Module(NamedTuple):
    """One file: ``path`` from the checkout on; relative imports begin at ``package``."""

    path: str
    name: str
    package: str
    tree: ast.Module


class Import(NamedTuple):
    """One imported name. ``function`` is where; ``checking`` says it is for type checkers only."""

    module: str
    name: str | None
    """What ``from module import name`` names; None for ``import module``."""
    line: int
    function: str | None
    checking: bool


def modules(root: Path = ROOT, folders: Mapping[str, str] = FOLDERS) -> list[Module]:
    """Every production module but generated ones."""
    collected = []
    for folder, package in folders.items():
        for path in sorted((root / folder).rglob("*.py")):
            inside = path.relative_to(root / folder)
            if _linked(root / folder, inside):
                continue  # the links to the other folders in src/greenroom
            relative = f"{folder}/{inside.as_posix()}"
            if relative.startswith(GENERATED):
                continue
            parts = [*package.split("."), *inside.with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            if is_package:
                parts.pop()
            name = ".".join(parts)
            own = name if is_package else name.rpartition(".")[0]
            collected.append(Module(relative, name, own, ast.parse(path.read_text(), relative)))
    return collected


def _linked(folder: Path, inside: Path) -> bool:
    return any((folder / parent).is_symlink() for parent in inside.parents)


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module: at its top, in functions, and under ``TYPE_CHECKING``."""
    yield from _imports(module, module.tree, None, False)


def _imports(
    module: Module, node: ast.AST, function: str | None, checking: bool
) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, None, node.lineno, function, checking)
    elif isinstance(node, ast.ImportFrom):
        target = _absolute(module, node)
        for alias in node.names:
            yield Import(target, alias.name, node.lineno, function, checking)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.body:
            yield from _imports(module, statement, function, True)
        for statement in node.orelse:
            yield from _imports(module, statement, function, checking)
    else:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        for child in ast.iter_child_nodes(node):
            yield from _imports(module, child, function, checking)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)
