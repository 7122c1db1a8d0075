"""HTTP/1.1 of one connection: hypercorn's, without what makes two readers of it disagree.

hypercorn and h11 read more than RFC 9112 allows, and hypercorn changes to HTTP/2 on a plain port.
Each is an opening: two servers in a row that read one request differently let a caller smuggle a
second one past the first. So this server refuses, and closes the connection, where a request

- asks for HTTP/2 (``PRI``) or names any version but 1.0 and 1.1: 505. ``Upgrade`` is ignored,
  as RFC 9110 section 7.8 permits: no endpoint here speaks another protocol;
- has both Content-Length and Transfer-Encoding, or Transfer-Encoding in HTTP/1.0: 400;
- has a line that ends without CR, a CR in the middle of a line, or a folded line, also in the
  trailer section of a chunked body: 400;
- has a method with small letters, which hypercorn would make large (RFC 9110 section 9.1): 501;
- has a target that is none of the forms of RFC 9112 section 3.2: 400.

And where hypercorn answers ``Expect: 100-continue`` at once, this server does so when the
application asks for the body: an application that refuses the request by its header gets no body.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import AppWrapper

from .chunked import ChunkedBody

_END = b"\r\n\r\n"
_AUTHORITY_END = re.compile(rb"[/?#]")


class _Refused(Exception):
    """A request that is answered with an error of its framing."""

    def __init__(self, status: int) -> None:
        self.status = status


class _Over:
    """Stands for h11's connection after a refusal: nothing more is read, and nothing sent."""

    our_state = their_state = None
    they_are_waiting_for_100_continue = False
    trailing_data = (b"", False)

    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> type[h11.NEED_DATA]:
        return h11.NEED_DATA

    def send(self, event: object) -> bytes:
        return b""


class _Connection(h11.Connection):
    """An h11 connection whose owner does not say 100 (Continue) by itself."""

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        return False


class Http1(H11Protocol):
    """Feeds h11 with headers that are well formed, and with nothing after a refusal."""

    connection: Any  # an h11.Connection, or what stands for it after a refusal

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection = _Connection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )
        self._head = b""
        """What has arrived of a header that is not complete yet."""
        self._in_head = True
        self._chunked: ChunkedBody | None = None
        """Of the request that is being read."""
        self._refused = False

    async def handle(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        if self._refused:
            return
        if self._in_head and not self._well_formed(event.data):
            await self._refuse(400)
            return
        if self._chunked is not None and not self._chunked.well_formed(event.data):
            await self._refuse(400)
            return
        try:
            await super().handle(event)
        except _Refused as refused:
            await self._refuse(refused.status)

    def _well_formed(self, data: bytes) -> bool:
        """Take ``data`` of a header; return whether all its lines end, and begin, as they must.

        Data of a body that follow in the same piece are not looked at.
        """
        head = self._head + data if self._head else data
        end = head.find(_END)
        if end < 0:
            self._head = head  # h11 bounds its length
        else:
            self._head, self._in_head = b"", False
            head = head[: end + len(_END)]
        returns = head.count(b"\r")
        if end < 0 and head.endswith(b"\r"):
            returns -= 1  # its LF is on the way
        lines = head.count(b"\r\n")
        if not returns == lines == head.count(b"\n"):
            return False
        return b"\n " not in head and b"\n\t" not in head

    async def _check_protocol(self, event: h11.Request) -> None:
        """Called by hypercorn for each request, where it would change to HTTP/2."""
        if event.http_version not in (b"1.1", b"1.0"):
            raise _Refused(505)
        if not event.method.isupper():
            raise _Refused(501)
        names = [name for name, _ in event.headers]
        if b"transfer-encoding" in names:
            if b"content-length" in names or event.http_version == b"1.0":
                raise _Refused(400)
            self._chunked = ChunkedBody()  # h11 takes no other coding
            arrived, _ = self.connection.trailing_data
            if not self._chunked.well_formed(arrived):
                raise _Refused(400)

    async def _create_stream(self, request: h11.Request) -> None:
        if request.target[:1] not in (b"/", b"*"):
            request = _in_origin_form(request)
        if any(name == b"upgrade" for name, _ in request.headers):
            request = _without_upgrade(request)
        if not self.connection.client_is_waiting_for_100_continue:
            await super()._create_stream(request)
            return
        app, self.app = self.app, _Continuing(self.app, self._continue)
        try:
            await super()._create_stream(request)
        finally:
            self.app = app

    async def _continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        if getattr(self.connection, "client_is_waiting_for_100_continue", False):
            go_on = h11.InformationalResponse(
                status_code=100, headers=self.config.response_headers("h11")
            )
            await self.send(RawData(self.connection.send(go_on)))

    async def _send_h11_event(self, event: Any) -> None:
        """Called by hypercorn. What h11 does not send any more has nobody who waits for it."""
        try:
            await super()._send_h11_event(event)
        except h11.LocalProtocolError:
            raise ConnectionResetError from None

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        if self.connection.their_state is h11.IDLE:
            self._head, self._in_head, self._chunked = b"", True, None
            waiting, _ = self.connection.trailing_data  # a request that came before its turn
            if waiting and not self._well_formed(waiting):
                await self._refuse(400)

    async def _refuse(self, status: int) -> None:
        if not self._refused:
            self._refused = True
            # First: whoever reads meanwhile must find nothing of what was refused.
            connection, self.connection = self.connection, _Over()
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                headers = [
                    (b"content-length", b"0"),
                    (b"connection", b"close"),
                    *self.config.response_headers("h11"),
                ]
                answer = connection.send(h11.Response(status_code=status, headers=headers))
                answer += connection.send(h11.EndOfMessage())
                await self.send(RawData(answer))
        await self.send(Closed())


def _without_upgrade(request: h11.Request) -> h11.Request:
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=[(name, value) for name, value in request.headers if name != b"upgrade"],
        http_version=request.http_version,
    )


class _Continuing:
    """An application whose ``receive`` asks the client for the body first."""

    def __init__(self, app: AppWrapper, ask: Callable[[], Awaitable[None]]) -> None:
        self._app = app
        self._ask = ask

    async def __call__(
        self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any
    ) -> None:
        async def asking() -> Any:
            await self._ask()
            return await receive()

        await self._app(scope, asking, send, sync_spawn, call_soon)


def _in_origin_form(request: h11.Request) -> h11.Request:
    """Return a request whose target was a whole address (RFC 9112 section 3.2.2): its authority
    takes the place of Host. That of CONNECT is left as it is; nothing is served there."""
    if request.method == b"CONNECT":
        return request
    scheme, colon, rest = request.target.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https"):
        raise _Refused(400)
    authority = _AUTHORITY_END.split(rest, 1)[0]
    if not authority:
        raise _Refused(400)  # RFC 9110 section 4.2.1
    path = rest[len(authority) :]
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=path if path.startswith(b"/") else b"/" + path,
        headers=[(b"host", authority), *headers],
        http_version=request.http_version,
    )
