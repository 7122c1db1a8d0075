"""An ASGI server in memory: bodies in pieces, streams as they come, clients that hang or leave."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import anyio
import anyio.lowlevel

from greenroom.protocol.sse import Decoder, Event

Headers = Sequence[tuple[str, str]]


class Response:
    """What the application answered."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.fields = [(name.decode(), value.decode()) for name, value in headers]
        self.body = body

    def __getitem__(self, name: str) -> str:
        """Return the one header field called ``name``; KeyError unless there is exactly one."""
        found = [value for key, value in self.fields if key == name]
        if len(found) != 1:
            raise KeyError(name)
        return found[0]

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        decoder = Decoder()
        decoder.receive_data(self.body)
        return [*iter(decoder.next_event, None)]


def scope_of(method: str, path: str, headers: Headers = (), **extra: Any) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", b"agent.test"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": fields,
        "client": ("192.0.2.1", 50000),
        "server": ("127.0.0.1", 8000),
        **extra,
    }


class Wire:
    """The connection of one request, seen from the client."""

    def __init__(
        self, app: Any, scope: dict[str, Any], pieces: Iterable[bytes | None], *, slow: bool = False
    ) -> None:
        """``pieces`` of the body come one by one; ``None`` is a client that sends no more.

        ``slow``: nothing is there yet when it is asked for.
        """
        self.app = app
        self.slow = slow
        self.scope = scope
        self._pieces = deque(pieces)
        self._complete = False
        self._gone = anyio.Event()
        self._changed = anyio.Event()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.writes = 0
        self.taken = 0
        """Pieces of the body that the application took."""
        self.over = False
        self.returned = False
        self.error: BaseException | None = None
        self.reading = True
        """Set to ``False``: a client that takes nothing more; writes hang."""
        self._resumed = anyio.Event()

    async def receive(self) -> MutableMapping[str, Any]:
        if self.slow:
            await anyio.lowlevel.checkpoint()
        if self._complete:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        if not self._pieces:
            self._complete = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._pieces[0] is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        piece = self._pieces.popleft()
        self.taken += 1
        more = bool(self._pieces)
        self._complete = not more
        return {"type": "http.request", "body": piece, "more_body": more}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        assert not self.over, "a message after the end of the answer"
        if not self.reading:
            await anyio.sleep_forever()
        if message["type"] == "http.response.start":
            assert not self.status, "two answers to one request"
            self.status = message["status"]
            self.headers = list(message["headers"])
        else:
            assert self.status, "a body before the answer's start"
            self.writes += 1
            if message.get("body"):
                self.chunks.append(message["body"])
            self.over = not message.get("more_body", False)
        self._notify()

    def _notify(self) -> None:
        event, self._changed = self._changed, anyio.Event()
        event.set()

    def disconnect(self) -> None:
        self._gone.set()

    async def run(self) -> None:
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception as error:
            self.error = error
        finally:
            self.returned = True
            self._notify()

    async def until(self, condition: Any) -> None:
        """Wait until ``condition()`` holds."""
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()

    @property
    def response(self) -> Response:
        return Response(self.status, self.headers, b"".join(self.chunks))

    async def events(self, count: int) -> list[Event]:
        """Wait until ``count`` events have come, and return all that have."""
        await self.until(lambda: len(self.response.events) >= count or self.returned)
        return self.response.events

    async def ended(self) -> Response:
        """Wait until the application has returned."""
        await self.until(lambda: self.returned)
        if self.error is not None:
            raise self.error
        return self.response


@asynccontextmanager
async def opened(
    app: Any,
    method: str,
    path: str,
    *,
    headers: Headers = (),
    body: bytes = b"",
    pieces: Iterable[bytes | None] | None = None,
    slow: bool = False,
    **extra: Any,
) -> AsyncIterator[Wire]:
    """Make a request and stay with it; on leaving, the client hangs up and the app is awaited."""
    scope = scope_of(method, path, headers, **extra)
    wire = Wire(app, scope, [body] if pieces is None else pieces, slow=slow)
    async with anyio.create_task_group() as group:
        group.start_soon(wire.run)
        try:
            yield wire
        finally:
            wire.disconnect()


async def request(
    app: Any,
    method: str,
    path: str,
    *,
    headers: Headers = (),
    body: bytes = b"",
    pieces: Iterable[bytes | None] | None = None,
    **extra: Any,
) -> Response:
    """Make a request and return its whole answer."""
    async with opened(
        app, method, path, headers=headers, body=body, pieces=pieces, **extra
    ) as wire:
        response = await wire.ended()
        assert wire.over, "the application returned without an answer"
        return response


class Peer:
    """A client of JSON-RPC and REST in one version; each call gives the ``Response``."""

    def __init__(self, app: Any, version: str | None = "1.0") -> None:
        self.app = app
        self.version = version

    def _headers(self, headers: Headers, kind: str | None) -> list[tuple[str, str]]:
        found = [("content-type", kind)] if kind else []
        if self.version is not None:
            found.append(("a2a-version", self.version))
        return [*found, *headers]

    async def call(
        self,
        method: str,
        params: Any = None,
        *,
        id: Any = 1,
        path: str = "/a2a",
        headers: Headers = (),
        **extra: Any,
    ) -> Response:
        envelope = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
        return await request(
            self.app,
            "POST",
            path,
            headers=self._headers(headers, "application/json"),
            body=json.dumps(envelope).encode(),
            **extra,
        )

    async def rest(
        self, method: str, path: str, body: Any = None, *, headers: Headers = (), **extra: Any
    ) -> Response:
        raw = b"" if body is None else json.dumps(body).encode()
        return await request(
            self.app,
            method,
            path,
            headers=self._headers(headers, "application/json" if raw else None),
            body=raw,
            **extra,
        )


def message(text: str = "hi", **more: Any) -> dict[str, Any]:
    """Return the params of SendMessage in 1.0."""
    return {
        "message": {
            "messageId": str(uuid4()),
            "role": "ROLE_USER",
            "parts": [{"text": text}],
            **more,
        }
    }
