"""The client's HTTP against servers that misbehave, on real sockets."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from greenroom.transports.client.addresses import AddressPolicy
from greenroom.transports.client.http import HttpClient, HttpError, Limits, request

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def received(connection: socket.socket) -> bytes:
    """Return one whole request, which may come in pieces."""
    data = b""
    while True:
        data += connection.recv(65536)
        head, end, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            return data


@contextmanager
def answering(*answers: bytes, hang: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each connection the next answer and hangs up (or not)."""
    asked: list[bytes] = []
    done = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                asked.append(received(connection))
                connection.sendall(answer)
                if hang:
                    done.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        done.set()
        thread.join()
        listener.close()


async def read(url: str, limits: Limits | None = None, method: str = "GET") -> bytes:
    async with request(method, url, limits=limits) as response:
        return await response.read()


async def test_an_ordinary_answer_and_what_was_asked() -> None:
    with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi") as (url, asked):
        assert await read(url + "/a/b?c=d") == b"hi"
    assert asked[0].startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
    assert b"connection: close" in asked[0].lower()


async def test_chunks_come_as_they_are_sent() -> None:
    body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    with answering(body) as (url, _):
        async with request("GET", url) as response:
            assert b"".join([chunk async for chunk in response.chunks()]) == b"abc"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "broke off"),
    ],
)
async def test_broken_answers_say_so(answer: bytes, text: str) -> None:
    with answering(answer) as (url, _), pytest.raises(HttpError, match=text):
        await read(url)


async def test_silence_has_a_limit() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", hang=True) as (url, _),
        pytest.raises(HttpError, match=r"nothing came for"),
    ):
        await read(url, Limits(silence=0.05))


async def test_a_long_body_has_a_limit() -> None:
    long = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"x" * 100
    with answering(long) as (url, _), pytest.raises(HttpError, match="longer than 10 bytes"):
        await read(url, Limits(body=10))


