"""The load generator: raw HTTP/1.1 keep-alive connections that spend as little as they can."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_LAST = b"\r\n0\r\n\r\n"  # no JSON ends so: safe to look for without walking the frames
_FRAME = re.compile(rb"(?:^|\r\n)[0-9a-fA-F]+\r\n")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes  # a chunked body is left in its framing

    @property
    def events(self) -> int:
        return self.body.count(b"data:")

    @property
    def writes(self) -> int:
        """HTTP chunks the body came in: how many times the server wrote."""
        return max(1, len(_FRAME.findall(self.body)) - 1)


class Connection(asyncio.Protocol):
    """One request at a time; `ask` sends prepared bytes and waits for the whole answer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._body = 0  # where the body starts; 0 while the head is incomplete
        self._end = 0  # where it ends; 0 for a chunked one
        self._until = b""  # answer as soon as this was seen, and leave the stream open

    @classmethod
    async def open(cls, port: int) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes without waiting for an answer."""
        assert self._transport is not None
        self._transport.write(data)

    async def ask(self, request: bytes, until: bytes = b"") -> Answer:
        assert self._transport is not None
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._until = until
        self._buffer.clear()
        self._body = 0
        self._transport.write(request)
        return await waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        waiter, buffer = self._waiter, self._buffer
        if waiter is None or waiter.done():
            return
        buffer += data
        if not self._body and not self._read_head():
            return
        done = len(buffer) >= self._end if self._end else buffer.endswith(_LAST)
        if done or (self._until and self._until in buffer):
            waiter.set_result(Answer(int(buffer[9:12]), bytes(buffer[self._body :])))

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body = end + 4
        length = _LENGTH.search(self._buffer, 0, end)
        if length is None and not _CHUNKED.search(self._buffer, 0, end):
            raise ValueError(f"an answer without a length: {bytes(self._buffer[:end])!r}")
        self._end = self._body + int(length[1]) if length else 0
        return True


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of load saw; times in seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    events: int
    writes: int


async def hammer(
    port: int,
    request: Callable[[], bytes],
    *,
    expect: bytes,
    seconds: float,
    connections: int = 16,
    streaming: bool = False,
) -> Sample:
    """Send `request()` again and again over `connections` for `seconds`.

    Raises ValueError at the first answer that is not a 200 with `expect` in it: a server that
    answers quickly and wrongly has not won anything.
    """
    latencies: list[float] = []
    events = writes = 0
    clock = time.perf_counter
    opened = [await Connection.open(port) for _ in range(connections)]
    start = clock()
    deadline = start + seconds

    async def one(connection: Connection) -> None:
        nonlocal events, writes
        while (began := clock()) < deadline:
            answer = await connection.ask(request())
            latencies.append(clock() - began)
            if answer.status != 200 or expect not in answer.body:
                raise ValueError(f"{answer.status} without {expect!r}: {answer.body[-600:]!r}")
            if streaming:
                events += answer.events
                writes += answer.writes

    try:
        await asyncio.gather(*(one(connection) for connection in opened))
    finally:
        for connection in opened:
            connection.close()
    elapsed = clock() - start
    if not latencies:
        raise RuntimeError("not one request was sent in time: the machine is too busy to measure")
    latencies.sort()
    return Sample(
        len(latencies),
        elapsed,
        latencies[len(latencies) // 2],
        latencies[int(len(latencies) * 0.99)],
        events,
        writes,
    )
