"""Inputs that no client sends: random bytes, frames and messages that are almost right.

Each is what one connection sends. They are made from a seed."""

from __future__ import annotations

import gzip
import random
import socket
from collections import deque
from contextlib import suppress

from hpack import Encoder

from .raw import framed, request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
_METHODS = (
    "/lf.a2a.v1.A2AService/SendMessage",
    "/lf.a2a.v1.A2AService/SendStreamingMessage",
    "/lf.a2a.v1.A2AService/GetTask",
    "/lf.a2a.v1.A2AService/ListTasks",
    "/lf.a2a.v1.A2AService/SubscribeToTask",
    "/lf.a2a.v1.A2AService/GetExtendedAgentCard",
    "/a2a.v1.A2AService/SendMessage",
    "/a2a.v1.A2AService/GetAgentCard",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/",
    "",
    "/\u20ac",
)
_ODD = ("", "\0", "\u20ac", "x" * 3000, "5S", "gzip", "0.3", "1.0", "[::", '"', "a,b", "\r\nx: y")
_FIELDS = (
    ":method", ":path", ":scheme", ":authority", ":protocol", ":status", "content-type", "te",
    "grpc-timeout", "grpc-encoding", "a2a-version", "a2a-extensions", "authorization",
    "traceparent", "x-forwarded-for", "forwarded", "content-length", "transfer-encoding",
    "connection", "host", "", "X-Upper", "x-\u20ac",
)  # fmt: skip


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


class Fuzz:
    """``input`` makes the next one."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def input(self) -> bytes:
        dice = self._dice
        kind = dice.randrange(10)
        if kind == 0:
            return dice.randbytes(dice.randrange(1, 200))
        if kind == 1:
            return PREFACE + dice.randbytes(dice.randrange(1, 200))
        if kind == 2:
            return PREFACE + SETTINGS + self._damaged(self._calls())
        if kind <= 5:
            frames = [self._frame() for _ in range(dice.randrange(1, 12))]
            return PREFACE + SETTINGS + b"".join(frames)
        return PREFACE + SETTINGS + self._calls()

    def _calls(self) -> bytes:
        """Calls that are sound HTTP/2; their headers and messages need not be sound gRPC."""
        dice, encoder = self._dice, Encoder()
        out = []
        for number in range(dice.randrange(1, 4)):
            stream = 2 * number + 1
            header = encoder.encode(self._header(odd=dice.random() < 0.5))
            body = self._message()
            out.append(frame(1, 4, stream, header))
            while len(body) > 16_384:
                out.append(frame(0, 0, stream, body[:16_384]))
                body = body[16_384:]
            out.append(frame(0, dice.choice((0, 1, 1, 1)), stream, body))
        return b"".join(out)

    def _header(self, *, odd: bool) -> list[tuple[str, str]]:
        dice = self._dice
        header = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", dice.choice(_METHODS)),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        if dice.random() < 0.3:
            header.append(("grpc-encoding", "gzip"))
        if odd:
            for _ in range(dice.randrange(1, 4)):
                at = dice.randrange(len(header) + 1)
                header.insert(at, (dice.choice(_FIELDS), dice.choice(_ODD)))
            if dice.random() < 0.3:
                del header[dice.randrange(len(header))]
        return header

    def _message(self) -> bytes:
        dice = self._dice
        body = request("x" * dice.choice((0, 5, 500)), str(dice.random()))[5:]
        kind = dice.randrange(8)
        if kind == 0:
            body = dice.randbytes(dice.randrange(60))
        elif kind <= 3:
            body = self._damaged(body)
        elif kind == 4:  # deeper than any reader goes
            for _ in range(dice.randrange(1, 300)):
                body = b"\x12" + len(body).to_bytes(1 if len(body) < 128 else 2, "little") + body
        if dice.random() < 0.3:
            packed = gzip.compress(dice.choice((body, b"\0" * 5_000_000)), 1)
            return framed(self._damaged(packed) if dice.random() < 0.3 else packed, 1)
        made = framed(body, dice.choice((0, 0, 0, 0, 1, 7)))
        return self._damaged(made) if dice.random() < 0.2 else made

    def _frame(self) -> bytes:
        dice = self._dice
        kind = dice.choice((0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 200))
        stream = dice.choice((0, 0, 1, 1, 3, 5, 2, 2**31 - 1, 2**31))
        body = dice.choice(
            (
                b"",
                b"\0\0\0\x01",
                b"\x7f\xff\xff\xff",
                b"\0" * 8,
                b"\0\x04\0\0\0\0",
                b"\0\x04\xff\xff\xff\xff",
                b"\0\x05\0\0\0\0",
                Encoder().encode(self._header(odd=True)),
                framed(b"\x0a\0"),
                dice.randbytes(dice.randrange(40)),
            )
        )
        made = frame(kind, dice.choice((0, 1, 4, 5, 8, 0x20, 0x2D, 255)), stream, body)
        return made * dice.choice((1, 1, 1, 1, 1, 500)) if kind not in (0, 1) else made

    def _damaged(self, body: bytes) -> bytes:
        dice, out = self._dice, bytearray(body)
        for _ in range(dice.randrange(1, 5)):
            if not out:
                break
            at = dice.randrange(len(out))
            match dice.randrange(4):
                case 0:
                    out[at] ^= 1 << dice.randrange(8)
                case 1:
                    del out[at : at + dice.randrange(1, 20)]
                case 2:
                    out[at:at] = dice.randbytes(dice.randrange(1, 20))
                case _:
                    out[at:at] = out[at : at + dice.randrange(1, 40)]
        return bytes(out)


class Attackers:
    """Keeps some connections open behind the newest: not every one leaves at once."""

    def __init__(self, port: int, open_at_once: int = 20) -> None:
        self._port = port
        self._open: deque[socket.socket] = deque()
        self._most = open_at_once

    def send(self, data: bytes) -> None:
        """Send what one connection sends; what the server answers is mostly left unread."""
        peer = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        self._open.append(peer)
        with suppress(OSError):  # the server may end the connection first
            peer.sendall(data)
        if len(self._open) > self._most:
            self._open.popleft().close()

    def close(self) -> None:
        while self._open:
            self._open.popleft().close()
