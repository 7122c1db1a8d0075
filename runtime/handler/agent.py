"""The agent as its author writes it: ``runtime.agent.Agent`` with the contexts of its handlers."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypeVar

from ..agent import Agent as Declared
from .blocking import BlockingContext
from .context import TaskContext

Deps = TypeVar("Deps", default=Any)


class Agent(Declared[Deps, TaskContext[Deps], BlockingContext[Deps]]):
    __doc__ = Declared.__doc__


__all__ = ["Agent"]
