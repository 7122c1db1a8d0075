"""gRPC messages in a stream of bytes: a flag, four bytes of length, and that many bytes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from .status import RpcError, Status

PREFIX = 5
IDENTITY, GZIP = b"identity", b"gzip"
ACCEPTED = (b"grpc-accept-encoding", b"identity,gzip")

RawMessage = tuple[int, bytes]
"""The compressed flag of a message and its bytes as they came: nothing is inflated yet."""


class Assembler:
    """Cuts the bytes of one request into messages. It holds at most one unfinished message.

    It never inflates: ``inflated`` does, which a call asks for when its caller is admitted.
    """

    __slots__ = ("_buffer", "_gzip", "_wanted", "limit")

    def __init__(self, limit: int, encoding: bytes = IDENTITY) -> None:
        """``limit`` is in bytes; ``encoding`` is the value of ``grpc-encoding``.

        Raises RpcError for an encoding that this server does not know.
        """
        if encoding not in (IDENTITY, GZIP):
            raise RpcError(
                Status.UNIMPLEMENTED,
                f"grpc-encoding {encoding.decode('latin-1')[:32]!r} is not supported; "
                "use identity or gzip",
                [ACCEPTED],
            )
        self.limit = limit
        self._gzip = encoding == GZIP
        self._buffer = bytearray()
        self._wanted = PREFIX

    @property
    def pending(self) -> int:
        """Bytes held of a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Sequence[RawMessage]:
        """Return the messages that are complete now; raise RpcError as soon as one cannot be."""
        buffer = self._buffer
        if not buffer and len(data) >= PREFIX:
            end = PREFIX + int.from_bytes(data[1:PREFIX])
            if len(data) == end:  # one message in one frame: the usual case
                self._check(data[0], end - PREFIX)
                return ((data[0], data[PREFIX:]),)
        buffer += data
        if len(buffer) < self._wanted:
            return ()
        messages: list[RawMessage] = []
        start = 0
        while len(buffer) - start >= PREFIX:
            size = int.from_bytes(buffer[start + 1 : start + PREFIX])
            self._check(buffer[start], size)
            end = start + PREFIX + size
            if len(buffer) < end:
                break
            messages.append((buffer[start], bytes(buffer[start + PREFIX : end])))
            start = end
        del buffer[:start]  # once: many small messages cost no more than one long one
        self._wanted = PREFIX
        if len(buffer) >= PREFIX:
            self._wanted += int.from_bytes(buffer[1:PREFIX])
        return messages

    def _check(self, flag: int, size: int) -> None:
        if flag > 1:
            raise RpcError(Status.INTERNAL, "A message begins with 0 or 1, the compressed flag")
        if flag and not self._gzip:
            raise RpcError(
                Status.INTERNAL,
                "A message is marked as compressed, but grpc-encoding names no compression",
            )
        if size > self.limit:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"A message of {size} bytes is longer than the {self.limit} this method takes",
            )


def inflated(message: RawMessage, limit: int) -> bytes:
    """Return the bytes of a message, decompressed where its flag says so.

    zlib stops at ``limit`` bytes: a longer message costs no more memory than that. Raises RpcError.
    """
    flag, body = message
    if not flag:
        return body
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        whole = inflate.decompress(body, limit + 1)
    except zlib.error:
        raise RpcError(Status.INTERNAL, "A compressed message is not valid gzip") from None
    if len(whole) > limit:
        raise RpcError(
            Status.RESOURCE_EXHAUSTED,
            f"A message is longer than the {limit} bytes this method takes",
        )
    if not inflate.eof or inflate.unused_data:
        raise RpcError(Status.INTERNAL, "A compressed message is cut off")
    return whole


def framed(message: bytes) -> bytes:
    """Return the message with its prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4) + message
