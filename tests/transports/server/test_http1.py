"""Raw bytes of HTTP/1.1 against real processes: what is refused, and what ends when."""

from __future__ import annotations

import socket

import pytest

from tests.support.processes import Process
from tests.support.servers import as_process

from .conftest import HEALTH, answered, connect, serves, until_closed

_POST = b"POST /a2a HTTP/1.1\r\nHost: agent.test\r\nContent-Type: application/json\r\n"
_CHUNK = b"0\r\n\r\n"
NEXT = HEALTH + b"\r\n"
"""A request that must not be read behind a refused one."""

REFUSED = {
    "HTTP/2 by prior knowledge": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    "HTTP/3": (505, b"GET /health HTTP/3.0\r\nHost: agent.test\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /health HTTP/0.9\r\nHost: agent.test\r\n\r\n"),
    "length and coding": (
        400, _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNK,
    ),
    "coding and length": (
        400, _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + _CHUNK,
    ),
    "coding in HTTP/1.0": (
        400, b"POST /a2a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNK,
    ),
    "folded coding": (400, _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + _CHUNK),
    "folded by a tab": (400, _POST + b"X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n" + _CHUNK),
    "lines without CR": (400, b"GET /health HTTP/1.1\nHost: agent.test\n\n"),
    "one line without CR": (400, HEALTH + b"X: a\nY: b\r\n\r\n"),
    "CR in a line": (400, HEALTH + b"X: a\rY: b\r\n\r\n"),
    "two lengths": (400, _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + _CHUNK),
    "zero in the target": (400, b"GET /\0 HTTP/1.1\r\nHost: agent.test\r\n\r\n"),
    "an address without a host": (400, b"GET http:///health HTTP/1.1\r\nHost: agent.test\r\n\r\n"),
    "a target without a slash": (400, b"GET health HTTP/1.1\r\nHost: agent.test\r\n\r\n"),
    "nothing but a query": (400, b"GET ? HTTP/1.1\r\nHost: agent.test\r\n\r\n"),
    "an address of another scheme": (400, b"GET ftp://x/ HTTP/1.1\r\nHost: agent.test\r\n\r\n"),
    "a method in small letters": (501, b"get /health HTTP/1.1\r\nHost: agent.test\r\n\r\n"),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00" * 20),
}  # fmt: skip


