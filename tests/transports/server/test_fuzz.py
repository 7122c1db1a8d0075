"""Random bytes of HTTP/1.1 and random frames of HTTP/2 against real processes of every event loop.

Whatever comes, the process lives, a good client on a connection of its own is answered throughout,
and the log grows by less than a line for each input.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from h2.settings import SettingCodes
from hyperframe.frame import SettingsFrame

from tests.support.processes import Process
from tests.support.servers import as_process

from .conftest import HEALTH, answered, connect, connect_tls
from .test_http1 import NEXT, REFUSED

FEW = 100
MANY = 100_000
LINE = 300
"""Bytes of one line of the log."""

_SEEDS = [
    NEXT,
    HEALTH + b"Connection: close\r\n\r\n",
    HEALTH + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x05hello",
    b"POST /a2a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    b'Content-Length: 2\r\n\r\n{}',
    b"POST /a2a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /.well-known/agent-card.json HTTP/1.1\r\nHost: \xff\r\nForwarded: for=\"\r\n\r\n",
    *(request for _, request in REFUSED.values()),
]  # fmt: skip
_TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"%0d%0a", b"\xff", b"HTTP/2.0", b"HTTP/1.1",
    b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"A" * 20_000,
    b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"-1", b"PRI * ",
]  # fmt: skip
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# ":method GET", ":scheme https", ":path /" of HPACK's static table, and ":authority x"
_BLOCK = b"\x82\x87\x84\x41\x01x"


def http1(chance: random.Random) -> bytes:
    """A request, or several, with some of their bytes changed."""
    data = bytearray(b"".join(chance.choices(_SEEDS, k=chance.randint(1, 3))))
    for _ in range(chance.randint(0, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at:at] = chance.choice(_TOKENS)
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at : at + 1] = chance.randbytes(1)
            case _:
                data[at:at] = data[: chance.randint(0, 40)]
    return bytes(data)


def _frame(chance: random.Random) -> bytes:
    kind, flags = chance.randint(0, 11), chance.choice([0, 1, 4, 5, 8, 0x20, 0x25, 0xFF])
    stream = chance.choice([0, 1, 1, 3, 5, 2, 2**31 - 1])
    match chance.randrange(4):
        case 0:
            kind, flags, payload = 1, 5, _BLOCK
        case 1:
            payload = _BLOCK + chance.randbytes(chance.randint(0, 6))
        case 2:
            payload = chance.randbytes(chance.choice([0, 4, 5, 8, 6, 30]))
        case _:
            payload = bytes(chance.choice([0, 4, 5, 8, 6]))
    size = len(payload) if chance.random() < 0.9 else chance.randint(0, 2**24 - 1)
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def http2(chance: random.Random) -> bytes:
    """The preface, and frames of which some are valid."""
    window = chance.choice([0, 65_535])
    start = SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: window}).serialize()
    frames = b"".join(_frame(chance) for _ in range(chance.randint(1, 20)))
    return (_PREFACE if chance.random() < 0.95 else b"") + start + frames


def attack(
    server: Process,
    open_: Callable[[], socket.socket],
    make: Callable[[random.Random], bytes],
    good: socket.socket,
    inputs: int,
    seed: int,
) -> None:
    chance = random.Random(seed)
    for number in range(inputs):
        data = make(chance)
        with contextlib.suppress(OSError), open_() as connection:
            connection.sendall(data)
            if chance.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.02)
            connection.recv(65536)
        if number % 10 == 0:
            good.sendall(NEXT)
            answered(good)
    assert server.process.poll() is None
    good.sendall(NEXT)
    answered(good)


def _quiet(server: Process, inputs: int) -> None:
    assert server.stop() == 0
    assert "Traceback" not in server.log, server.log[-3000:]
    assert len(server.log) < inputs * LINE + 4000


@pytest.mark.parametrize(
    "inputs", [FEW, pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
)
def test_bytes_of_http1(loop: tuple[str, ...], inputs: int) -> None:
    with as_process("--store", "memory://", *loop) as server, connect(server) as good:
        attack(server, lambda: connect(server), http1, good, inputs, seed=1)
        _quiet(server, inputs)


@pytest.mark.parametrize(
    "inputs", [FEW, pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
)
def test_frames_of_http2(
    loop: tuple[str, ...], inputs: int, certificate: Path, authority: trustme.CA
) -> None:
    tls = ("--certfile", str(certificate), "--keyfile", str(certificate), "--http2")

    def open_() -> ssl.SSLSocket:
        return connect_tls(server, authority, "h2")

    with as_process("--store", "memory://", *loop, *tls) as server:
        with connect_tls(server, authority, "http/1.1") as good:
            attack(server, open_, http2, good, inputs, seed=2)
        _quiet(server, inputs)


def test_frames_of_http2_on_the_plain_port(loop: tuple[str, ...]) -> None:
    with as_process("--store", "memory://", *loop) as server, connect(server) as good:
        attack(server, lambda: connect(server), http2, good, FEW, seed=3)
        _quiet(server, FEW)
