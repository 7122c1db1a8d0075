"""hypercorn's connections behind an accept loop of our own, for asyncio and for trio.

hypercorn's own loop cannot leave a client that stopped reading: it cancels, but the connection is
closed only when that client has taken what is buffered. Here every connection is known, so that the
last ones are aborted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import sniffio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.typing import ConnectionState, LifespanState

from ..caller.certificates import state_of

if TYPE_CHECKING:
    import trio

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

ABORT_GRACE = 1.0
"""What an aborted connection's coroutines get to notice, in seconds."""


async def serve(
    app: App, config: Config, listener: socket.socket, closed: anyio.Event, grace: float
) -> None:
    """Accept until ``closed``; then give connections ``grace`` seconds to finish writing."""
    tls = config.create_ssl_context()
    wrapped = ASGIWrapper(app)  # type: ignore[arg-type]  # its scopes are TypedDicts
    if sniffio.current_async_library() == "trio":
        await _serve_trio(wrapped, config, listener, tls, closed, grace)
    else:
        await _serve_asyncio(wrapped, config, listener, tls, closed, grace)


async def _serve_asyncio(
    app: ASGIWrapper,
    config: Config,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    closed: anyio.Event,
    grace: float,
) -> None:
    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.asyncio.worker_context import WorkerContext

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_quiet_handshakes)
    context = WorkerContext(None)
    connections: dict[asyncio.Task[Any], asyncio.WriteTransport] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer.transport
        try:
            state = LifespanState(state_of(writer.get_extra_info("ssl_object")))
            await TCPServer(app, loop, config, context, state, reader, writer)
        finally:
            del connections[task]

    server = await asyncio.start_server(
        connected,
        sock=listener,
        backlog=config.backlog,
        ssl=tls,
        ssl_handshake_timeout=config.ssl_handshake_timeout if tls else None,
        start_serving=False,  # below, where a cancellation lets go of the socket
    )
    try:
        await server.start_serving()
        await closed.wait()
    finally:
        with anyio.CancelScope(shield=True):
            server.close()
            await context.terminated.set()
            if connections:
                await asyncio.wait(connections, timeout=grace)
            for transport in list(connections.values()):
                transport.abort()
            if connections:
                await asyncio.wait(connections, timeout=ABORT_GRACE)


async def _serve_trio(
    app: ASGIWrapper,
    config: Config,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    closed: anyio.Event,
    grace: float,
) -> None:
    import trio
    from hypercorn.trio.tcp_server import TCPServer
    from hypercorn.trio.worker_context import WorkerContext

    context = WorkerContext(None)
    empty = trio.Event()
    connections: set[trio.abc.HalfCloseableStream | trio.SSLStream[trio.SocketStream]] = set()

    async def connected(stream: Any) -> None:
        connections.add(stream)
        try:
            state = {}
            if tls is not None:
                try:
                    with trio.fail_after(config.ssl_handshake_timeout):
                        await stream.do_handshake()  # hypercorn's own is then done already
                except (trio.BrokenResourceError, trio.TooSlowError):
                    return
                state = state_of(stream)
            await TCPServer(app, config, context, ConnectionState(LifespanState(state)), stream)
        finally:
            connections.discard(stream)
            if closed.is_set() and not connections:
                empty.set()

    listening: Any = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    if tls is not None:
        listening = trio.SSLListener(listening, tls, https_compatible=True)
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, connected, [listening], handler_nursery=handlers)
            )
            await closed.wait()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        with trio.move_on_after(grace):
            if connections:
                await empty.wait()
        for stream in list(connections):
            await trio.aclose_forcefully(stream)
        handlers.cancel_scope.deadline = trio.current_time() + ABORT_GRACE


def _quiet_handshakes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A peer that gives up its TLS handshake is no event of ours."""
    if not isinstance(context.get("exception"), ssl.SSLError):
        loop.default_exception_handler(context)
