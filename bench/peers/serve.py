# mypy: ignore-errors
"""Put an ASGI application on a server in the configuration that favours it, on a free port."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Callable
from typing import Any

from . import AGENTS


def main(
    make_app: Callable[[argparse.Namespace], Any],
    bundled: Callable[[argparse.Namespace], None] | None = None,
) -> None:
    """Serve `make_app(options)` until killed; the first line printed names the address.

    `bundled` is the peer's own way to serve itself, where it has one.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", choices=AGENTS, default="task")
    parser.add_argument("--server", choices=("uvicorn", "fastapi", "hypercorn"), default="uvicorn")
    parser.add_argument("--store", default="memory://", help="memory:// or sqlite:///path")
    options = parser.parse_args()
    if bundled is not None:
        bundled(options)
        return

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    app = make_app(options)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    if options.server in ("uvicorn", "fastapi"):
        _uvicorn(app, listener)
    else:
        _hypercorn(app, listener)


def _uvicorn(app: Any, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning", ws="none"
    )
    uvicorn.Server(config).run(sockets=[listener])


def _hypercorn(app: Any, listener: socket.socket) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = None
    config.keep_alive_timeout = 600
    config.loglevel = "WARNING"
    asyncio.run(serve(app, config))
