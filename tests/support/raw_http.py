"""HTTP/1.1 by hand: a request read, an answer written, for servers that misbehave on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import anyio
import anyio.abc
import h11

LEFT_OUT = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
"""Header fields that belong to one connection."""


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


async def read_request(stream: anyio.abc.ByteStream) -> Seen | None:
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
    kept = {name: value for name, value in headers.items() if name not in LEFT_OUT}
    return Seen(head.method.decode(), head.target.decode(), kept, body)


async def send_head(
    stream: anyio.abc.ByteStream, status: int, headers: Sequence[tuple[str, str]]
) -> None:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
    await stream.send("\r\n".join([*lines, "Connection: close", "", ""]).encode())


async def send(
    stream: anyio.abc.ByteStream,
    status: int,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    cut: int | None = None,
) -> None:
    await send_head(stream, status, [*headers, ("Content-Length", str(len(body)))])
    await stream.send(body[:cut])


async def send_chunk(stream: anyio.abc.ByteStream, data: bytes) -> None:
    await stream.send(b"%x\r\n%b\r\n" % (len(data), data))
