"""The settings of the bundled entrypoint, each with its default."""

from __future__ import annotations

from msgspec import Struct

from ..settings import Listen


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Where to listen, how many connections to take, and how to stop. Times are in seconds."""

    listen: Listen = Listen()
    http2: bool = False
    keep_alive: float = 75.0
    grace: float = 10.0
    deadline: float = 20.0
    write_timeout: float = 60.0
    """A client that takes nothing for this long is disconnected (over TCP where the kernel can do
    so: Linux)."""
    tune_gc: bool = True
    backlog: int = 2048
    max_connections: int = 10_000
    """Open connections; fewer where the limit of open files asks for it."""
    max_connections_per_address: int = 5_000
    """Open connections of one address; at most half of what the limit of open files leaves."""
