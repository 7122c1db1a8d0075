"""The client's HTTP against servers that misbehave, on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from greenroom.transports.client.http import HttpError, Limits, request

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


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
                asked.append(connection.recv(65536))
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


async def test_only_get_is_redirected() -> None:
    with answering(moved("/there")) as (url, _):
        async with request("POST", url, body=b"{}") as response:
            assert response.status == 302


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nonsense", "http://host:99999/"])
async def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(HttpError):
        await read(url)
