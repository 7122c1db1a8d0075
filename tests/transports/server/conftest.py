"""Servers as processes, one of each event loop, and raw bytes to send to them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.support.processes import Process
from tests.support.servers import as_process

LOOPS = {
    "asyncio": ("--loop", "asyncio"),
    "uvloop": ("--loop", "uvloop"),
    "trio": ("--backend", "trio"),
}
HEALTH = b"GET /health HTTP/1.1\r\nHost: agent.test\r\n"
OK = b'{"status":"ok"}'


@pytest.fixture(scope="module", params=LOOPS)
def loop(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options of a server that choose its event loop."""
    return LOOPS[request.param]


@pytest.fixture(scope="module")
def server(loop: tuple[str, ...]) -> Iterator[Process]:
    with as_process("--store", "memory://", *loop) as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def connect(server: Process) -> socket.socket:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


@cache
def _context(authority: trustme.CA, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def connect_tls(server: Process, authority: trustme.CA, *alpn: str) -> ssl.SSLSocket:
    context = _context(authority, alpn)
    return context.wrap_socket(connect(server), server_hostname="127.0.0.1")


def until_closed(connection: socket.socket) -> bytes:
    """Return all that the server says until it closes. A reset counts as closing."""
    out = bytearray()
    try:
        while data := connection.recv(65536):
            out += data
    except ConnectionError:
        pass
    return bytes(out)


def answered(connection: socket.socket, count: int = 1) -> bytes:
    """Return what the server says up to ``count`` healthy answers."""
    out = bytearray()
    while out.count(OK) < count:
        data = connection.recv(65536)
        assert data, bytes(out)
        out += data
    return bytes(out)


def serves(server: Process) -> None:
    """Assert that the process lives and serves others."""
    assert server.process.poll() is None
    with connect(server) as connection:
        connection.sendall(HEALTH + b"\r\n")
        answered(connection)
