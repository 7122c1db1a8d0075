"""Request bodies: read whole and at once, within limits of size and time."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.agents import Stage
from tests.support.asgi import Wire, message, opened, request

pytestmark = pytest.mark.anyio

SMALL = HttpSettings(max_body=1000, drain=5000)
HASTY = HttpSettings(body_timeout=0.05)
HEADERS = [("content-type", "application/json"), ("a2a-version", "1.0")]
KIB = b"x" * 1024


def envelope(text: str = "hi") -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message(text)}
    return json.dumps(call).encode()


async def exchanged(
    app: Application,
    pieces: Iterable[bytes | None],
    *headers: tuple[str, str],
    path: str = "/a2a",
    method: str = "POST",
    slow: bool = False,
    http_version: str = "1.1",
) -> Wire:
    async with opened(
        app,
        method,
        path,
        headers=[*HEADERS, *headers],
        pieces=pieces,
        slow=slow,
        http_version=http_version,
    ) as wire:
        await wire.ended()
        assert wire.over
        return wire


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_body_may_come_in_pieces(app: Application, slow: bool, size: int) -> None:
    body = envelope("ünïcode")
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    for path in ("/a2a", "/message:send"):
        raw = pieces if path == "/a2a" else [json.dumps(message()).encode()]
        wire = await exchanged(app, raw, path=path, slow=slow)
        assert wire.response.status == 200
        assert b"You said" in b"".join(wire.chunks)


@pytest.mark.parametrize("http", [SMALL])
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("path", ["/a2a", "/message:send", "/v1/message:send"])
async def test_a_longer_one_is_refused(
    app: Application, stage: Stage, path: str, declared: bool, slow: bool
) -> None:
    pieces = [KIB] * 3
    headers = [("content-length", "3072")] if declared else []
    wire = await exchanged(app, pieces, *headers, path=path, slow=slow)
    assert wire.response.status == 413
    assert b"1000 bytes" in wire.response.body
    assert wire.response["content-type"] == "application/json"
    assert wire.taken == 3, "what the client had still to send was read before the answer"
    assert not stage.calls


@pytest.mark.parametrize("http", [SMALL])
async def test_as_long_as_allowed_is_allowed(app: Application) -> None:
    body = envelope().ljust(1000)
    assert (await exchanged(app, [body])).response.status == 200
    assert (await exchanged(app, [body + b" "])).response.status == 413


@pytest.mark.parametrize("http", [SMALL])
async def test_a_refused_body_is_not_read_for_ever(app: Application) -> None:
    wire = await exchanged(app, [KIB] * 1000)
    assert wire.response.status == 413
    assert wire.taken < 10


@pytest.mark.parametrize("http", [SMALL])
async def test_over_http2_it_is_read_to_its_end(app: Application) -> None:
    """An answer before the end of a body breaks the other streams of that connection."""
    wire = await exchanged(app, [KIB] * 1000, http_version="2")
    assert wire.response.status == 413
    assert wire.taken == 1000


@pytest.mark.parametrize("http", [HASTY])
@pytest.mark.parametrize("path", ["/a2a", "/message:send"])
@pytest.mark.parametrize("pieces", [[None], [b'{"jsonrpc"', None]])
async def test_a_body_that_does_not_come_is_given_up(
    app: Application, stage: Stage, path: str, pieces: list[bytes | None]
) -> None:
    wire = await exchanged(app, pieces, path=path)
    assert wire.response.status == 408
    assert "0.05 seconds" in wire.response.json["error"]["message"]
    assert not stage.calls


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("path", ["/a2a", "/message:send", "/nope"])
async def test_who_hangs_up_meanwhile_gets_nothing(
    app: Application, stage: Stage, path: str, slow: bool
) -> None:
    async with opened(app, "POST", path, headers=HEADERS, pieces=[b"{", None], slow=slow) as wire:
        wire.disconnect()
        await wire.ended()
        assert wire.status == 0
    assert not stage.calls


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nope", 404),
        ("POST", "/a2a/agents/nobody", 404),
        ("PUT", "/a2a", 405),
        ("POST", "/health", 405),
        ("POST", "/.well-known/agent-card.json", 405),
        ("GET", "/health", 200),
        ("GET", "/tasks", 200),
        ("GET", "/.well-known/agent-card.json", 200),
        ("PUT", "/tasks", 405),
        ("OPTIONS", "/a2a", 204),
        ("OPTIONS", "/nope", 404),
    ],
)
async def test_no_answer_leaves_a_body_unread(
    app: Application, method: str, path: str, status: int
) -> None:
    wire = await exchanged(app, [KIB] * 3, path=path, method=method)
    assert wire.response.status == status
    assert wire.taken == 3


@pytest.mark.parametrize("path", ["/a2a", "/message:send"])
@pytest.mark.parametrize("encoding", ["gzip", "GZIP, br", "unknown"])
async def test_a_compressed_body_is_refused(app: Application, path: str, encoding: str) -> None:
    headers = [
        ("content-type", "application/json"),
        ("content-encoding", encoding),
        ("a2a-version", "1.0"),
    ]
    answer = await request(app, "POST", path, headers=headers, body=b"{}")
    assert answer.status == 415
    assert "Content-Encoding" in answer.json["error"]["message"]
    assert answer["accept-encoding"] == "identity"
