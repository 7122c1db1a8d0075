"""The bundled entrypoint: it runs the runtime, listens, and stops both in order.

A signal first drains the runtime: it takes no new work, streams end with advice to come back, and
handlers get their grace. Then connections close, then the runtime's lifespan ends; ``Stopping``
holds the deadline over all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from typing import Any, Protocol

import anyio

from .accept import Listener
from .collector import tune_garbage_collection
from .connections import Connections
from .listening import authority, capacity, configure, listen, raise_file_limit
from .settings import ServerSettings
from .signals import Stopping, leave

log = logging.getLogger("greenroom.server")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CLOSE_GRACE = 2.0
"""What connections get to finish writing after the runtime was drained, in seconds."""


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
    around: AbstractAsyncContextManager[object] | None = None,
    alone: bool = False,
    speaks_for_many: Callable[[str], bool] = lambda address: False,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; call ``announce`` with the bound URL.

    ``alone``: the process is this server's, and ends with it: ``run`` does not return.
    ``around`` is entered before the application starts, and left when it has stopped.
    ``speaks_for_many`` knows the addresses of proxies: ``max_connections_per_address`` does not
    hold for them. Raises ServerError when it cannot listen or read its certificate.
    """
    config = configure(settings)
    if alone:
        raise_file_limit(settings.max_connections)
    listening = listen(settings)
    connections = Connections(
        *capacity(settings), keep_alive=settings.keep_alive, exempt=speaks_for_many
    )
    stopping = Stopping(settings.deadline)
    closed = anyio.Event()
    outer, other = around or nullcontext(), beside or nullcontext()
    with closing(listening), stopping.listening():
        async with (
            outer,
            app.lifespan(),
            other,
            anyio.create_task_group() as serving,
        ):
            if settings.tune_gc:
                tune_garbage_collection()
            listener = Listener(app, config, listening, connections, settings.write_timeout)
            serving.start_soon(listener.run, closed, CLOSE_GRACE)
            scheme = "https" if config.ssl_enabled else "http"
            announce(f"{scheme}://{authority(listening)}")
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