def moved(target: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n".encode()


async def test_redirects_stay_with_their_server() -> None:
    final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    with answering(moved("/there"), final) as (url, asked):
        assert await read(url + "/here") == b"hi"
    assert asked[1].startswith(b"GET /there ")
    with (
        answering(moved("http://other.example/")) as (url, _),
        pytest.raises(HttpError, match="redirects to another server"),
    ):
        await read(url)
    with (
        answering(*[moved("/again")] * 4) as (url, _),
        pytest.raises(HttpError, match="more than 3 redirects"),
    ):
        await read(url)


async def test_a_post_is_redirected_with_its_body_where_the_status_says_so() -> None:
    with answering(moved("/there")) as (url, _):
        async with request("POST", url, body=b"{}") as response:
            assert response.status == 302
    for status in (b"307 Temporary Redirect", b"308 Permanent Redirect"):
        first = moved("/a/").replace(b"302 Found", status)
        with answering(first, OK) as (url, asked):
            async with request("POST", url + "/a", body=b'{"x":1}') as response:
                assert await response.read() == b"hi"
        assert asked[1].startswith(b"POST /a/ ")
        assert asked[1].endswith(b'{"x":1}')


async def test_a_redirect_takes_the_users_name_along_within_its_origin_only() -> None:
    with answering(moved("/there"), OK) as (url, asked):
        await read(url.replace("://", "://me:s%20ecret@"))
    assert all(b"Authorization: Basic bWU6cyBlY3JldA==" in one for one in asked)
    assert not any(b"ecret@" in one for one in asked)
    with (
        answering(moved("http://127.0.0.2/")) as (url, _),
        pytest.raises(HttpError) as raised,
    ):
        await read(url.replace("://", "://me:secret@"))
    assert "secret" not in str(raised.value)


def gzipped(body: bytes) -> bytes:
    """Compress without the time of day, which would be in the name of the test."""
    return gzip.compress(body, mtime=0)


GZIP = gzipped(b"hello")
RAW = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", GZIP),
        ("X-GZip", GZIP),
        ("gzip", gzipped(b"hel") + gzipped(b"lo")),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", RAW.compress(b"hello") + RAW.flush()),
        ("gzip, identity", GZIP),
        ("deflate, gzip", gzipped(zlib.compress(b"hello"))),
        ("", b"hello"),
    ],
)
async def test_an_encoded_answer_is_decoded(coding: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n\r\n"
    with answering(head.encode() + body) as (url, asked):
        assert await read(url) == b"hello"
    assert b"Accept-Encoding: identity" in asked[0]


@pytest.mark.parametrize(
    ("coding", "body", "text"),
    [
        ("br", b"hello", "encoded as 'br'"),
        ("gzip", b"hello", "damaged"),
        ("gzip", GZIP[:-9], "broke off"),
        ("gzip", gzipped(b"x" * 1_000_000), "longer than 1000 bytes"),
        ("gzip, gzip, gzip, gzip", GZIP, "encoded as"),
    ],
)
async def test_an_encoding_that_is_odd_or_broken(coding: str, body: bytes, text: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n\r\n"
    with answering(head.encode() + body) as (url, _), pytest.raises(HttpError, match=text):
        await read(url, Limits(body=1000))


@contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[str]:
    """A server that answers ``head`` and then ``drop``, again and again, as long as it is heard."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(head)
                while not over.wait(0.01):
                    connection.sendall(drop)
            except OSError:
                pass

    over = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
async def test_an_answer_that_never_ends_has_a_limit(head: bytes, drop: bytes) -> None:
    with dripping(head, drop) as url, pytest.raises(HttpError, match="took too long"):
        await read(url, Limits(total=0.3))


async def test_a_stream_has_a_limit_where_one_is_set() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"x") as url:
        async with request("GET", url, limits=Limits(total=0.1, stream=0.4)) as response:
            with pytest.raises(HttpError, match="took too long"):
                async for _ in response.chunks():
                    pass


async def test_the_head_of_an_answer_has_limits() -> None:
    many = b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n"
    with answering(many) as (url, _), pytest.raises(HttpError, match="more than 200 header fields"):
        await read(url)
    long = b"HTTP/1.1 200 OK\r\na: " + b"x" * 200_000 + b"\r\n\r\n"
    with answering(long) as (url, _), pytest.raises(HttpError, match="is not HTTP"):
        await read(url)


async def test_an_entered_client_keeps_its_connection() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve() -> None:
        connection, _ = listener.accept()
        connections.append(connection)
        for _ in range(2):
            connection.recv(65536)
            connection.sendall(OK)

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with HttpClient() as client:
        for _ in range(2):
            async with client.request("GET", url) as response:
                assert await response.read() == b"hi"
    thread.join()
    connections[0].close()
    listener.close()


@pytest.mark.parametrize(
    ("typed", "target"),
    [
        ("/агент", "/%D0%B0%D0%B3%D0%B5%D0%BD%D1%82"),
        ("/a b?c=d e", "/a%20b?c=d%20e"),
        ("/%D0%B0/é", "/%D0%B0/%C3%A9"),
        ("/caf\udce9", "/caf%E9"),
        ("?x=1#y", "/?x=1"),
    ],
)
async def test_paths_are_percent_encoded(typed: str, target: str) -> None:
    with answering(OK) as (url, asked):
        assert await read(url + typed) == b"hi"
    assert asked[0].startswith(f"GET {target} HTTP/1.1\r\n".encode())


async def test_a_proxy_of_the_environment_is_asked() -> None:
    with answering(OK) as (url, asked):
        environ = {"http_proxy": url.replace("://", "://me:pw@"), "no_proxy": "other.example"}
        async with HttpClient(environ=environ).request("GET", "http://agent.example/x") as answer:
            assert await answer.read() == b"hi"
    assert asked[0].startswith(b"GET http://agent.example/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cHc=" in asked[0]
    refused = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    with answering(refused) as (url, asked):
        client = HttpClient(environ={"HTTPS_PROXY": url})
        with pytest.raises(
            HttpError, match=r"agent\.example:443 through the proxy http://127.0.0.1:\d+: 407"
        ):
            async with client.request("GET", "https://agent.example/x"):
                pass
    assert asked[0].startswith(b"CONNECT agent.example:443 HTTP/1.1\r\n")


async def test_a_stranger_leads_nowhere_near_and_through_no_proxy() -> None:
    with answering() as (url, asked):
        policy = AddressPolicy(schemes=("http", "https"))
        for near in (url, url.replace("127.0.0.1", "localtest.invalid")):
            with pytest.raises(HttpError):
                async with HttpClient(policy=policy, environ={"http_proxy": url}).request(
                    "GET", near
                ):
                    pass
    assert asked == []


@pytest.mark.parametrize("target", ["http://[::1", "//[x:1/", "javascript:x", "http://h:99999/"])
async def test_a_redirect_to_what_is_no_url(target: str) -> None:
    with answering(moved(target)) as (url, _), pytest.raises(HttpError, match=r"URL|address"):
        await read(url)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection"])
async def test_the_framing_is_the_clients_own(name: str) -> None:
    with pytest.raises(HttpError, match="the client's own"):
        async with request("GET", "http://127.0.0.1:9/", headers={name: "3"}):
            pass


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nonsense", "http://host:99999/"])
async def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(HttpError):
        await read(url)


@pytest.mark.parametrize(
    ("name", "value"), [("X-Key", "s3cret\nX: y"), ("X Key", "s3cret"), ("X-Key", "s3cret\ud800")]
)
async def test_a_header_that_is_none_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(HttpError, match="does not allow") as raised:
        async with request("GET", "http://127.0.0.1:9/", headers={name: value}):
            pass
    assert "s3cret" not in str(raised.value)


async def test_who_goes_away_leaves_no_connection() -> None:
    """Cancelled in the handshake, while the answer is awaited, and in the body."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    heads = {
        "https": b"",
        "http": b"",
        "http-body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
    }
    for kind, head in heads.items():
        came = threading.Event()

        def serve(head: bytes = head, came: threading.Event = came) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                came.set()
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        async with anyio.create_task_group() as tasks:
            url = f"{kind.partition('-')[0]}://127.0.0.1:{port}/"
            tasks.start_soon(read, url)
            await anyio.to_thread.run_sync(came.wait)
            tasks.cancel_scope.cancel()
        thread.join(10)  # it ends when the client's end of the connection is closed
        assert not thread.is_alive()
    listener.close()
