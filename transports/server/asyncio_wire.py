"""Connections and accepting on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import Any, cast

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext

from .connection import Address

_MOST = 64 * 1024
"""Bytes that wait to be read, beyond which the kernel keeps what comes."""


class AsyncioWire(asyncio.Protocol):
    """A transport of the event loop as a ``connection.Wire``."""

    tls: ssl.SSLObject | None = None
    alpn: str | None = None

    def __init__(self, client: Address, server: Address) -> None:
        self.client = client
        self.server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._arrived: deque[bytes] = deque()
        self._waiting = 0
        self._held = False
        """Reading is paused."""
        self._eof = False
        self._full = False
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[asyncio.Future[None]] = deque()
        self._lost: asyncio.Future[None] = self._loop.create_future()

    # --- the loop's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.tls = transport.get_extra_info("ssl_object")
        if self.tls is not None:
            self.alpn = self.tls.selected_alpn_protocol() or "http/1.1"

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._waiting += len(data)
        if self._waiting > _MOST and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        self._eof = True
        self._wake_reader()
        return self.tls is None  # half of a TLS connection cannot stay open

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._eof = True
        self._wake_reader()
        self.resume_writing()
        _wake(self._lost)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        while self._writers:
            _wake(self._writers.popleft())

    def _wake_reader(self) -> None:
        if self._reader is not None:
            _wake(self._reader)

    # --- the connection's side --------------------------------------------------------------------

    async def receive(self) -> bytes:
        while not self._arrived:
            if self._eof:
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._arrived.popleft()
        self._waiting -= len(data)
        if self._held and self._waiting <= _MOST:
            self._held = False
            if self._transport is not None:
                self._transport.resume_reading()
        return data

    async def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(data)
        if self._full:
            waiter = self._loop.create_future()
            self._writers.append(waiter)
            await waiter
            if self._transport is None:
                raise ConnectionResetError

    async def end(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        if not self._lost.done():
            await self._lost


class AsyncioBackend:
    """What differs between event loops: accepting, TLS, the tasks of a connection."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_quiet_handshakes)
        self.context = WorkerContext(None)

    def tasks(self) -> Any:
        return TaskGroup(self._loop)

    async def accept(self) -> tuple[socket.socket, Any]:
        """Wait for a connection. Raises OSError where there is none to be had."""
        return await self._loop.sock_accept(self._listener)

    async def wire(
        self,
        accepted: socket.socket,
        client: Address,
        server: Address,
        tls: ssl.SSLContext | None,
        handshake_timeout: float,
    ) -> AsyncioWire:
        """Return the wire of an accepted socket, which it owns. Raises OSError."""
        wire = AsyncioWire(client, server)
        await self._loop.connect_accepted_socket(
            lambda: wire,
            accepted,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else handshake_timeout,
        )
        return wire


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _quiet_handshakes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A peer that breaks off its TLS is no event of ours."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)
