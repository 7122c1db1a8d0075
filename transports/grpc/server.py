"""The gRPC server beside the HTTP one: its ports, its connections, its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from types import TracebackType
from urllib.parse import urlsplit

import anyio
import sniffio
from anyio.abc import TaskGroup
from grpclib.protocol import AbstractHandler

from ...protocol.errors import A2AError, RefusedError
from ...protocol.types import AgentInterface
from ...runtime.concurrency.supervisor import Supervisor, supervisor
from ...runtime.runtime import Runtime
from ...runtime.settings.bounds import checked
from ..auth.resource import WELL_KNOWN, ProtectedResource, pointed
from ..caller.proxies import Proxies
from ..errors import ServerError, public_error
from . import tls
from .cards import Cards
from .connection import CONFIGURATION, GrpcProtocol
from .health import NAME as HEALTH
from .health import Health
from .reflection import Reflection
from .rpc import Method
from .services import LEGACY, V1, a2a_methods
from .settings import GrpcSettings
from .status import RpcError, Status

log = logging.getLogger("greenroom.transports.grpc")

LOOK = 0.5
"""How often connections are looked at for what takes time, in seconds."""
CLOSE_GRACE = 2.0
"""What connections get to take what was written to them before they are cut, in seconds."""


class GrpcServer(AbstractHandler):
    """Serves a runtime over gRPC: ``async with GrpcServer(runtime, settings) as server:``.

    It does not run the runtime. Leave the block, or ``drain`` first, to stop. asyncio only.
    Raises ServerError when it cannot listen, cannot read its certificate, or could let nobody in.
    """

    def __init__(self, runtime: Runtime, settings: GrpcSettings | None = None) -> None:
        self.runtime = runtime
        self.settings = checked(settings or GrpcSettings())
        self.configuration = CONFIGURATION
        self.proxies = Proxies(self.settings.trusted_proxies, self.settings.forwarded_headers)
        self.port = 0
        """The port bound for all agents."""
        self.ports: dict[str, int] = {}
        """The ports bound for single agents."""
        self.links: set[GrpcProtocol] = set()
        self.methods: dict[bytes, Method] = {}
        self.calls = 0
        """Open calls …"""
        self.dropped = 0
        """… those whose client stopped reading …"""
        self.banished = 0
        """… and connections that were closed for what they did."""
        self.reloads = self.reload_failures = 0
        """Times that a changed certificate was read, or could not be."""
        self.draining = False
        self.children: Supervisor
        self.loop: asyncio.AbstractEventLoop
        self.cards: Cards
        self._group: TaskGroup | None = None
        self._sockets: list[tuple[socket.socket, str]] = []
        self._listeners: list[asyncio.Server] = []
        self._stamp: tuple[object, ...] = ()
        self._metadata: str | None = None
        """The address of what leads to a token, where there is such a thing."""
        if self.settings.public_url is not None and ProtectedResource(runtime):
            self._metadata = self.settings.public_url.rstrip("/") + WELL_KNOWN
        self._check_credentials()

    # --- lifetime -------------------------------------------------------------------------------

    async def __aenter__(self) -> GrpcServer:
        if sniffio.current_async_library() != "asyncio":
            raise ServerError(
                "gRPC runs on asyncio only: serve with the asyncio backend, or leave the gRPC port "
                "out; JSON-RPC, REST and SSE run on trio"
            )
        self.loop = asyncio.get_running_loop()
        self._stopping = anyio.Event()
        self._changed = anyio.Event()
        await self._listen()
        self._prepare()
        group = self._group = anyio.create_task_group()
        await group.__aenter__()
        self.children = supervisor(group)
        group.start_soon(self.children.run, name="grpc calls")
        group.start_soon(self._look, name="grpc connections")
        if self.settings.certfile is not None:
            group.start_soon(self._watch_certificate, name="grpc certificate")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        group, self._group = self._group, None
        assert group is not None
        try:
            with anyio.CancelScope(shield=True):
                await self.drain(0.0)
        finally:
            group.cancel_scope.cancel()
            await group.__aexit__(kind, error, traceback)

    @property
    def address(self) -> str:
        """``host:port`` as bound."""
        host = self.settings.host.strip("[]")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def drain(self, grace: float) -> None:
        """Take no more connections, send those there are away, and end what has not ended after
        ``grace`` seconds with UNAVAILABLE. Beside ``Runtime.drain``, which ends the streams.
        """
        self.draining = True
        self._stopping.set()
        self.runtime.readiness.notify()  # those who watch the health
        self._stop_listening()
        for link in list(self.links):
            link.connection.go_away(why=b"stopping")
        await self._until(self._parted, grace)
        unavailable = RpcError(
            Status.UNAVAILABLE, "This server is stopping", [(b"retry-after", b"1")]
        )
        for link in list(self.links):
            for rpc in list(link.connection.rpcs.values()):
                rpc.fail(unavailable)
            link.connection.hang_up()
        await self._until(lambda: not self.links, CLOSE_GRACE)
        for link in list(self.links):
            link.connection.transport.abort()

    def _parted(self) -> bool:
        return not self.calls and all(link.connection.parted for link in self.links)

    async def _until(self, over: Callable[[], bool], seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while not over():
                self._changed = anyio.Event()
                await self._changed.wait()

    def changed(self) -> None:
        """A call or a connection is over."""
        if self.draining:
            self._changed.set()

    # --- listening ------------------------------------------------------------------------------

    async def _listen(self) -> None:
        wanted = [("", self.settings.port), *map(self._agent_port, self.settings.agent_ports)]
        try:
            self._stamp = tls.stamp(self.settings)
            context = tls.context(self.settings)
            for slug, port in wanted:
                self._sockets.append((self._bind(port), slug))
        except tls.TlsError as error:
            raise ServerError(str(error)) from None
        except BaseException:
            self._close_sockets()
            raise
        self.port = self._sockets[0][0].getsockname()[1]
        self.ports = {slug: sock.getsockname()[1] for sock, slug in self._sockets[1:]}
        await self._accept(context)

    def _agent_port(self, entry: str) -> tuple[str, int]:
        slug, _, port = entry.partition("=")
        if slug not in self.runtime.agents or not port.isdecimal():
            raise ServerError(
                f"agent_ports = {entry!r}: write slug=port with the slug of one of the agents: "
                + ", ".join(self.runtime.agents)
            )
        return slug, int(port)

    def _bind(self, port: int) -> socket.socket:
        host = self.settings.host.strip("[]")
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
            bound.listen(2048)
        except OSError as error:
            bound.close()
            raise ServerError(
                f"cannot listen for gRPC on {host} port {port}: {error.strerror}; choose another "
                "with --grpc-port (0 picks a free one)"
            ) from None
        return bound

    async def _accept(self, context: ssl.SSLContext | None) -> None:
        """Accept connections with this context; what was accepted with the last one stays."""
        made: list[asyncio.Server] = []
        for bound, slug in self._sockets:
            made.append(
                await self.loop.create_server(
                    partial(GrpcProtocol, self, slug),
                    sock=bound.dup(),
                    ssl=context,
                    ssl_handshake_timeout=self.settings.handshake_timeout if context else None,
                    ssl_shutdown_timeout=CLOSE_GRACE if context else None,
                )
            )
        before, self._listeners = self._listeners, made
        for listener in before:
            listener.close()
        if self.draining:  # meanwhile
            self._stop_listening()

    def _stop_listening(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for bound, _ in self._sockets:
            bound.close()
        self._sockets = []

    async def _watch_certificate(self) -> None:
        refused: tuple[object, ...] = ()
        while True:
            await anyio.sleep(self.settings.tls_reload)
            stamp = tls.stamp(self.settings)
            if stamp == self._stamp or self.draining:
                continue
            try:
                await self._accept(tls.context(self.settings))
            except (tls.TlsError, OSError) as error:  # or no file left to accept with
                if stamp != refused:
                    refused = stamp
                    self.reload_failures += 1
                    log.warning("the new certificate cannot be used, the old one stays: %s", error)
            else:
                self._stamp = stamp
                self.reloads += 1
                log.info("the certificate changed: new connections get the new one")

    def _check_credentials(self) -> None:
        """Raise ServerError where nobody could be let in, though cards would invite them here."""
        gate = self.runtime.gate
        in_query = {
            name
            for name, scheme in (gate.schemes or {}).items()
            if (key := scheme.api_key_security_scheme) is not None and key.location == "query"
        }
        required = gate.requirements(self.runtime.default)
        if required and all(in_query & one.schemes.keys() for one in required):
            named = ", ".join(sorted(in_query))
            raise ServerError(
                f"gRPC has no query to take the API key of {named} from: take it from a header, "
                "require another scheme as an alternative, or leave gRPC out"
            )

    # --- what is served -------------------------------------------------------------------------

    def _prepare(self) -> None:
        runtime = self.runtime
        self.cards = Cards(runtime, self.settings.address, self.port, self.ports)
        services = [V1, LEGACY, HEALTH, "grpc.reflection.v1.ServerReflection"]
        services.append("grpc.reflection.v1alpha.ServerReflection")
        health = Health(services, self._ready, runtime.readiness.changed, self._stopping)
        self.methods = {
            **a2a_methods(runtime, self.cards),
            **health.methods(),
            **Reflection(services).methods(),
        }

    def _ready(self) -> bool:
        return self.runtime.ready and not self.draining

    def told(self, error: Exception) -> RpcError | A2AError:
        """Return what the caller may know of an error."""
        if isinstance(error, RpcError):
            return error
        found = public_error(error)
        if (
            self._metadata is not None
            and isinstance(found, RefusedError)
            and (challenges := found.headers.get("WWW-Authenticate")) is not None
        ):
            found.headers["WWW-Authenticate"] = pointed(challenges, self._metadata)
        return found

    async def _look(self) -> None:
        while True:
            await anyio.sleep(LOOK)
            now = self.loop.time()
            for link in list(self.links):
                link.look(now)

    def interfaces(self, agent: str, base: str) -> list[AgentInterface]:
        """Return the gRPC entries for the card of an agent whose HTTP address is ``base``."""
        host = urlsplit(base).hostname or self.settings.host
        return self.cards.interfaces(agent, host)

    def statistics(self) -> dict[str, int]:
        """Counters for metrics; names end in ``_total`` where they only grow."""
        return {
            "grpc_connections": len(self.links),
            "grpc_calls": self.calls,
            "grpc_calls_dropped_total": self.dropped,
            "grpc_connections_banished_total": self.banished,
        }

    # --- grpclib's side of a handler: calls begin and end in ``Processor`` ------------------------

    def accept(self, *_: object) -> None:
        raise NotImplementedError

    def cancel(self, *_: object) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
