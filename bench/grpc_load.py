"""The load on gRPC: cleartext HTTP/2 as h2load speaks it, but every message with an id of its own.

h2load repeats one body, and a repeated message id is answered from memory. Requests are frames
made ahead; of an answer only what decides right or wrong is looked at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hpack import Encoder

from .load import Sample
from .wire import fresh_id

_PLACE = b"00000000-0000-4000-8000-000000000000"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_ROOM = 1 << 30
ANSWERED = b"You said: hello"


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def _message(text: bytes = b"hello") -> bytes:
    part = b"\x0a" + bytes((len(text),)) + text
    message = b"\x0a\x24" + _PLACE + b"\x20\x01\x2a" + bytes((len(part),)) + part
    request = b"\x12" + bytes((len(message),)) + message
    return b"\0" + len(request).to_bytes(4) + request


class Connection(asyncio.Protocol):
    """Keeps ``streams`` calls going until told to stop."""

    def __init__(self, method: str, streams: int, expect: bytes, streaming: bool) -> None:
        encoder = Encoder()
        header = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/lf.a2a.v1.A2AService/{method}"),
            (":authority", "127.0.0.1"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("a2a-version", "1.0"),
        ]
        self._first, self._later = encoder.encode(header), encoder.encode(header)
        self._before, _, self._after = _message().partition(_PLACE)
        self._streams = streams
        self._expect = expect
        self._streaming = streaming
        self._buffer = bytearray()
        self._open: dict[int, tuple[float, bytearray]] = {}
        self._next = 1
        self._received = 0
        self.latencies: list[float] = []
        self.messages = 0
        self.writes = 0
        self.stopping = False
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = b"\0\x04" + _ROOM.to_bytes(4)  # INITIAL_WINDOW_SIZE
        transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, _ROOM.to_bytes(4))
        )

    def begin(self) -> None:
        self._transport.write(b"".join([self._request() for _ in range(self._streams)]))

    def _request(self) -> bytes:
        stream, self._next = self._next, self._next + 2
        self._open[stream] = (time.perf_counter(), bytearray())
        header = self._later if stream > 1 else self._first
        body = self._before + fresh_id() + self._after
        return _frame(_HEADERS, _END_HEADERS, stream, header) + _frame(
            _DATA, _END_STREAM, stream, body
        )

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        out: list[bytes] = []
        at, size = 0, len(buffer)
        while size - at >= 9:
            end = at + 9 + int.from_bytes(buffer[at : at + 3])
            if end > size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            if kind in (_DATA, _HEADERS):
                stream = int.from_bytes(buffer[at + 5 : at + 9])
                if kind == _DATA:
                    self._open[stream][1].extend(buffer[at + 9 : end])
                    self._received += end - at - 9
                    self.writes += 1
                if flags & _END_STREAM:
                    self._ended(stream, out)
            elif kind == _SETTINGS and not flags & _ACK:
                out.append(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                out.append(_frame(_PING, _ACK, 0, bytes(buffer[at + 9 : end])))
            elif kind == _GOAWAY:
                self.idle.set_exception(ValueError(f"GOAWAY {bytes(buffer[at + 9 : end])!r}"))
            at = end
        del buffer[:at]
        if self._received > _ROOM // 2:
            out.append(_frame(_WINDOW, 0, 0, self._received.to_bytes(4)))
            self._received = 0
        if out:
            self._transport.write(b"".join(out))

    def _ended(self, stream: int, out: list[bytes]) -> None:
        began, body = self._open.pop(stream)
        self.latencies.append(time.perf_counter() - began)
        if self._expect not in body:
            self.idle.set_exception(ValueError(f"an answer without {self._expect!r}: {body!r}"))
            return
        if self._streaming:
            at = 0
            while at < len(body):
                at += 5 + int.from_bytes(body[at + 1 : at + 5])
                self.messages += 1
        if not self.stopping:
            out.append(self._request())
        elif not self._open and not self.idle.done():
            self.idle.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.idle.done():
            self.idle.set_exception(error or ConnectionError("the server hung up"))

    def close(self) -> None:
        self._transport.close()


async def hammer(
    port: int,
    method: str = "SendMessage",
    *,
    expect: bytes = ANSWERED,
    seconds: float,
    connections: int = 1,
    streams: int = 32,
    streaming: bool = False,
) -> Sample:
    """Keep ``streams`` calls open over ``connections`` for ``seconds``.

    Raises ValueError at the first answer without ``expect``.
    """
    loop = asyncio.get_running_loop()
    make: Callable[[], Connection] = lambda: Connection(  # noqa: E731
        method, streams // connections, expect, streaming
    )
    opened = [
        (await loop.create_connection(make, "127.0.0.1", port))[1] for _ in range(connections)
    ]
    start = time.perf_counter()
    for one in opened:
        one.begin()
    try:
        done, _ = await asyncio.wait([one.idle for one in opened], timeout=seconds)
        for one in opened:
            one.stopping = True
        for failed in done:
            failed.result()
        for one in opened:
            await one.idle
    finally:
        for one in opened:
            one.close()
    elapsed = time.perf_counter() - start
    latencies = sorted(latency for one in opened for latency in one.latencies)
    return Sample(
        len(latencies),
        elapsed,
        latencies[len(latencies) // 2],
        latencies[int(len(latencies) * 0.99)],
        sum(one.messages for one in opened),
        sum(one.writes for one in opened),
    )
