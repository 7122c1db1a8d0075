"""Find the agents that a command line names: ``module:attribute`` or ``file.py:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .runtime.agent import Agent


class LoadError(Exception):
    """A name on the command line does not lead to an agent; the message says where it ends."""


def load_agents(targets: tuple[str, ...]) -> tuple[Agent, ...]:
    """Return the agents that ``targets`` name, in order. Raises LoadError."""
    if not targets:
        raise LoadError("name an agent to serve: greenroom serve module:agent (or file.py:agent)")
    agents = tuple(load_agent(target) for target in targets)
    slugs = [agent.slug for agent in agents]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise LoadError(f"two agents have the slug {slug!r}: give one Agent(..., slug=...)")
    return agents


def load_agent(target: str) -> Agent:
    """Return the agent ``target`` names; without ``:attribute`` the only agent of the module."""
    name, _, attribute = target.partition(":")
    if name[1:2] == ":" and "\\" in attribute:  # a Windows drive
        drive, _, rest = target.rpartition(":")
        name, attribute = (drive, rest) if len(drive) > 1 else (target, "")
    module = _module(name)
    if not attribute:
        return _only(module, name)
    found: object = module
    for step in attribute.split("."):
        if not hasattr(found, step):
            offered = ", ".join(_agents(module)) or "none at all"
            raise LoadError(f"{name} has no attribute {attribute!r}; its agents are: {offered}")
        found = getattr(found, step)
    if not isinstance(found, Agent):
        raise LoadError(f"{target} is a {type(found).__name__}, not an Agent")
    try:
        found.check()
    except ValueError as error:
        raise LoadError(f"{target}: {error}") from None
    return found


def load_object(target: str) -> object:
    """Return what ``module:attribute`` names. Raises LoadError."""
    name, colon, attribute = target.partition(":")
    if not colon:
        raise LoadError(f"{target}: write module:attribute")
    found: object = _module(name)
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise LoadError(f"{name} has no attribute {attribute!r}")
        found = getattr(found, step)
    return found


def _module(name: str) -> ModuleType:
    if name.endswith(".py") or "/" in name or "\\" in name:
        path = Path(name).resolve()
        if not path.is_file():
            raise LoadError(f"there is no file {name}")
        # Its neighbours are importable, as with `python file.py`.
        _prefer(str(path.parent))
        name = path.stem
        loaded = sys.modules.get(name)
        if loaded is not None and getattr(loaded, "__file__", None) == str(path):
            return loaded
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    _prefer(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise LoadError(
                f"there is no module {error.name!r}; looked in {Path.cwd()} and the environment"
            ) from None
        raise  # a module that the agent's own code imports: its traceback helps most


def _prefer(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _agents(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, Agent)]


def _only(module: ModuleType, name: str) -> Agent:
    found = _agents(module)
    if len(found) != 1:
        offered = ", ".join(f"{name}:{attribute}" for attribute in found) or "it has no agents"
        raise LoadError(f"say which agent of {name} to serve: {offered}")
    return load_agent(f"{name}:{found[0]}")
