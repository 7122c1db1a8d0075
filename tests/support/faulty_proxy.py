"""A proxy that breaks answers as a test says: cut, ended early, silent, late, or replaced.

``plan`` says what happens to the next requests for an agent, one entry a request; when it is empty
everything passes. Requests for cards always pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
import anyio.abc
import h11

from greenroom.transports.client.errors import HttpError
from greenroom.transports.client.http import HttpClient

_HEADERS_LEFT_OUT = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Fault(NamedTuple):
    """What happens to one answer."""

    kind: str = "pass"
    """``pass``; ``cut``: the connection closes; ``half``: it closes inside the next event;
    ``end``: the body ends as if all were well; ``silent``: nothing comes any more; ``lost``: the
    request reaches the server, and its answer nobody; ``refuse``: neither; ``status``: the proxy
    answers itself."""
    events: int = 0
    """Events that pass before."""
    status: int = 502
    headers: tuple[tuple[str, str], ...] = ()


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FaultyProxy:
    def __init__(self, upstream: str, url: str) -> None:
        self.upstream = upstream
        self.url = url
        self.plan: deque[Fault] = deque()
        self.always: Fault = Fault()
        """What happens where ``plan`` is empty."""
        self.seen: list[Seen] = []
        """Requests for the agent."""

    async def handle(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            request = await _request(stream)
            if request is None:
                return
            fault = Fault()
            if "/.well-known/" not in request.path:
                self.seen.append(request)
                fault = self.plan.popleft() if self.plan else self.always
            try:
                await self._answer(stream, request, fault)
            except (anyio.BrokenResourceError, anyio.EndOfStream, HttpError):
                return  # one of the two went away

    async def _answer(self, stream: anyio.abc.ByteStream, seen: Seen, fault: Fault) -> None:
        if fault.kind == "refuse":
            return
        if fault.kind == "status":
            await _send(stream, fault.status, fault.headers, b"<html>no</html>")
            return
        async with HttpClient().request(
            seen.method, self.upstream + seen.path, headers=seen.headers, body=seen.body
        ) as response:
            if fault.kind == "lost":
                await response.read()
                return
            headers = [
                (name, value)
                for name, value in response.headers.items()
                if name not in _HEADERS_LEFT_OUT
            ]
            if "event-stream" not in response.headers.get("content-type", ""):
                body = (await response.read()).replace(self.upstream.encode(), self.url.encode())
                if fault.kind in ("cut", "half"):
                    await _send(stream, response.status, headers, body, cut=len(body) // 2)
                else:
                    await _send(stream, response.status, headers, body)
                return
            await _head(stream, response.status, [*headers, ("Transfer-Encoding", "chunked")])
            left = fault.events if fault.kind != "pass" else -1
            async for chunk in response.chunks():
                for event in chunk.replace(b"\r\n", b"\n").replace(b"\n\n", b"\n\n\0").split(b"\0"):
                    if left == 0 and event.strip(b":\n"):
                        await self._break(stream, fault, event)
                        return
                    if event:
                        await _chunk(stream, event)
                        left -= b"data:" in event
            await stream.send(b"0\r\n\r\n")

    async def _break(self, stream: anyio.abc.ByteStream, fault: Fault, event: bytes) -> None:
        if fault.kind == "half":
            await _chunk(stream, event[: len(event) // 2])
        elif fault.kind == "end":
            await stream.send(b"0\r\n\r\n")
        elif fault.kind == "silent":
            while await stream.receive():
                pass


async def _request(stream: anyio.abc.ByteStream) -> Seen | None:
    connection = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return None
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            break
    assert head is not None
    headers = {name.decode(): value.decode() for name, value in head.headers}
    kept = {name: value for name, value in headers.items() if name not in _HEADERS_LEFT_OUT}
    return Seen(head.method.decode(), head.target.decode(), kept, body)


async def _head(stream: anyio.abc.ByteStream, status: int, headers: list[tuple[str, str]]) -> None:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
    await stream.send("\r\n".join([*lines, "Connection: close", "", ""]).encode())


async def _send(
    stream: anyio.abc.ByteStream,
    status: int,
    headers: list[tuple[str, str]] | tuple[tuple[str, str], ...],
    body: bytes,
    cut: int | None = None,
) -> None:
    await _head(stream, status, [*headers, ("Content-Length", str(len(body)))])
    await stream.send(body[:cut])


async def _chunk(stream: anyio.abc.ByteStream, data: bytes) -> None:
    await stream.send(b"%x\r\n%b\r\n" % (len(data), data))


@asynccontextmanager
async def faulty_proxy(upstream: str) -> AsyncGenerator[FaultyProxy, None]:
    """Run a proxy before the server at ``upstream``."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    parts = urlsplit(upstream)
    proxy = FaultyProxy(f"{parts.scheme}://{parts.netloc}", f"http://127.0.0.1:{port}")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, proxy.handle)
        yield proxy
        group.cancel_scope.cancel()
    await listener.aclose()