@pytest.mark.parametrize(("status", "request_"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("pieces", [1, 3])
def test_what_two_readers_could_read_differently_is_refused_and_closed(
    server: Process, status: int, request_: bytes, pieces: int
) -> None:
    with connect(server) as connection:
        size = len(request_) // pieces + 1
        for at in range(0, len(request_), size):
            connection.sendall(request_[at : at + size])
        connection.sendall(NEXT)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    serves(server)


@pytest.mark.parametrize(
    "before", [NEXT, b"PUT /health HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"]
)
@pytest.mark.parametrize("name", ["lines without CR", "folded coding", "length and coding"])
def test_also_behind_a_request_that_is_good(server: Process, before: bytes, name: str) -> None:
    with connect(server) as connection:
        connection.sendall(before + REFUSED[name][1] + NEXT)
        answer = until_closed(connection)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400 " in answer


_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
TRAILERS = {
    "a line without CR": b"2\r\n{}\r\n0\r\nA: b\nC: d\r\n\r\n",
    "an end without CR": b"2\r\n{}\r\n0\r\nA: b\n\n",
    "an end without CR and no line": b"2\r\n{}\r\n0\r\n\n",
    "a folded line": b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a first line that is folded": b"0\r\n\tA: b\r\n\r\n",
    "a CR in a line": b"0\r\nA: b\rC: d\r\n\r\n",
}


@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("before", [b"", NEXT])
def test_a_chunked_body_whose_end_is_open_to_doubt_is_refused_and_closed(
    server: Process, before: bytes, apart: bool, trailer: bytes
) -> None:
    with connect(server) as connection:
        if apart:
            connection.sendall(before + _CHUNKED)
            for at in range(len(trailer)):
                connection.sendall(trailer[at : at + 1])
            connection.sendall(NEXT)
        else:
            connection.sendall(before + _CHUNKED + trailer + NEXT)
        answer = until_closed(connection)
    assert b"HTTP/1.1 400 " in answer, answer
    assert answer.count(b"HTTP/1.1 ") == 1 + bool(before)
    serves(server)


@pytest.mark.parametrize("apart", [False, True])
def test_a_chunked_body_may_have_extensions_and_trailers(server: Process, apart: bool) -> None:
    body = b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\nC: d\r\n\r\n"
    data = (_CHUNKED + body) * 2 + HEALTH + b"Connection: close\r\n\r\n"
    with connect(server) as connection:
        for at in range(0, len(data), 1 if apart else len(data)):
            connection.sendall(data[at : at + 1] if apart else data)
        answer = until_closed(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 3, answer


def test_an_upgrade_to_http2_is_ignored(server: Process) -> None:
    with connect(server) as connection:
        upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"
        connection.sendall(HEALTH + upgrade + b"\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(NEXT)  # as any connection of HTTP/1.1
        answered(connection)


def test_requests_may_come_before_their_turn(server: Process) -> None:
    with connect(server) as connection:
        connection.sendall(NEXT * 5)
        assert answered(connection, 5).count(b"HTTP/1.1 200 ") == 5


def test_the_target_may_be_a_whole_address(server: Process) -> None:
    path = b"/.well-known/agent-card.json"
    with connect(server) as connection:
        connection.sendall(
            b"GET http://agents.example:81%b HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n"
            % path
        )
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"http://agents.example:81/a2a"' in answer
    assert b"evil" not in answer


@pytest.mark.parametrize("first", [b"", NEXT, HEALTH])
def test_a_connection_whose_client_has_ended_is_closed(server: Process, first: bytes) -> None:
    """At once, or after the answer: not when the time of an idle connection is over."""
    with connect(server) as connection:
        connection.sendall(first)
        connection.shutdown(socket.SHUT_WR)
        answer = until_closed(connection)  # the time-out of the socket is shorter than keep_alive
    assert answer.count(b'{"status":"ok"}') == (first == NEXT)


def test_a_refusal_reaches_a_client_that_sends_its_whole_body_first(server: Process) -> None:
    with connect(server) as connection:
        size = 12_000_000
        connection.sendall(_POST + b"Content-Length: %d\r\n\r\n" % size)
        connection.sendall(b"x" * size)
        assert until_closed(connection).startswith(b"HTTP/1.1 413 ")


def test_a_connection_that_breaks_leaves_no_line_in_the_log(loop: tuple[str, ...]) -> None:

    with as_process("--store", "memory://", *loop) as server:
        for _ in range(20):
            with connect(server) as connection:
                connection.sendall(_POST + b"Content-Length: 100\r\n\r\n{")
                # zero seconds: closing is a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7))
        serves(server)
        assert server.stop() == 0
    assert len(server.log.splitlines()) == 3, server.log  # anonymous, draining, stopped


_CARD = b"/.well-known/agent-card.json"


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (b"http://agents.example" + _CARD, b"http://agents.example/a2a"),
        (b"HTTPS://agents.example:8443" + _CARD, b"http://agents.example:8443/a2a"),
        (b"http://[::1]:80" + _CARD + b"?x=/y", b"http://[::1]:80/a2a"),
    ],
)
def test_a_target_may_be_a_whole_address(server: Process, target: bytes, url: bytes) -> None:
    """Its authority takes the place of Host (RFC 9112 section 3.2.2)."""
    with connect(server) as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\nHost: other.test\r\n" % target)
        connection.sendall(b"Connection: close\r\n\r\n")
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"url":"%b"' % url in answer


@pytest.mark.parametrize("target", [b"http://agent.test", b"http://agent.test?a=/b"])
def test_a_whole_address_may_lack_its_path(server: Process, target: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(b"OPTIONS %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"POST" in answer


def expecting(length: int, *, path: bytes = b"/a2a", more: bytes = b"") -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: agent.test\r\nContent-Type: application/json\r\n"
        b"A2A-Version: 1.0\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n%b\r\n"
        % (path, length, more)
    )


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (expecting(11_000_000), b"413"),
        (expecting(11_000_000, path=b"/message:send"), b"413"),
        (expecting(10, path=b"/nope/nope"), b"404"),
        (expecting(10, path=b"/health"), b"405"),
    ],
)
def test_who_asks_before_sending_a_body_that_is_refused_need_not_send_it(
    server: Process, header: bytes, status: bytes
) -> None:
    with connect(server) as connection:
        connection.sendall(header)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert b" 100 " not in answer


@pytest.mark.parametrize("path", [b"/a2a", b"/message:send"])
def test_who_asks_before_sending_a_body_is_told_to(server: Process, path: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(expecting(2, path=path, more=b"Connection: close\r\n"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 " + (b"200 " if path == b"/a2a" else b"400 "))
    assert b'"error"' in answer
    serves(server)


def test_who_does_not_wait_for_the_answer_gets_one(server: Process) -> None:
    with connect(server) as connection:
        connection.sendall(expecting(2, more=b"Connection: close\r\n") + b"{}")
        answer = until_closed(connection)
    assert b"HTTP/1.1 200 " in answer
