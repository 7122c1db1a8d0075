"""The accept loop, and the end of all connections, on asyncio, uvloop and trio.

Why the accept loop is ours. hypercorn's loop cannot leave a client that stopped reading: it cancels
the connection, but closes it only when the client has taken what is buffered. When no file
descriptor is left, the servers of the event loops write floods of tracebacks (asyncio) or nothing
(uvloop). This loop accepts one connection after the other on every event loop, and it knows
every connection that is open.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import anyio
import anyio.lowlevel
import sniffio
from anyio.abc import TaskGroup
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.typing import ConnectionState, LifespanState

from ..caller.certificates import state_of
from .connection import Address, Connection, Wire
from .connections import Connections

log = logging.getLogger("greenroom.server")

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

ABORT_GRACE = 1.0
"""What an aborted connection's coroutines get to notice, in seconds."""
IN_A_ROW = 64
"""Connections accepted before others have their turn on the event loop."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY = 0.1  # seconds until the next try when descriptors have run out


class Backend(Protocol):
    """An event loop: see ``asyncio_wire`` and ``trio_wire``."""

    context: Any

    def tasks(self) -> Any: ...

    async def accept(self) -> tuple[Any, Any]: ...

    async def wire(
        self,
        accepted: Any,
        client: Address,
        server: Address,
        tls: ssl.SSLContext | None,
        handshake_timeout: float,
    ) -> Wire: ...


class Listener:
    """Serves ``app`` on the connections of one listening socket."""

    def __init__(
        self,
        app: App,
        config: Config,
        listening: socket.socket,
        connections: Connections,
        write_timeout: float,
    ) -> None:
        """``write_timeout``: how long a peer of HTTP/2 may take nothing, in seconds."""
        self._app = ASGIWrapper(app)  # type: ignore[arg-type]  # its scopes are TypedDicts
        self._config = config
        self._tls = config.create_ssl_context()
        self._connections = connections
        self._write_timeout = write_timeout
        self._backend = _backend(listening)
        self._logged: dict[str, float] = {}

    async def run(self, closed: anyio.Event, grace: float) -> None:
        """Accept until ``closed``; then give connections ``grace`` seconds to finish writing."""
        connections = self._connections
        async with anyio.create_task_group() as serving:
            try:
                async with anyio.create_task_group() as accepting:
                    accepting.start_soon(self._accept, serving)
                    accepting.start_soon(self._look)
                    await closed.wait()
                    accepting.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._backend.context.terminated.set()
                    connections.close_idle()
                    with anyio.move_on_after(grace):
                        await connections.emptied()
                    connections.abort()
                    with anyio.move_on_after(ABORT_GRACE):
                        await connections.emptied()
                serving.cancel_scope.cancel()

    async def _look(self) -> None:
        interval = min(1.0, self._config.keep_alive_timeout / 2, self._write_timeout / 2)
        while True:
            await anyio.sleep(interval)
            self._connections.look()

    async def _accept(self, serving: TaskGroup) -> None:
        in_a_row = 0
        while True:
            try:
                accepted, address = await self._backend.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    await self._exhausted(error)
                continue  # else the peer has gone already
            host = address[0] if isinstance(address, tuple) else "unix"
            if self._connections.enter(host):
                serving.start_soon(self._serve, accepted, address, host)
            else:
                self._say("too many connections: one of %s was refused", host)
                accepted.close()
            in_a_row += 1
            if in_a_row % IN_A_ROW == 0:
                await anyio.lowlevel.checkpoint()

    async def _exhausted(self, error: OSError) -> None:
        """Take the place of an idle connection, or wait a little; those that are open go on."""
        displaced = self._connections.displace()
        self._say(
            "cannot accept connections: %s; raise the limit of open files, or lower "
            "max_connections",
            error.strerror,
        )
        await anyio.sleep(0 if displaced else _RETRY)

    def _say(self, text: str, value: object) -> None:
        """Log a warning, at most once a second."""
        now = time.monotonic()
        if now - self._logged.get(text, -1.0) >= 1.0:
            self._logged[text] = now
            log.warning(text, value, extra={"event": "connections"})

    async def _serve(self, accepted: Any, address: Any, host: str) -> None:
        backend, config = self._backend, self._config
        try:
            try:
                server = accepted.getsockname()
                wire = await backend.wire(
                    accepted, _address(address), _address(server), self._tls,
                    config.ssl_handshake_timeout,
                )  # fmt: skip
            except (OSError, EOFError, ValueError):  # ValueError: the socket is closed already
                accepted.close()
                return
            state = ConnectionState(LifespanState(state_of(wire.tls)))
            connection = Connection(
                wire, self._app, config, backend.context, backend.tasks(), state,
                self._connections, self._write_timeout,
            )  # fmt: skip
            await connection.run()
        finally:
            self._connections.leave(host)


def _backend(listening: socket.socket) -> Backend:
    if sniffio.current_async_library() == "trio":
        from .trio_wire import TrioBackend

        return TrioBackend(listening)
    from .asyncio_wire import AsyncioBackend

    return AsyncioBackend(listening)


def _address(address: Any) -> Address:
    return (address[0], address[1]) if isinstance(address, tuple) else None
