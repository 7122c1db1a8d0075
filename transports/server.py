"""The bundled entrypoint: hypercorn, with a shutdown order of our own.

hypercorn cancels handlers before it tells the application that it stops, and on Python 3.12 and
later waits for ever for an open connection. So we keep both ends in our hands: a signal first
drains the runtime (no new work, streams told and ended, handlers given their grace), then hypercorn
is told to close, then the runtime's lifespan ends; a watchdog holds the deadline over all of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
import sniffio
from hypercorn.config import Config
from msgspec import Struct

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
    http2: bool = False
    keep_alive: float = 75.0
    grace: float = 10.0
    deadline: float = 20.0
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


class ServerError(Exception):
    """The server cannot start; the message says what to change."""


class _Stopping:
    """First signal: stop in order. Second one: stop now."""

    def __init__(self, deadline: float) -> None:
        self.asked = anyio.Event()
        self._deadline = deadline

    def ask(self, why: str) -> None:
        if self.asked.is_set():
            return
        log.info("%s: draining", why, extra={"event": "draining"})
        self.asked.set()
        # A thread, because nothing on the event loop can outlive a handler that blocks the loop.
        watchdog = threading.Timer(self._deadline, self._expire)
        watchdog.daemon = True
        watchdog.start()

    def _expire(self) -> None:
        log.error(
            "not stopped within %.0f s: exiting at once; what was acknowledged is in the store",
            self._deadline,
            extra={"event": "deadline"},
        )
        _exit(1)


async def run(
    app: Servable,
    settings: ServerSettings,
    *,
    announce: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; call ``announce`` with the bound URL.

    Raises ServerError when it cannot listen or read its certificate.
    """
    config = _configure(settings)
    listener = _listen(settings)
    stopping = _Stopping(settings.deadline)
    async with anyio.create_task_group() as signals:
        await signals.start(_watch_signals, stopping)
        async with app.lifespan():
            scheme = "https" if config.ssl_enabled else "http"
            url = f"{scheme}://{_authority(listener)}"
            # hypercorn takes the descriptor over: it alone closes it.
            config.bind = [f"fd://{listener.detach()}"]
            if settings.tune_gc:
                tune_garbage_collection()
            closing = anyio.Event()
            async with anyio.create_task_group() as serving:
                serving.start_soon(_drain, app, settings, stopping, closing, serving)
                serving.start_soon(_serve_connections, app, config, closing, serving)
                announce(url)
        signals.cancel_scope.cancel()
    log.info("stopped", extra={"event": "stopped"})


async def _serve_connections(
    app: Servable, config: Config, closing: anyio.Event, serving: anyio.abc.TaskGroup
) -> None:
    """In a child of its own: what hypercorn runs in is left with a native cancellation pending."""
    await _hypercorn(_without_lifespan(app), config, closing.wait)
    serving.cancel_scope.cancel()


async def _drain(
    app: Servable,
    settings: ServerSettings,
    stopping: _Stopping,
    closing: anyio.Event,
    serving: anyio.abc.TaskGroup,
) -> None:
    await stopping.asked.wait()
    await app.runtime.drain(min(settings.grace, settings.deadline))
    closing.set()
    # Without this a client that never reads its stream would hold us (Python 3.12 and later).
    serving.cancel_scope.deadline = anyio.current_time() + CLOSE_GRACE


async def _watch_signals(
    stopping: _Stopping, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    if threading.current_thread() is not threading.main_thread():
        task_status.started()  # served from a thread: whoever started it stops it by cancelling
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            if stopping.asked.is_set():
                log.warning("second signal: exiting at once", extra={"event": "killed"})
                _exit(128 + number)
            stopping.ask(signal.Signals(number).name)


def _exit(status: int) -> None:
    logging.shutdown()
    os._exit(status)


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
    config = Config()
    config.certfile, config.keyfile = settings.certfile, settings.keyfile
    # hypercorn loses an HTTP/2 connection when one of its bodies is not read: only when asked.
    config.alpn_protocols = ["h2", "http/1.1"] if settings.http2 else ["http/1.1"]
    config.keep_alive_timeout = settings.keep_alive
    config.keep_alive_max_requests = 2**31
    config.graceful_timeout = CLOSE_GRACE
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
            f"cannot use certfile {settings.certfile} with keyfile {settings.keyfile}: {error}"
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
        listener.bind(address)
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


def _without_lifespan(app: Servable) -> Any:
    """The lifespan is held open around hypercorn, so hypercorn's own protocol for it is a no-op."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await app(scope, receive, send)
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return None

    return served


async def _hypercorn(app: Any, config: Config, trigger: Callable[[], Awaitable[Any]]) -> None:
    if sniffio.current_async_library() == "trio":
        from hypercorn.trio import serve as serve_trio

        await serve_trio(app, config, shutdown_trigger=trigger, mode="asgi")
        return
    from hypercorn.asyncio import serve as serve_asyncio

    asyncio.get_running_loop().set_exception_handler(_quiet_handshakes)
    await serve_asyncio(app, config, shutdown_trigger=trigger, mode="asgi")


def _quiet_handshakes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A peer that gives up its TLS handshake is no event of ours."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)
