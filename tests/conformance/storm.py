"""Requests that are almost right, for the fuzz run: valid ones of every dialect, then damaged."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.transports.http.test_fuzz import malformed, mangled

from .conftest import said
from .dialects import DIALECTS, JSONRPC_03, METHODS, ROUTES, Dialect, Json

OPERATIONS = sorted(ROUTES)
_TOKEN = "abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~"
_FIELD = [chr(byte) for byte in (9, *range(0x20, 0x7F), *range(0x80, 0x100))]
_KNOWN = (
    "a2a-version", "a2a-extensions", "x-a2a-extensions", "content-type", "content-length",
    "host", "origin", "last-event-id", "traceparent", "tracestate", "forwarded", "authorization",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix", "cookie",
    "if-none-match", "if-modified-since", "accept", "content-encoding", "transfer-encoding",
)  # fmt: skip
_VALUES = (
    "", " ", ",", ",,,", "0", "-1", "9" * 40, "1.0", "0.3", "1.1", "99.0", "1.0,1.0", "\xff\xfe",
    "text/plain", "application/json; charset=utf-16", "application/json;", "multipart/form-data",
    "a b", "http://[::1", "for=\"", "null", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "x" * 9000,
    "gzip", "chunked", "*", "W/\"", "Thu, 99 Foo 2026 99:99:99 GMT", "Bearer", "Basic \xff",
)  # fmt: skip
_ESCAPES = (
    "%", "%0", "%00", "%2f", "%2F..", "%ff", "%c3%28", "%ed%a0%80", "%0d%0a", "%25", "..", "//",
    ":", "::", ":cancel", ":subscribe", ";", "?", "#", "&", "=", "&&", "+", "~", "\\", "|", "{id}",
    "%u0041", "%F0%9F%8E%AD", "x" * 300, "/" * 50, "v1", "a2a", "tasks", "=%", "pageSize=",
)  # fmt: skip
_NUMBERS = ("9" * 400, "1e400", "-1e400", "-0", "1E5", "0.1e1", "2147483648", "1e-400", "00", "+1")


@dataclass
class Attack:
    """One request: what an ASGI server would hand on of it."""

    method: str
    path: str
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


def valid(tasks: Sequence[str], chance: random.Random) -> tuple[Attack, Any]:
    """Return a request that a real client could send, and the JSON of its body."""
    dialect: Dialect = chance.choice(DIALECTS)
    operation = chance.choice(OPERATIONS)
    if dialect is JSONRPC_03 and operation not in METHODS:
        operation = "SendMessage"
    task = chance.choice([*tasks, "x"])
    simple: dict[str, Json] = {
        "GetTask": {"id": task, "historyLength": 1},
        "CancelTask": {"id": task},
        "SubscribeToTask": {"id": task},
        "ListTasks": {"pageSize": 2, "status": "TASK_STATE_WORKING", "contextId": "c"},
        "GetExtendedAgentCard": {},
    }
    params = simple.get(operation, {"taskId": task, "id": "c"})
    if operation.startswith("Send"):
        params = said(
            chance.choice(["hi", "ask", "count 3", "fail"]),
            task=chance.choice([None, None, task]),
            context=chance.choice([None, "c"]),
            now=chance.choice([None, True]),
            history=chance.choice([None, 2]),
            metadata={"a": [1, {"b": None}]},
            parts=[{"text": "hi"}, {"data": {"a": [1.5]}}, {"url": "https://a.example/b"}],
        )
    elif operation.startswith("Create"):
        params |= {"url": "https://c.example/h", "authentication": {"scheme": "Bearer"}}
    elif operation == "ListTaskPushNotificationConfigs":
        params = {"taskId": task}
    method, target, body = dialect.request(operation, params)
    path, _, query = target.partition("?")
    prefix = chance.choice(["", "", "", "/acme", "/a2a/agents/stage"])
    if path != "/a2a" and not path.startswith("/v1"):
        path = prefix + path
    return Attack(method, path, query, list(dialect.headers([], body))), body


def damaged(tasks: Sequence[str], chance: random.Random) -> Attack:
    """Return a request with one to three things wrong with it."""
    attack, plain = valid(tasks, chance)
    if plain is not None:
        attack.body = json.dumps(plain).encode()
    kinds = [_path, _query, _headers] if plain is None else [_body] * 6 + [_path, _query, _headers]
    for damage in {chance.choice(kinds) for _ in range(chance.choice([1, 1, 2, 3]))}:
        damage(attack, plain, chance)
    return attack


def _body(attack: Attack, plain: Any, chance: random.Random) -> None:
    body = attack.body
    match chance.randrange(12):
        case 0:
            body = chance.randbytes(chance.randrange(80))
        case 1:
            body = body[: chance.randrange(len(body))]
        case 2:
            body = body.decode().encode(chance.choice(["utf-16", "utf-32", "utf-16-le", "utf-7"]))
        case 3:
            body = chance.choice([gzip.compress(body), b"\xef\xbb\xbf" + body, body + body])
        case 4:
            body = _inserted(body, b'"x":' + chance.choice([b"[", b'{"a":']) * 3000, chance)
        case 5:  # a member twice
            name = chance.choice([b"message", b"id", b"parts", b"jsonrpc", b"text", b"role", b"x"])
            value = chance.choice([b"null", b"1", b'"y"', b"[]", b"{}"])
            body = _inserted(body, b'"%b":%b,' % (name, value), chance)
        case 6:
            digits = [at for at, byte in enumerate(body) if chr(byte).isdigit()]
            if digits:
                at = chance.choice(digits)
                body = body[:at] + chance.choice(_NUMBERS).encode() + body[at + 1 :]
        case 7:  # unicode where it hurts
            text = chance.choice(["\\ud800", "\\udc00\\ud800", "\\u0000", "\U0010ffff", "\u202e"])
            at = body.find(b'"', chance.randrange(len(body))) + 1
            body = body[:at] + text.encode() + body[at:]
        case 8:
            body = mangled(body, chance)
        case _:
            body = malformed(plain, chance)
    attack.body = body


def _inserted(body: bytes, piece: bytes, chance: random.Random) -> bytes:
    at = body.find(b"{", chance.randrange(len(body))) + 1 or 1
    return body[:at] + piece + body[at:]


def _path(attack: Attack, plain: Any, chance: random.Random) -> None:
    path = attack.path
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(1, len(path) + 1)
        end = at + chance.choice([0, 0, 1, 4, len(path)])
        path = path[:at] + chance.choice(_ESCAPES).replace("?", "%3F") + path[end:]
    attack.path = path.replace("#", "%23")
    if chance.random() < 0.2:
        attack.method = chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "FOO"])


def _query(attack: Attack, plain: Any, chance: random.Random) -> None:
    query = attack.query
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(query) + 1)
        name = chance.choice(
            ["historyLength", "A2A-Version", "status", "pageToken", "id", "tenant"]
        )
        value = chance.choice([*_NUMBERS, *_ESCAPES, "", "true", "1.0", "99"])
        query = query[:at] + chance.choice(_ESCAPES) + query[at:] + f"&{name}={value}"
    attack.query = query.replace("#", "%23")


def _headers(attack: Attack, plain: Any, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(_KNOWN)
        if chance.random() < 0.2:
            name = "".join(chance.choice(_TOKEN) for _ in range(chance.randint(1, 12)))
        value = chance.choice(_VALUES)
        if chance.random() < 0.4:
            value = "".join(chance.choice(_FIELD) for _ in range(chance.randrange(40)))
        same = [at for at, (there, _) in enumerate(attack.headers) if there == name]
        if same and chance.random() < 0.7:
            attack.headers[same[0]] = (name, value)
        else:
            attack.headers.append((name, value))
