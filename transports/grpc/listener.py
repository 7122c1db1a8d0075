"""The ports of a gRPC server: it binds them, accepts connections, and keeps their number in bounds.

The accept loop is ours. asyncio's own tries as often as its backlog is long when no file descriptor
is left, with a traceback each time, and counts no connection before its TLS handshake is done.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial

import anyio
from anyio.abc import TaskGroup

from ...runtime.concurrency.supervisor import Supervisor
from ...runtime.security.rate_limits import network_of
from ..errors import ServerError
from ..settings import Listen
from . import tls
from .shared import Shared

log = logging.getLogger("greenroom.transports.grpc")

CLOSE_GRACE = 2.0
"""How long a connection may take to take what was written to it before it is cut, in seconds."""
BACKLOG = 2048
RETRY = 0.1
"""How long the server waits to accept again when it could not, in seconds."""
SAY_AGAIN = 1.0
"""How often the log says so, in seconds."""
Factory = Callable[[str, Callable[[], None]], asyncio.BaseProtocol]
"""Makes the protocol of a connection: of the port of an agent (empty: of all), and what it calls
when the connection is gone."""


class Listener:
    """``port`` and ``ports`` (of single agents, by slug) are known once it is bound."""

    def __init__(self, shared: Shared, listen: Listen, children: Supervisor, make: Factory) -> None:
        self.port = 0
        self.ports: dict[str, int] = {}
        self.reloads = 0
        """How often a changed certificate was read."""
        self.reload_failures = 0
        """How often a changed certificate could not be used."""
        self._shared = shared
        self._settings = shared.settings
        self._listen = listen
        self._children = children
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._sockets: list[tuple[socket.socket, str]] = []
        self._context: ssl.SSLContext | None = None
        self._stamp: tuple[object, ...] = ()
        self._scope = anyio.CancelScope()
        self._closed = anyio.Event()
        self._open = 0
        self._open_of: Counter[str] = Counter()
        self._said = float("-inf")

    def bind(self, agents: list[str]) -> None:
        """Bind every port and read the certificate; ``agents`` are the slugs that there are.

        Raises ServerError.
        """
        listen = self._listen
        try:
            self._stamp = tls.stamp(listen.tls)
            self._context = tls.context(listen.tls)
            self._sockets.append((_bound(listen.host, listen.port), ""))
            for entry in self._settings.agent_ports:
                slug, port = _agent_port(entry, agents)
                self._sockets.append((_bound(listen.host, port), slug))
        except tls.TlsError as error:
            raise ServerError(str(error)) from None
        except BaseException:
            self._close_sockets()
            raise
        self.port = self._sockets[0][0].getsockname()[1]
        self.ports = {slug: bound.getsockname()[1] for bound, slug in self._sockets[1:]}

    async def run(self) -> None:
        """Accept connections until ``stop``."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    self._start(group)
        finally:
            self._close_sockets()
            self._closed.set()

    def _start(self, group: TaskGroup) -> None:
        for bound, slug in self._sockets:
            group.start_soon(self._accept, bound, slug, name="grpc accept")
        if self._context is not None:
            group.start_soon(self._watch_certificate, name="grpc certificate")

    async def stop(self) -> None:
        """Accept no more connections, and return when the ports are closed."""
        self._scope.cancel()
        with anyio.move_on_after(CLOSE_GRACE):
            await self._closed.wait()
        self._close_sockets()  # of a loop that was cancelled before it began

    def _close_sockets(self) -> None:
        for bound, _ in self._sockets:
            bound.close()
        self._sockets = []

    # --- accepting ------------------------------------------------------------------------------

    async def _accept(self, bound: socket.socket, agent: str) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(bound)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:  # no file descriptor or no memory is left
                    self._say(error)
                    await anyio.sleep(RETRY)
                continue
            release = self._take(str(address[0]))
            if release is None:
                accepted.close()
            else:
                self._children.start(self._opening(accepted, agent, release), "grpc connection")

    def _opening(
        self, accepted: socket.socket, agent: str, release: Callable[[], None]
    ) -> Callable[[], Coroutine[None, None, None]]:
        async def opening() -> None:
            context = self._context
            try:
                await self._loop.connect_accepted_socket(
                    partial(self._make, agent, release),
                    accepted,
                    ssl=context,
                    ssl_handshake_timeout=self._settings.handshake_timeout if context else None,
                    ssl_shutdown_timeout=CLOSE_GRACE if context else None,
                )
            except OSError:  # the handshake failed, or the peer is gone
                release()
            except BaseException:
                release()
                raise

        return opening

    def _take(self, address: str) -> Callable[[], None] | None:
        """Count a connection and return what counts it no more; ``None``: one too many."""
        settings = self._settings
        trusted = self._shared.proxies.trusts(address)
        address = network_of(address)
        if self._open >= settings.max_connections or (
            self._open_of[address] >= settings.max_connections_per_address and not trusted
        ):
            return None
        self._open += 1
        self._open_of[address] += 1
        counted = True

        def release() -> None:
            nonlocal counted
            if counted:
                counted = False
                self._open -= 1
                self._open_of[address] -= 1
                if not self._open_of[address]:
                    del self._open_of[address]

        return release

    def _say(self, error: OSError) -> None:
        now = self._loop.time()
        if now - self._said >= SAY_AGAIN:
            self._said = now
            log.error(
                "the gRPC server cannot accept connections: %s; open connections go on. Raise the "
                "limit of open files, or lower grpc.max_connections",
                error.strerror,
            )

    # --- the certificate ------------------------------------------------------------------------

    async def _watch_certificate(self) -> None:
        refused: tuple[object, ...] = ()
        while True:
            await anyio.sleep(self._settings.tls_reload)
            stamp = tls.stamp(self._listen.tls)
            if stamp == self._stamp:
                continue
            try:
                self._context = tls.context(self._listen.tls)
            except (tls.TlsError, OSError) as error:  # or no file descriptor is left
                if stamp != refused:
                    refused = stamp
                    self.reload_failures += 1
                    log.warning("the new certificate cannot be used, the old one stays: %s", error)
            else:
                self._stamp = stamp
                self.reloads += 1
                log.info("the certificate changed: new connections get the new one")


def _agent_port(entry: str, agents: list[str]) -> tuple[str, int]:
    slug, _, port = entry.partition("=")
    if slug not in agents or not port.isdecimal():
        raise ServerError(
            f"agent_ports = {entry!r}: write slug=port with the slug of one of the agents: "
            + ", ".join(agents)
        )
    return slug, int(port)


def _bound(host: str, port: int) -> socket.socket:
    host = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"cannot listen for gRPC on {host}: {error.strerror}") from None
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise ServerError(
            f"cannot listen for gRPC on {host} port {port}: {error.strerror}; choose another "
            "with --grpc-port (0 picks a free one)"
        ) from None
    return bound
