"""The three ways in which a test runs a server, and the one handle that each of them gives.

``in_memory`` calls the ASGI application, ``on_sockets`` listens in this process, ``as_process``
starts ``greenroom serve``. A test that asks through ``Served.call`` does not notice which it is.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from greenroom import Agent, Runtime
from greenroom.app import open_store
from greenroom.auth import Limits, Security
from greenroom.runtime.journal.store import Store
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.transports.grpc.server import GrpcServer
from greenroom.transports.grpc.settings import GrpcSettings
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from greenroom.transports.server.entrypoint import run
from greenroom.transports.server.settings import ServerSettings
from greenroom.transports.settings import Forwarding, Listen
from tests.support import asgi
from tests.support.clients import Response
from tests.support.processes import AGENT, Process
from tests.support.served import Served


class InProcess(Served):
    """A server of this process: tests see its parts."""

    def __init__(self, app: Application) -> None:
        self.app = app

    @property
    def runtime(self) -> Runtime:
        return self.app.runtime


class InMemory(InProcess):
    """The application without a socket; ``asgi.request`` and its like take ``app``."""

    url = "http://agent.test"

    @asynccontextmanager
    async def open(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[Response]:
        fields = list(headers.items())
        async with asgi.opened(self.app, method, target, headers=fields, body=body) as wire:
            await wire.until(lambda: wire.status or wire.returned)
            yield _InMemoryResponse(wire)


class _InMemoryResponse:
    def __init__(self, wire: asgi.Wire) -> None:
        self._wire = wire
        self.status = wire.status
        self.headers = {name.decode(): value.decode() for name, value in wire.headers}

    async def read(self) -> bytes:
        return (await self._wire.ended()).body

    async def chunks(self) -> AsyncIterator[bytes]:
        wire, count = self._wire, 0
        while True:
            await wire.until(lambda seen=count: len(wire.chunks) > seen or wire.returned)
            if count == len(wire.chunks):
                return
            yield wire.chunks[count]
            count += 1


class OnSockets(InProcess):
    """The application and, beside it, gRPC on ports of their own."""

    def __init__(self, app: Application, url: str, beside: GrpcServer | None) -> None:
        super().__init__(app)
        parts = urlsplit(url)
        self.scheme, self.host, self.port = parts.scheme, "127.0.0.1", parts.port or 0
        self.grpc = beside
        self.grpc_port = beside.port if beside is not None else 0

    @property
    def url(self) -> str:  # type: ignore[override]  # ``host`` may be changed
        return f"{self.scheme}://{self.host}:{self.port}"


@asynccontextmanager
async def in_memory(
    *agents: Agent,
    runtime: Runtime | None = None,
    http: HttpSettings | None = None,
    public_url: str | None = None,
    **more: Any,
) -> AsyncGenerator[InMemory, None]:
    """Run ``runtime``, or one made of ``agents`` and ``more``, below its ASGI application."""
    app = Application(runtime or make_runtime(*agents, **more), http, public_url=public_url)
    async with app.lifespan():
        yield InMemory(app)


def make_runtime(
    *agents: Agent,
    store: Store | str = "memory://",
    security: Security | None = None,
    limits: Limits | None = None,
    settings: RuntimeSettings | None = None,
    **more: Any,
) -> Runtime:
    """A runtime of ``agents``; ``more`` are its other arguments."""
    opened = open_store(store) if isinstance(store, str) else store
    return Runtime(
        agents, store=opened, security=security, limits=limits, settings=settings, **more
    )


@asynccontextmanager
async def on_sockets(
    *agents: Agent,
    runtime: Runtime | None = None,
    http: HttpSettings | None = None,
    listen: ServerSettings | None = None,
    public_url: str | None = None,
    beside: GrpcSettings | None = None,
    grpc_listen: Listen | None = None,
    forwarding: Forwarding | None = None,
    with_grpc: bool = True,
    **more: Any,
) -> AsyncGenerator[OnSockets, None]:
    """Serve ``runtime``, or one made of ``agents`` and ``more``, on free ports of this machine.

    gRPC takes what ``http`` and ``listen`` say of proxies and certificates, unless told otherwise.
    """
    http, listen = (
        http or HttpSettings(),
        listen or ServerSettings(listen=Listen(port=0), tune_gc=False),
    )
    app = Application(runtime or make_runtime(*agents, **more), http, public_url=public_url)
    server = None
    if with_grpc:
        server = GrpcServer(
            app.runtime,
            beside,
            listen=grpc_listen or replace(listen.listen, port=0),
            forwarding=forwarding or http.forwarding,
            public_url=public_url,
        )
        app.mount(server)
    bound: list[str] = []
    ready = anyio.Event()

    def announce(url: str) -> None:
        bound.append(url)
        ready.set()

    async with anyio.create_task_group() as group:

        async def serve() -> None:
            await run(app, listen, announce=announce, beside=server)

        group.start_soon(serve)
        with anyio.fail_after(10):
            await ready.wait()
        yield OnSockets(app, bound[0], server)
        group.cancel_scope.cancel()
    for _ in range(3):  # aborted connections close their sockets in the loop's next turns
        await anyio.lowlevel.checkpoint()


def as_process(
    *arguments: str, python: str = sys.executable, agents: Sequence[str] = (AGENT,)
) -> Process:
    """Run ``greenroom serve`` with JSON logs on a free port; enter it as a context."""
    return Process(*arguments, python=python, agents=agents)
