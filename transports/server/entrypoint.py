"""The bundled entrypoint: hypercorn's connections, with a shutdown order of our own.

A signal first drains the runtime (no new work, streams told and ended, handlers given their grace),
then connections close, then the runtime's lifespan ends; ``stopping`` holds the deadline over all
of it. hypercorn's own order is another: it cancels handlers before the application may drain.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from typing import Any, Literal, Protocol

import anyio
from hypercorn.config import Config
from msgspec import Struct

from ..errors import ServerError
from . import accept as connections
from .signals import Stopping, leave

log = logging.getLogger("greenroom.server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CLOSE_GRACE = 2.0
"""What connections get to finish writing after the runtime was drained, in seconds."""


class ServerSettings(Struct, frozen=True, kw_only=True):
    """How to listen and how to stop; seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    certfile: str | None = None
    keyfile: str | None = None
    client_ca: str | None = None
    client_certificate: Literal["optional", "required"] = "required"
    http2: bool = False
    keep_alive: float = 75.0
    grace: float = 10.0
    deadline: float = 20.0
    write_timeout: float = 60.0
    """A client that takes nothing for this long is disconnected (where the kernel can: Linux)."""
    tune_gc: bool = True
    backlog: int = 2048


class Drainable(Protocol):
    """What must let go before connections are closed."""

    async def drain(self, grace: float) -> None: ...


class Servable(Protocol):
    """The ASGI application: served between the two ends of its lifespan, drained in between."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def lifespan(self) -> AbstractAsyncContextManager[Any]: ...

    @property
    def runtime(self) -> Drainable: ...


class Beside(Drainable, AbstractAsyncContextManager[Any], Protocol):
    """Another server of the same runtime: started after it, drained with it."""


async def run(
    app: Servable,
    settings: ServerSettings,
    *,
    announce: Callable[[str], None] = lambda url: None,
    beside: Beside | None = None,
    alone: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; call ``announce`` with the bound URL.

    ``alone``: the process is this server's, and ends with it: it does not return. Raises
    ServerError when it cannot listen or read its certificate.
    """
    config = _configure(settings)
    listener = _listen(settings)
    stopping = Stopping(settings.deadline)
    closed = anyio.Event()
    other = beside or nullcontext()
    with closing(listener), stopping.listening():
        async with app.lifespan(), other, anyio.create_task_group() as serving:
            if settings.tune_gc:
                tune_garbage_collection()
            serving.start_soon(connections.serve, app, config, listener, closed, CLOSE_GRACE)
            scheme = "https" if config.ssl_enabled else "http"
            announce(f"{scheme}://{_authority(listener)}")
            await stopping.asked.wait()
            grace = min(settings.grace, settings.deadline)
            async with anyio.create_task_group() as draining:
                if beside is not None:
                    draining.start_soon(beside.drain, grace)
                await app.runtime.drain(grace)
            stopping.saved = True
            closed.set()
        log.info("stopped", extra={"event": "stopped"})
        if alone:
            leave()


def tune_garbage_collection() -> None:
    """Take what was loaded so far out of the collector's sight and let it run rarely.

    With many live tasks the default thresholds cost a quarter of the CPU and most of the tail.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    log.debug(
        "garbage collector: %d objects frozen, thresholds %s",
        gc.get_freeze_count(),
        gc.get_threshold(),
        extra={"event": "gc"},
    )


def _configure(settings: ServerSettings) -> Config:
    if (settings.certfile is None) != (settings.keyfile is None):
        raise ServerError("TLS needs both certfile and keyfile")
    if settings.http2 and settings.certfile is None:
        raise ServerError("HTTP/2 is offered over TLS only: name a certfile and a keyfile")
    if settings.client_ca is not None and settings.certfile is None:
        raise ServerError("client_ca is for TLS: name a certfile and a keyfile")
    config = Config()
    if settings.client_ca is not None:
        config.ca_certs = settings.client_ca
        required = settings.client_certificate == "required"
        config.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    config.certfile, config.keyfile = settings.certfile, settings.keyfile
    # hypercorn loses an HTTP/2 connection when one of its bodies is not read: only when asked.
    config.alpn_protocols = ["h2", "http/1.1"] if settings.http2 else ["http/1.1"]
    config.keep_alive_timeout = settings.keep_alive
    config.keep_alive_max_requests = 2**31
    config.ssl_handshake_timeout = 10.0
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = 1024 * 1024
    config.include_server_header = False
    config.backlog = settings.backlog
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    try:
        config.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"cannot use certfile {settings.certfile} with keyfile {settings.keyfile}"
            f"{f' and client_ca {settings.client_ca}' if settings.client_ca else ''}: {error}"
        ) from None
    return config


def _listen(settings: ServerSettings) -> socket.socket:
    host = settings.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # What an application cancels, hypercorn still wants to deliver; the kernel gives up.
            milliseconds = int(settings.write_timeout * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind(address)
        listener.setblocking(False)
        listener.listen(settings.backlog)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose another with --port (0 picks a free one)"
        ) from None
    return listener


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
