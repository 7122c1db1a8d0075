"""Connections and accepting on trio."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext

from .connection import Address

_MOST = 64 * 1024
"""Bytes that are read at once."""


class TrioWire:
    """A stream of trio as a ``connection.Wire``."""

    def __init__(
        self,
        sock: trio.SocketStream,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        client: Address,
        server: Address,
    ) -> None:
        self.client = client
        self.server = server
        self.tls: Any = stream if isinstance(stream, trio.SSLStream) else None
        self.alpn = None
        if isinstance(stream, trio.SSLStream):
            self.alpn = stream.selected_alpn_protocol() or "http/1.1"
        self._socket = sock
        self._stream = stream
        self._sending = trio.Lock()

    async def receive(self) -> bytes:
        with _as_os_error():
            return bytes(await self._stream.receive_some(_MOST))

    async def send(self, data: bytes) -> None:
        # Half of a message cannot be taken back: a cancellation waits until the peer took it or the
        # connection is over.
        with _as_os_error(), trio.CancelScope(shield=True):
            async with self._sending:
                await self._stream.send_all(data)

    async def end(self) -> None:
        if isinstance(self._stream, trio.SSLStream):
            self.close()
            return
        with _as_os_error(), trio.CancelScope(shield=True):
            async with self._sending:
                await self._stream.send_eof()

    def close(self) -> None:
        self._socket.socket.close()

    def abort(self) -> None:
        self._socket.socket.close()

    async def closed(self) -> None:
        """Nothing is buffered here: the socket is closed already."""


class TrioBackend:
    """What differs between event loops: accepting, TLS, the tasks of a connection."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = trio.socket.from_stdlib_socket(listener)
        self.context = WorkerContext(None)

    def tasks(self) -> Any:
        return TaskGroup()

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        """Wait for a connection. Raises OSError where there is none to be had."""
        with _as_os_error():
            return await self._listener.accept()

    async def wire(
        self,
        accepted: trio.socket.SocketType,
        client: Address,
        server: Address,
        tls: ssl.SSLContext | None,
        handshake_timeout: float,
    ) -> TrioWire:
        """Return the wire of an accepted socket, which it owns. Raises OSError."""
        sock = trio.SocketStream(accepted)
        if tls is None:
            return TrioWire(sock, sock, client, server)
        stream = trio.SSLStream(sock, tls, server_side=True, https_compatible=True)
        with _as_os_error(), trio.fail_after(handshake_timeout):
            await stream.do_handshake()
        return TrioWire(sock, stream, client, server)


@contextmanager
def _as_os_error() -> Generator[None, None, None]:
    try:
        yield
    except (
        trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError,
        trio.TooSlowError,
    ) as error:  # fmt: skip
        raise ConnectionResetError(str(error)) from None
