"""One accepted connection, on any event loop: bytes of a wire in and out of hypercorn's protocols.

This takes the place of hypercorn's ``TCPServer``, which cannot do what must hold here:

- What an exception of the protocol ends is this connection, with one line in the log.
- When the peer has said all (EOF), the connection closes as soon as nothing is being answered; a
  request that is being answered is answered first.
- An idle connection costs no task and no timer: ``Connections`` looks at all of them.
- A connection that this side ends stays for a moment and drops what still comes, or the reset
  would overtake the last answer on its way to the peer (RFC 9112 section 9.6).
- When it is over, nothing refers to it any more: there is no cycle for the collector to find.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from typing import Protocol

from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext

from ...runtime.security.rate_limits import network_of
from .connections import Connections
from .http1 import Http1
from .http2 import Http2

log = logging.getLogger("greenroom.server")

LINGER = 2.0
"""How long a connection that this side ended still takes, and drops, what comes; seconds."""
LINGER_BYTES = 64 * 1024 * 1024
"""And how much of it."""

Address = tuple[str, int] | None
"""Host and port; ``None``: a Unix socket."""


class Wire(Protocol):
    """The bytes of one connection, TLS taken off. Its errors are OSErrors."""

    tls: ssl.SSLObject | None
    client: Address
    server: Address
    alpn: str | None

    async def receive(self) -> bytes:
        """Return the next bytes; empty when the peer has said all."""
        ...

    async def send(self, data: bytes) -> None:
        """Write, and wait while the peer takes nothing."""

    async def end(self) -> None:
        """Tell the peer that nothing more comes; where that is impossible (TLS), close."""

    def close(self) -> None:
        """Close when what was written is out. Never waits."""

    def abort(self) -> None:
        """Close at once. Never waits."""

    async def closed(self) -> None:
        """Wait until the connection is closed and its descriptor is free."""


class Connection:
    """Serves one wire. ``address`` is the host of the peer, ``unix`` for a Unix socket."""

    def __init__(
        self,
        wire: Wire,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        tasks: TaskGroup,
        state: ConnectionState,
        connections: Connections,
        write_timeout: float,
    ) -> None:
        self.address = wire.client[0] if wire.client else "unix"
        self.network = network_of(self.address)
        self.idle_since = 0.0
        self.used = False
        self._wire = wire
        self._context = context
        self._tasks = tasks
        self._connections = connections
        self._write_timeout = write_timeout
        self._ended = False
        """The peer has said all."""
        self._closing = False
        """This side has said all."""
        self._dropped = 0
        kind = Http2 if wire.alpn == "h2" else Http1
        self._protocol: Http1 | Http2 | None = kind(
            app, config, context, tasks, state, wire.alpn is not None, wire.client, wire.server,
            self._send,
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until the connection is over. Raises nothing but a cancellation."""
        connections = self._connections
        connections.add(self)
        connections.idle(self)
        try:
            async with self._tasks:
                try:
                    await self._serve()
                except Exception as error:
                    self._report(error)
                    self._wire.abort()
                    await self._disconnect()
        except Exception as error:
            self._report(error)
        finally:
            self._protocol = None  # it refers to us by what it sends with
            await self._let_go()

    async def _let_go(self) -> None:
        """Close the wire, and wait until the peer has taken what was written, within bounds."""
        try:
            self._wire.close()
            self._connections.linger(self, self._write_timeout)
            await self._wire.closed()
        finally:
            self._wire.abort()
            self._connections.discard(self)

    async def _serve(self) -> None:
        protocol, wire = self._protocol, self._wire
        assert protocol is not None
        try:
            await protocol.initiate()
            while data := await wire.receive():
                if self._closing:
                    self._dropped += len(data)
                    if self._dropped > LINGER_BYTES:
                        break
                else:
                    await protocol.handle(RawData(data))
        except OSError:
            pass  # the peer is gone
        self._ended = True
        self._connections.busy(self)
        await protocol.handle(Closed())

    async def _send(self, event: Event) -> None:
        """Take an event of the protocol."""
        if isinstance(event, RawData):
            try:
                await self._wire.send(event.data)
            except OSError:
                await self._disconnect()
        elif isinstance(event, Closed):
            await self._end()
        elif isinstance(event, Updated):
            if not event.idle:
                self.used = True
                self._connections.busy(self)
            elif self._context.terminated.is_set():
                await self._end()
            elif not (self._ended or self._closing):
                self._connections.idle(self)

    async def _disconnect(self) -> None:
        """Tell what is being answered that its client is gone."""
        if self._protocol is not None:
            await self._protocol.handle(Closed())

    async def _end(self) -> None:
        if self._closing:
            return
        self._closing = True
        with suppress(OSError):
            await self._wire.end()
        if self._ended or self._context.terminated.is_set():
            self._wire.close()
        else:
            self._connections.linger(self, LINGER)

    # --- what `Connections` asks ------------------------------------------------------------------

    def abort(self) -> None:
        self._wire.abort()

    def close_idle(self) -> None:
        self._wire.close()

    def stalled(self, now: float) -> bool:
        protocol = self._protocol
        return isinstance(protocol, Http2) and protocol.stalled(now, self._write_timeout)

    def _report(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, OSError):
            log.warning(
                "connection of %s ended by %s: %.200r", self.address, type(error).__name__,
                str(error), extra={"event": "connection_error"},
            )  # fmt: skip
