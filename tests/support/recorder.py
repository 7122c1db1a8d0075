"""A server that answers what a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import anyio.abc
from anyio.streams.tls import TLSListener

from tests.support.raw_http import Seen, read_request, send


class Reply(NamedTuple):
    status: int = 200
    body: Any = None
    """Sent as JSON; bytes as they are."""
    headers: Sequence[tuple[str, str]] = ()


class Recorder:
    """``answer`` is called with each request; a request that it knows nothing of gets 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.answer: Callable[[Seen], Reply | None] = lambda _: None

    async def handle(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            request = await read_request(stream)
            if request is None:
                return
            self.seen.append(request)
            reply = self.answer(request) or Reply(404, {})
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            headers = [("Content-Type", "application/json"), *reply.headers]
            try:
                await send(stream, reply.status, headers, body)
            except anyio.BrokenResourceError:
                return

    def asked(self) -> str:
        """All that was ever sent here, as one text."""
        return "\n".join(
            f"{seen.method} {seen.path} {seen.headers} {seen.body!r}" for seen in self.seen
        )


@asynccontextmanager
async def recorder(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Recorder, None]:
    """Run a recorder on a free port of this machine, with ``tls`` over TLS."""
    sockets = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = sockets.extra(anyio.abc.SocketAttribute.local_port)
    there = Recorder(f"{'http' if tls is None else 'https'}://127.0.0.1:{port}")
    listener: Any = sockets
    if tls is not None:
        listener = TLSListener(sockets, tls, standard_compatible=False)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, there.handle)
        yield there
        group.cancel_scope.cancel()
    await sockets.aclose()


def card_of(
    url: str,
    *,
    schemes: Mapping[str, Any] | None = None,
    requirements: Sequence[Mapping[str, Sequence[str]]] = (),
    **more: Any,
) -> dict[str, Any]:
    """The card of an agent whose JSON-RPC is at ``url``."""
    return {
        "name": "Recorder",
        "description": "",
        "version": "1",
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "capabilities": {},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [],
        "securitySchemes": dict(schemes or {}),
        "securityRequirements": [
            {"schemes": {name: {"list": list(scopes)} for name, scopes in one.items()}}
            for one in requirements
        ],
        **more,
    }


def message(text: str = "hello") -> dict[str, Any]:
    """The JSON-RPC answer to a send: a message."""
    said = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": text}]}
    return {"jsonrpc": "2.0", "id": 1, "result": {"message": said}}
