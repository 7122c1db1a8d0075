"""The ASGI application: every HTTP binding of every agent of one runtime, without a framework."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from ...protocol import protojson
from ...protocol.codec import HTTP_JSON
from ...protocol.codecs import codec_for
from ...protocol.errors import A2AError, InvalidRequestError, ResourceExhaustedError
from ...protocol.types import AgentInterface
from ...protocol.version import V10
from ...runtime.runtime import Runtime
from ...runtime.settings.bounds import checked
from .. import metrics as prometheus
from ..auth.resource import WELL_KNOWN, ProtectedResource, pointed
from ..caller.proxies import Proxies
from ..errors import ClientGone, public_error
from ..metrics import Metrics
from ..server.collector import tune_garbage_collection
from . import page
from .body import discard
from .cards import Cards
from .cors import Cors
from .errors import MethodNotAllowedError, PathNotFoundError, headers_of
from .exchange import JSON, Exchange, Receive, Scope, Send, answer_headers
from .jsonrpc import JsonRpc
from .rest import Rest
from .routes import AGENTS, CARD, LIST, Routes, Target, path_of, rpc_path
from .settings import HttpSettings
from .sse import EventWriter, OpenResponses
from .unread import Unread

log = logging.getLogger("greenroom.transports")

_READ = frozenset({"GET", "HEAD"})
_ADDRESS = frozenset({"GET", "HEAD", "POST"})


class Mounted(Protocol):
    """Another server of the same runtime: its addresses go on the cards, its numbers into the
    metrics."""

    def interfaces(self, agent: str, base: str) -> list[AgentInterface]: ...

    def statistics(self) -> dict[str, int]: ...


class Application:
    """An ASGI 3 application over a runtime. It runs the runtime: from its own lifespan, or, when
    mounted in a host whose lifespan does not reach it, inside ``async with app.lifespan():``.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: HttpSettings | None = None,
        *,
        public_url: str | None = None,
        grace: float = 10.0,
    ) -> None:
        """``public_url`` is where clients reach this application, as cards name it; without it a
        card names the address of its request. Running handlers get ``grace`` seconds when the
        lifespan ends.
        """
        self.runtime = runtime
        self._public_url = public_url
        self._grace = grace
        self.settings = checked(settings or HttpSettings())
        self.metrics = Metrics()
        self.announces = True
        """Whether to log who may call when the runtime has started."""
        self.tunes_gc = False
        """Whether to tune the garbage collector of the process when the runtime has started."""
        self.open_responses = OpenResponses(
            lambda child, name: runtime.system.start(child, name),
            retry=self.settings.retry,
            write_timeout=self.settings.write_timeout,
        )
        self.unread = Unread(self.settings)
        self.routes = Routes(runtime.agents)
        self._proxies = Proxies(self.settings.trusted_proxies, self.settings.forwarded_headers)
        self._cors = Cors(self.settings, (runtime.gate.card.schemes or {}).values())
        self._vary = b"" if public_url else self._proxies.vary
        self._caching = [(b"cache-control", b"public, max-age=%d" % self.settings.card_max_age)]
        if self._vary:
            self._caching.append((b"vary", self._vary))
        self._cards = Cards(
            runtime.card,
            max_age=self.settings.card_max_age,
            modified=time.time(),
            vary=self._vary,
        )
        self._mounted: list[Mounted] = []
        self._rpc = JsonRpc(runtime, self.metrics, self._interfaces)
        self._rest = Rest(runtime, self.metrics, self._interfaces)
        self._plain = {
            "/health": self._health,
            "/ready": self._ready,
            "/metrics": self._metrics,
        }
        for path in LIST:
            self._plain[path] = self._list
        self._resource = ProtectedResource(runtime)
        self._challenge = self._point if self._resource else None
        if self._resource:
            for path in self.routes.rpc:
                self._plain[WELL_KNOWN + path] = self._resource_metadata
        if (keys := runtime.gate.security.signing) and public_url is None:
            raise ValueError("signed cards need public_url: they say where the agent is")
        if published := [*(key.public_jwk for key in keys), *runtime.push_keys]:
            self._jwks = protojson.encode({"keys": published})
            self._plain["/.well-known/jwks.json"] = self._key_set

    def mount(self, other: Mounted) -> None:
        """Put another server of the same runtime on the cards and in the metrics."""
        self._mounted.append(other)
        self._cards.more = other.interfaces

    # --- lifetime -------------------------------------------------------------------------------

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None, None]:
        """Run the runtime for as long as the block lasts, unless it runs already."""
        if self.runtime.readiness.running:
            yield
            return
        async with self.runtime:
            if self.announces:
                self.runtime.gate.announce()
            if self.tunes_gc:
                tune_garbage_collection()
            yield
            await self.runtime.drain(self._grace)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        started = False
        try:
            async with self.lifespan():
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            log.exception("the application could not %s", "stop cleanly" if started else "start")
            stage = "shutdown" if started else "startup"
            await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    # --- requests -------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # A stream may live for hours: nothing of its request is kept in a frame meanwhile.
            writer = await self._request(scope, receive, send)
            if writer is not None:
                await self.open_responses.run(writer, receive)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise RuntimeError(f"Greenroom does not know ASGI scopes of type {scope['type']!r}")

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> EventWriter | None:
        exchange = Exchange(scope, receive, send, self.settings, self.unread)
        proxies = self._proxies
        nearest = exchange.nearest
        exchange.peer = proxies.peer(nearest, exchange.fields)
        exchange.forwarded_certificate = proxies.certificate(nearest, exchange.fields)
        exchange.challenge = self._challenge
        if self._cors.enabled:
            self._cors.apply(exchange)
        exchange.path = path_of(scope)
        try:
            target = self.routes.rpc.get(exchange.path)
            if target is not None and exchange.method == "POST":
                return await self._rpc.serve(exchange, target)
            return await self._other(exchange, target)
        except ClientGone:
            return None
        except ResourceExhaustedError as error:  # an answer that may not wait to be read
            refusal = public_error(error)
        with suppress(ClientGone):
            await self._fail(exchange, refusal)
        return None

    async def _other(self, exchange: Exchange, target: Target | None) -> EventWriter | None:
        """Answer everything but a JSON-RPC request."""
        try:
            return await self._serve(exchange, target)
        except (ClientGone, ResourceExhaustedError):
            raise
        except Exception as error:
            refusal = public_error(error)
        await discard(exchange)
        await self._fail(exchange, refusal)
        return None

    async def _serve(self, exchange: Exchange, target: Target | None) -> EventWriter | None:
        path = exchange.path
        if exchange.method == "OPTIONS":
            await discard(exchange)
            await self._options(exchange)
        elif target is not None:
            await self._address(exchange, target)
        elif (card := self.routes.cards.get(path)) is not None:
            await self._read_only(exchange)
            await self._card(exchange, card)
        elif (plain := self._plain.get(path)) is not None:
            await self._read_only(exchange)
            await plain(exchange)
        else:
            place = self.routes.below(path)
            if place is None:
                raise PathNotFoundError("There is no such agent here")
            return await self._rest.serve(exchange, *place)
        return None

    async def _read_only(self, exchange: Exchange) -> None:
        if exchange.method not in _READ:
            raise MethodNotAllowedError("This can only be read", _READ)
        await discard(exchange)

    async def _fail(self, exchange: Exchange, error: A2AError) -> None:
        codec = codec_for(V10, HTTP_JSON)
        await exchange.reply(
            error.http, [*answer_headers(V10), *headers_of(error, exchange)], codec.status(error)
        )

    async def _options(self, exchange: Exchange) -> None:
        headers = self._cors.preflight(exchange) if self._cors.enabled else None
        if headers is None:
            headers = [(b"allow", ", ".join(sorted(self._allowed(exchange.path))).encode())]
        await exchange.reply(204, headers)

    def _allowed(self, path: str) -> set[str]:
        methods = {"OPTIONS"}
        if path in self.routes.rpc:
            methods |= _ADDRESS
        elif path in self.routes.cards or path in self._plain:
            methods |= _READ
        elif (place := self.routes.below(path)) is not None:
            methods.update(self._rest.allowed(place[1]))
        if len(methods) == 1:
            raise PathNotFoundError
        return methods

    # --- what is no binding ---------------------------------------------------------------------

    async def _address(self, exchange: Exchange, target: Target) -> None:
        """Answer who looks at an agent's address: programs get its card, browsers a page."""
        if exchange.method not in _READ:
            raise MethodNotAllowedError(
                "This is the JSON-RPC address: POST to it. GET answers with the agent's card",
                _ADDRESS,
            )
        await discard(exchange)
        exchange.extra.append((b"vary", b"Accept"))
        if not page.wanted(exchange.fields.get(b"accept", b"")):
            await self._card(exchange, target)
            return
        base = self._base(exchange) + target.prefix
        card = self.runtime.card(target.agent, ())
        interfaces = self._interfaces(exchange, target)
        headers = [*page.HEADERS, *self._caching]
        await exchange.reply(200, headers, page.page(card, interfaces, base + CARD))

    async def _list(self, exchange: Exchange) -> None:
        """Answer with the agents that the caller may use."""
        agents = await self.runtime.agents_for(exchange.call(HTTP_JSON, ""))
        exchange.private = not self.runtime.gate.open
        base = self._base(exchange) + AGENTS
        listed = [
            {
                "slug": agent.slug,
                "name": agent.name,
                "description": agent.description,
                "version": agent.version,
                "url": f"{base}{agent.slug}/",
                "card": f"{base}{agent.slug}{CARD}",
            }
            for agent in agents
        ]
        headers = [(b"content-type", JSON)]
        if self._vary:
            headers.append((b"vary", self._vary))
        await exchange.reply(200, headers, protojson.encode({"agents": listed}))

    async def _card(self, exchange: Exchange, target: Target) -> None:
        agent, prefix = target
        await self._cards.reply(exchange, agent, self._base(exchange) + prefix, rpc_path(prefix))

    def _base(self, exchange: Exchange) -> str:
        base = self._public_url or self._proxies.base_url(
            exchange.scope, exchange.nearest, exchange.fields
        )
        return base.rstrip("/")

    def _interfaces(self, exchange: Exchange, target: Target) -> tuple[AgentInterface, ...]:
        agent, prefix = target
        base = self._base(exchange)
        return tuple(self._cards.interfaces(agent, base + prefix, rpc_path(prefix)))

    async def _key_set(self, exchange: Exchange) -> None:
        await exchange.reply(200, [(b"content-type", JSON), self._caching[0]], self._jwks)

    async def _resource_metadata(self, exchange: Exchange) -> None:
        path = exchange.path[len(WELL_KNOWN) :]
        body = self._resource.metadata(self.routes.rpc[path].agent, self._base(exchange) + path)
        await exchange.reply(200, [(b"content-type", JSON), *self._caching], body)

    def _point(self, exchange: Exchange, challenges: str) -> str:
        """Add the address of the metadata of the interface that was asked (RFC 9728 section 5.1).

        The address has the agent's own path: nothing that the caller wrote gets into a challenge.
        """
        try:
            base = self._base(exchange)
        except InvalidRequestError:
            return challenges
        path = exchange.path
        if path not in self.routes.rpc:
            place = self.routes.below(path)
            path = "" if place is None else place[0].prefix
        return pointed(challenges, base + WELL_KNOWN + path)

    async def _health(self, exchange: Exchange) -> None:
        await exchange.reply(200, [(b"content-type", JSON)], b'{"status":"ok"}')

    async def _ready(self, exchange: Exchange) -> None:
        ready = self.runtime.ready
        await exchange.reply(
            200 if ready else 503,
            [(b"content-type", JSON), (b"cache-control", b"no-store")],
            b'{"status":"ready"}' if ready else b'{"status":"not ready"}',
        )

    async def _metrics(self, exchange: Exchange) -> None:
        own: dict[str, float] = {
            "http_unread_bytes": self.unread.total,
            "http_streams_open": len(self.open_responses.open),
            "http_streams_dropped_total": self.open_responses.dropped,
        }
        for other in self._mounted:
            own |= other.statistics()
        body = self.metrics.render(self.runtime.statistics(), own)
        await exchange.reply(200, [(b"content-type", prometheus.CONTENT_TYPE)], body)
