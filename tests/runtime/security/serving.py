"""A server that knows its callers, for all that is asked of schemes, policies and limits."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from greenroom import Agent
from greenroom.auth import Security
from greenroom.runtime.settings.settings import RuntimeSettings
from tests.support.agents import desk
from tests.support.servers import OnSockets, on_sockets


def serving(
    security: Security, *agents: Agent, runtime: RuntimeSettings | None = None, **options: Any
) -> AbstractAsyncContextManager[OnSockets]:
    """``on_sockets`` with ``security``, and with the desk where no agents are given."""
    return on_sockets(*(agents or (desk(),)), security=security, settings=runtime, **options)
