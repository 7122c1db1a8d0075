"""gRPC messages in a stream of bytes: a flag, four bytes of length, and that many bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from .status import RpcError, Status

PREFIX = 5
IDENTITY, GZIP = b"identity", b"gzip"
ACCEPTED = (b"grpc-accept-encoding", b"identity,gzip")


class Assembler:
    """Makes messages of the bytes of one request. It never holds more than one and its limit."""

    __slots__ = ("_buffer", "_gzip", "_limit", "_wanted")

    def __init__(self, limit: int, encoding: bytes = IDENTITY) -> None:
        """``encoding`` is what ``grpc-encoding`` says; raises RpcError for one that is unknown."""
        if encoding not in (IDENTITY, GZIP):
            raise RpcError(
                Status.UNIMPLEMENTED,
                f"grpc-encoding {encoding.decode('latin-1')[:32]!r} is not supported; "
                "use identity or gzip",
                [ACCEPTED],
            )
        self._limit = limit
        self._gzip = encoding == GZIP
        self._buffer = bytearray()
        self._wanted = PREFIX

    @property
    def pending(self) -> int:
        """Bytes held of a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Return the messages that are complete now; raises RpcError as soon as one cannot be."""
        buffer = self._buffer
        if not buffer and len(data) >= PREFIX:
            end = PREFIX + int.from_bytes(data[1:PREFIX])
            if len(data) == end:  # one message in one frame, as it almost always is
                self._check(data[0], end - PREFIX)
                return (self._message(data[0], data[PREFIX:]),)
        buffer += data
        if len(buffer) < self._wanted:
            return ()
        found: list[bytes] = []
        while len(buffer) >= PREFIX:
            size = int.from_bytes(buffer[1:PREFIX])
            self._check(buffer[0], size)
            self._wanted = PREFIX + size
            if len(buffer) < self._wanted:
                return found
            found.append(self._message(buffer[0], bytes(buffer[PREFIX : self._wanted])))
            del buffer[: self._wanted]
        self._wanted = PREFIX
        return found

    def _check(self, flag: int, size: int) -> None:
        if flag > 1:
            raise RpcError(Status.INTERNAL, "A message begins with 0 or 1, the compressed flag")
        if flag and not self._gzip:
            raise RpcError(
                Status.INTERNAL,
                "A message is marked as compressed, but grpc-encoding names no compression",
            )
        if size > self._limit:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"A message of {size} bytes is longer than the {self._limit} this server takes",
            )

    def _message(self, flag: int, body: bytes) -> bytes:
        if not flag:
            return body
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            message = inflate.decompress(body, self._limit + 1)
        except zlib.error:
            raise RpcError(Status.INTERNAL, "A compressed message is not valid gzip") from None
        if len(message) > self._limit:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"A message is longer than the {self._limit} bytes this server takes",
            )
        if not inflate.eof or inflate.unused_data:
            raise RpcError(Status.INTERNAL, "A compressed message is cut off")
        return message


def framed(message: bytes) -> bytes:
    """Return the message with its prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4) + message
