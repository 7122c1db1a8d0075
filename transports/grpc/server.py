"""The gRPC server beside the HTTP one: what it serves, and its end."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from urllib.parse import urlsplit

import anyio
import sniffio
from anyio.abc import TaskGroup

from ...protocol.types import AgentInterface
from ...runtime.concurrency.supervisor import supervisor
from ...runtime.runtime import Runtime
from ...runtime.settings.bounds import checked
from ..errors import ServerError
from ..metrics import Metrics
from ..settings import Forwarding, Listen
from .cards import Cards
from .connection import GrpcProtocol
from .health import NAME as HEALTH
from .health import Health
from .listener import CLOSE_GRACE, Listener
from .reflection import Reflection
from .rpc import Method
from .services import LEGACY, V1, a2a_methods
from .settings import GrpcSettings
from .shared import Shared
from .status import RpcError, Status

LISTEN = Listen(port=50051)
"""Where the server listens unless told otherwise."""
FORWARDING = Forwarding()
"""The proxies that the server believes unless told otherwise: none."""
LOOK = 0.5
"""How often the server looks at its connections for what takes time, in seconds."""


class GrpcServer:
    """Serves a runtime over gRPC: ``async with GrpcServer(runtime, settings) as server:``.

    It does not run the runtime. Leave the block, or ``drain`` first, to stop. asyncio only.
    Raises ServerError when it cannot listen, cannot read its certificate, or could let nobody in.
    """

    listener: Listener
    cards: Cards

    def __init__(
        self,
        runtime: Runtime,
        settings: GrpcSettings | None = None,
        metrics: Metrics | None = None,
        *,
        listen: Listen = LISTEN,
        forwarding: Forwarding = FORWARDING,
        public_url: str | None = None,
    ) -> None:
        """``metrics`` counts the requests, together with those of other bindings. ``public_url`` is
        the address of the HTTP server: a refusal names the metadata document there that leads to a
        token (RFC 9728).
        """
        self.runtime = runtime
        self.metrics = metrics or Metrics()
        self.settings = checked(settings or GrpcSettings())
        self.listen = checked(listen)
        self.shared = Shared(runtime, self.settings, forwarding, public_url)
        self._group: TaskGroup | None = None
        self._check_credentials()

    # --- lifetime -------------------------------------------------------------------------------

    async def __aenter__(self) -> GrpcServer:
        if sniffio.current_async_library() != "asyncio":
            raise ServerError(
                "gRPC runs on asyncio only: serve with the asyncio backend, or leave the gRPC port "
                "out; JSON-RPC, REST and SSE run on trio"
            )
        self._stopping = anyio.Event()
        group = anyio.create_task_group()
        children = supervisor(group)
        methods: dict[bytes, Method] = {}
        make = partial(GrpcProtocol, self.shared, methods, children)
        self.listener = Listener(self.shared, self.listen, children, make)
        self.listener.bind(list(self.runtime.agents))
        self.cards = Cards(
            self.runtime, self.settings.address, self.listener.port, self.listener.ports
        )
        methods.update(self._methods())
        await group.__aenter__()
        self._group = group
        group.start_soon(children.run, name="grpc calls")
        group.start_soon(self.listener.run, name="grpc listener")
        group.start_soon(self._look, name="grpc connections")
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
    def port(self) -> int:
        """The port bound for all agents."""
        return self.listener.port

    @property
    def ports(self) -> dict[str, int]:
        """The ports bound for single agents, by slug."""
        return self.listener.ports

    @property
    def address(self) -> str:
        """``host:port`` as bound."""
        host = self.listen.host.strip("[]")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def drain(self, grace: float) -> None:
        """Take no more connections, send those there are away, and end what has not ended after
        ``grace`` seconds with UNAVAILABLE. Beside ``Runtime.drain``, which ends the streams.
        """
        shared = self.shared
        shared.draining = True
        self._stopping.set()
        self.runtime.readiness.notify()  # those who watch the health
        await self.listener.stop()
        for connection in list(shared.connections):
            connection.go_away(b"stopping")
        await shared.until(self._all_gone, grace)
        unavailable = RpcError(
            Status.UNAVAILABLE, "This server is stopping", [(b"retry-after", b"1")]
        )
        for connection in list(shared.connections):
            connection.end_calls(unavailable)
        await shared.until(lambda: not shared.connections, CLOSE_GRACE)
        for connection in list(shared.connections):
            connection.abort()

    def _all_gone(self) -> bool:
        shared = self.shared
        return not shared.calls and all(one.goaway_sent for one in shared.connections)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(LOOK)
            now = loop.time()
            for connection in list(self.shared.connections):
                connection.look(now)

    def _check_credentials(self) -> None:
        """Raise ServerError where nobody could be let in, though cards would invite them here."""
        gate = self.runtime.gate
        in_query = {
            name
            for name, scheme in (gate.card.schemes or {}).items()
            if (key := scheme.api_key_security_scheme) is not None and key.location == "query"
        }
        required = gate.card.requirements(self.runtime.default)
        if required and all(in_query & one.schemes.keys() for one in required):
            named = ", ".join(sorted(in_query))
            raise ServerError(
                f"gRPC has no query to take the API key of {named} from: take it from a header, "
                "require another scheme as an alternative, or leave gRPC out"
            )

    # --- what is served -------------------------------------------------------------------------

    def _methods(self) -> dict[bytes, Method]:
        runtime = self.runtime
        services = [V1, LEGACY, HEALTH, "grpc.reflection.v1.ServerReflection"]
        services.append("grpc.reflection.v1alpha.ServerReflection")
        health = Health(services, self._ready, runtime.readiness.changed, self._stopping)
        return {
            **a2a_methods(runtime, self.cards, self.metrics),
            **health.methods(),
            **Reflection(services).methods(),
        }

    def _ready(self) -> bool:
        return self.runtime.ready and not self.shared.draining

    def interfaces(self, agent: str, base: str) -> list[AgentInterface]:
        """Return the gRPC entries for the card of an agent whose HTTP address is ``base``."""
        if not self.settings.on_card:
            return []
        host = urlsplit(base).hostname or self.listen.host
        return self.cards.interfaces(agent, host)

    def statistics(self) -> dict[str, int]:
        """Counters for metrics; names end in ``_total`` where they only grow."""
        shared = self.shared
        return {
            "grpc_connections": len(shared.connections),
            "grpc_calls": shared.calls,
            "grpc_calls_dropped_total": shared.calls_dropped,
            "grpc_connections_closed_abusive_total": shared.closed_abusive,
        }
