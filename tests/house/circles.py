"""Circles of files: modules that, by whatever way, import each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .source import Module, imports


def arrows(modules: Sequence[Module]) -> dict[str, set[str]]:
    """The path of each module to the paths of those that it imports."""
    paths = {module.name: module.path for module in modules}
    value: dict[str, set[str]] = {module.path: set() for module in modules}
    for module in modules:
        for one in imports(module):
            target = paths.get(f"{one.module}.{one.name}") or paths.get(one.module)
            if target and target != module.path:
                value[module.path].add(target)
    return value


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node, each in order (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    collected: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in on_stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component: list[str] = []
            while not component or component[-1] != node:
                component.append(stack.pop())
                on_stack.discard(component[-1])
            if len(component) > 1:
                collected.append(sorted(component))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return sorted(collected)


def chain(circle: Sequence[str], arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """A shortest way from the first file of a circle back to itself, to print."""
    members, start = set(circle), circle[0]
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for target in sorted(set(arrows[way[-1]]) & members):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    raise ValueError(f"{start} is in no circle")
