"""Find the agents that a command line names: ``module:attribute`` or ``file.py:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from .runtime.handler.agent import Agent

_HERE = str(Path(__file__).resolve().parent)
"""The folder of this package, to tell its frames from those of the user."""


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
    name, attribute = _split(target)
    module = _module(name)
    if not attribute:
        return _only(module, name)
    value: object = module
    for step in attribute.split("."):
        if not hasattr(value, step):
            raise LoadError(f"{name} has no attribute {attribute!r}; {_offered(module)}")
        value = getattr(value, step)
    if not isinstance(value, Agent):
        raise LoadError(
            f"{target} is a {type(value).__name__}, not an Agent: name the Agent whose handler it "
            f"is; {_offered(module)}"
        )
    try:
        value.check()
    except ValueError as error:
        raise LoadError(f"{target}: {error}") from None
    return value


def load_object(target: str) -> object:
    """Return what ``module:attribute`` names. Raises LoadError."""
    name, colon, attribute = target.partition(":")
    if not colon:
        raise LoadError(f"{target}: write module:attribute")
    value: object = _module(name)
    for step in attribute.split("."):
        if not hasattr(value, step):
            raise LoadError(f"{name} has no attribute {attribute!r}")
        value = getattr(value, step)
    return value


def _module(name: str) -> ModuleType:
    if _is_path(name):
        path = Path(name).resolve()
        if path.is_dir():
            raise LoadError(f"{name} is a folder: name a file in it ({path.name}/main.py:agent)")
        if not path.is_file():
            hint = f"; did you mean {name}.py?" if Path(f"{path}.py").is_file() else ""
            raise LoadError(f"there is no file {name} (looked for {path}){hint}")
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
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            raise _failed(str(path), error) from error
        return module
    _prefer(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise LoadError(
                f"there is no module {error.name!r}; looked in {Path.cwd()} and the environment"
            ) from None
        raise _failed(name, error) from error  # a module that the agent's own code imports
    except BaseException as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> BaseException:
    """Return what to raise for an error in the user's own module: its traceback as the user would
    have it from `python`, without a frame of ours."""
    if isinstance(error, LoadError) or not isinstance(error, Exception | SystemExit):
        return error
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    lines = traceback.TracebackException(type(error), error, trace)
    for chained in (lines, lines.__cause__, lines.__context__):
        while chained is not None and chained.stack and _is_ours(chained.stack[-1].filename):
            chained.stack.pop()
    text = "".join(lines.format()).rstrip()
    advice = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        advice = (
            f"\nInstall what has the module {top!r} beside greenroom, or, if it is your own, run "
            "greenroom in the folder where it is."
        )
    elif isinstance(error, SystemExit):
        advice = "\nDo not exit where the module is loaded."
    return LoadError(f"{name} cannot be loaded:\n{text}{advice}")


def _is_ours(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", _HERE, importlib.__file__))


def source_folders(targets: Iterable[str]) -> list[Path]:
    """Return the folders in which the sources of ``targets`` are, without loading them; nothing
    for installed packages and for what is not there."""
    _prefer(str(Path.cwd()))
    folders: list[Path] = []
    for target in targets:
        name = _split(target)[0]
        if _is_path(name):
            folders.append(Path(name).resolve().parent)
            continue
        try:
            spec = importlib.util.find_spec(name.partition(".")[0])
        except (ImportError, ValueError):
            continue
        places = [] if spec is None else list(spec.submodule_search_locations or ())
        if spec is not None and not places and spec.origin:
            places = [str(Path(spec.origin).parent)]
        folders += [Path(place) for place in places if "site-packages" not in place]
    return folders


def _split(target: str) -> tuple[str, str]:
    """Return the module or file of a target, and the attribute."""
    name, _, attribute = target.partition(":")
    if name[1:2] == ":" and "\\" in attribute:  # a Windows drive
        drive, _, rest = target.rpartition(":")
        name, attribute = (drive, rest) if len(drive) > 1 else (target, "")
    return name, attribute


def _is_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name or "\\" in name


def _prefer(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _offered(module: ModuleType) -> str:
    agents = ", ".join(_agents(module))
    return f"its agents are: {agents}" if agents else "it has no agents: make one (Agent('Name'))"


def _agents(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, Agent)]


def _only(module: ModuleType, name: str) -> Agent:
    names = _agents(module)
    if len(names) != 1:
        offered = ", ".join(f"{name}:{attribute}" for attribute in names) or _offered(module)
        raise LoadError(f"say which agent of {name} to serve: {offered}")
    return load_agent(f"{name}:{names[0]}")
