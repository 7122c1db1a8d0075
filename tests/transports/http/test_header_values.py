"""Odd values of every header field that this server reads: none is an internal error."""

from __future__ import annotations

import json

import pytest

from greenroom.transports.http.asgi import Application
from greenroom.transports.http.exchange import WANTED
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import message, request

pytestmark = pytest.mark.anyio

TRUSTING = HttpSettings(
    trusted_proxies=("192.0.2.0/24",),
    forwarded_headers=("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
                       "x-forwarded-prefix"),
    cors_origins=("https://app.test",),
)  # fmt: skip
ODD = {
    "nothing": "",
    "a blank": " ",
    "minus one": "-1",
    "a large number": "9" * 30,
    "a number of 5000 digits": "9" * 5000,
    "a fraction": "1.5",
    "not a number": "nan",
    "digits that are not ASCII": "\xb2\xb3",
    "a date far away": "Mon, 01 Jan 99999 00:00:00 GMT",
    "a date before time": "Mon, 01 Jan 0001 00:00:00 +2359",
    "a zone far away": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
    "the 99th of June": "Tue, 99 Jun 2024 99:99:99 GMT",
    "half a date": "Mon, 01",
    "a date in a list": "Mon, 01 Jan 2024 00:00:00 GMT, Mon, 01 Jan 2024 00:00:00 GMT",
    "commas": "," * 300,
    "semicolons": ";" * 300,
    "quotes": '"' * 301,
    "an open quote": 'for="',
    "brackets": "[[[[",
    "bytes": "\xff\xfe\x80",
    "a long word": "x" * 8000,
    "escapes": "%" * 99 + "%zz%00",
}
REQUESTS = [
    ("GET", "/.well-known/agent-card.json", b""),
    ("GET", "/", b""),
    ("GET", "/a2a/agents/", b""),
    ("GET", "/tasks/x", b""),
    ("POST", "/a2a", json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage",
                                 "params": message()}).encode()),
    ("POST", "/message:stream", json.dumps(message()).encode()),
]  # fmt: skip


@pytest.mark.parametrize("http", [TRUSTING])
@pytest.mark.parametrize("name", sorted(name.decode() for name in WANTED))
async def test_an_odd_value_is_ignored_or_refused(app: Application, name: str) -> None:
    for what, value in ODD.items():
        for method, path, body in REQUESTS:
            fields = {"content-type": "application/json", "a2a-version": "1.0", name: value}
            answer = await request(app, method, path, headers=[*fields.items()], body=body)
            assert answer.status < 500, (what, method, path, answer.body)
            assert b"-32603" not in answer.body, (what, method, path)


@pytest.mark.parametrize("path", ["/a2a", "/message:send", "/v1/message:send", "/message:stream"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x-gzip"])
async def test_a_coding_is_refused_alike_everywhere(
    app: Application, path: str, coding: str
) -> None:
    version = "0.3" if path.startswith("/v1") else "1.0"
    headers = [
        ("content-type", "application/json"), ("a2a-version", version),
        ("content-encoding", coding),
    ]  # fmt: skip
    answer = await request(app, "POST", path, headers=headers, body=b"\x1f\x8b\x08")
    assert answer.status == 415
    assert answer["accept-encoding"] == "identity"
    assert b"Content-Encoding" in answer.body


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " identity "])
async def test_no_coding_is_none(app: Application, coding: str) -> None:
    headers = [
        ("content-type", "application/json"), ("a2a-version", "1.0"), ("content-encoding", coding),
    ]  # fmt: skip
    body = json.dumps(message()).encode()
    answer = await request(app, "POST", "/message:send", headers=headers, body=body)
    assert answer.status == 200
