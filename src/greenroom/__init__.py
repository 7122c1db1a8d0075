"""Greenroom: one async function becomes an A2A server.

``Agent`` and ``TaskContext`` are what you write with (steps also with ``step_info``, ``Retry`` and
``StepFailed``), ``serve`` and ``asgi`` what you run;
``greenroom.testing`` serves an agent to your tests without a socket.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING
from warnings import warn as _warn

from .app import asgi, open_store, serve
from .loading import LoadError
from .protocol.errors import A2AError
from .protocol.types import AgentCard, Artifact, Message, Part, Role, Task, TaskState, TaskStatus
from .protocol.types import AgentSkill as Skill
from .runtime.actor.cancellation import Reason, StepFailed, TaskCancelled, TaskRejected
from .runtime.actor.states import IllegalTransition
from .runtime.call import Principal, TaskScope
from .runtime.contexts.contexts import NotOverError
from .runtime.contexts.events import ContextEvent
from .runtime.durable.steps import Retry, StepInfo, step_info
from .runtime.handler.agent import Agent
from .runtime.handler.blocking import BlockingContext
from .runtime.handler.context import TaskContext
from .runtime.handler.outcome import InputRequired
from .runtime.journal.store import StoreError
from .runtime.runtime import Runtime
from .runtime.settings.settings import RuntimeSettings
from .settings.settings import Settings, SettingsError
from .transports.errors import ServerError

if TYPE_CHECKING:
    from .client import BlockingClient, Client
    from .stores.memory import MemoryStore
    from .stores.sqlite import SQLiteStore

__all__ = [
    "A2AError",
    "Agent",
    "AgentCard",
    "Artifact",
    "BlockingClient",
    "BlockingContext",
    "Client",
    "ContextEvent",
    "IllegalTransition",
    "InputRequired",
    "LoadError",
    "MemoryStore",
    "Message",
    "NotOverError",
    "Part",
    "Principal",
    "Reason",
    "Retry",
    "Role",
    "Runtime",
    "RuntimeSettings",
    "SQLiteStore",
    "ServerError",
    "Settings",
    "SettingsError",
    "Skill",
    "StepFailed",
    "StepInfo",
    "StoreError",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskRejected",
    "TaskScope",
    "TaskState",
    "TaskStatus",
    "asgi",
    "open_store",
    "serve",
    "step_info",
]

__version__ = _version("greenroom")

_LAZY = {
    "BlockingClient": "client",
    "Client": "client",
    "MemoryStore": "stores.memory",
    "SQLiteStore": "stores.sqlite",
}


def __getattr__(name: str) -> object:
    """Import a store with its driver, or the client, when it is first asked for."""
    if name == "Rejected":
        _warn(
            "greenroom.Rejected has a new name: import TaskRejected",
            DeprecationWarning,
            stacklevel=2,
        )
        return TaskRejected
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
