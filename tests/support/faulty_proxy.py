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

from greenroom.transports.client.errors import HttpError
from greenroom.transports.client.http import HttpClient
from tests.support.raw_http import LEFT_OUT, Seen, read_request, send, send_chunk, send_head


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
            request = await read_request(stream)
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
            await send(stream, fault.status, fault.headers, b"<html>no</html>")
            return
        async with HttpClient().request(
            seen.method, self.upstream + seen.path, headers=seen.headers, body=seen.body
        ) as response:
            if fault.kind == "lost":
                await response.read()
                return
            headers = [
                (name, value) for name, value in response.headers.items() if name not in LEFT_OUT
            ]
            if "event-stream" not in response.headers.get("content-type", ""):
                body = (await response.read()).replace(self.upstream.encode(), self.url.encode())
                if fault.kind == "half":
                    await send(stream, response.status, headers, body, cut=len(body) // 2)
                else:
                    await send(stream, response.status, headers, body)
                return
            await send_head(stream, response.status, [*headers, ("Transfer-Encoding", "chunked")])
            left = fault.events if fault.kind != "pass" else -1
            async for chunk in response.chunks():
                for event in chunk.replace(b"\r\n", b"\n").replace(b"\n\n", b"\n\n\0").split(b"\0"):
                    if left == 0 and event.strip(b":\n"):
                        await self._break(stream, fault, event)
                        return
                    if event:
                        await send_chunk(stream, event)
                        left -= b"data:" in event
            await stream.send(b"0\r\n\r\n")

    async def _break(self, stream: anyio.abc.ByteStream, fault: Fault, event: bytes) -> None:
        if fault.kind == "half":
            await send_chunk(stream, event[: len(event) // 2])
        elif fault.kind == "end":
            await stream.send(b"0\r\n\r\n")
        elif fault.kind == "silent":
            while await stream.receive():
                pass


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
