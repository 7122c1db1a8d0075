"""Streams out: one writer per open stream, whatever the binding (sections 9.4.2 and 11.7).

An open stream is mostly idle, so it holds little: a writer, a reader's cursor in the runtime, and
one child that waits for the client to close the connection.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from functools import partial

import anyio

from ...protocol import sse
from ...protocol.errors import A2AError, PermissionDeniedError, UnauthenticatedError
from ...protocol.frame import Frame
from ...runtime.call import Call
from ...runtime.concurrency.supervisor import Body, Child
from ..binding import EventStream
from ..errors import ClientGone
from .exchange import PIECE, Exchange, Headers, Message, Receive, activated, caller_of

log = logging.getLogger("greenroom.transports")

_HEADERS: Headers = [
    (b"content-type", sse.CONTENT_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or nginx holds events back
]
_REFUSALS = (UnauthenticatedError, PermissionDeniedError)
_RESET = sse.comment("the events asked for are no longer kept; a new snapshot follows")


def response_headers(exchange: Exchange, version: str, call: Call) -> Headers:
    """Return the header of the answer to a request whose stream begins."""
    headers = [*_HEADERS, (b"a2a-version", version.encode()), *exchange.extra]
    if call.activated:
        headers.append(activated(version, call))
    return headers


Start = Callable[[Body, str], Child]


class EventWriter:
    """Writes one stream to one client; ``head`` and ``tail`` go around the JSON of each event."""

    __slots__ = (
        "caller", "connection", "encode", "failed", "head", "headers", "scope", "seen", "send",
        "sent", "stream", "tail", "unread", "writing",
    )  # fmt: skip

    def __init__(
        self,
        stream: EventStream,
        exchange: Exchange,
        call: Call,
        encode: Callable[[Frame], bytes],
        headers: Headers,
        head: bytes = b"",
        tail: bytes = b"",
        failed: Callable[[A2AError], bytes] | None = None,
    ) -> None:
        """The writer keeps no reference to ``exchange``: a stream may be open for hours.

        ``failed`` encodes an error that ends the stream, where the binding has events for errors.
        """
        self.stream = stream
        self.send = exchange.send
        self.unread = exchange.unread
        self.connection = exchange.connection
        self.caller = caller_of(exchange, call)
        self.encode = encode
        self.failed = failed
        self.headers: Headers | None = headers
        self.head = b"data: " + head
        self.tail = tail + b"\n\n"
        self.sent = 0
        self.seen = -1
        self.writing = False
        self.scope: anyio.CancelScope | None = None

    async def write(self, body: bytes) -> None:
        """Send ``body`` (bytes of whole events). Raises ClientGone, and ResourceExhaustedError for
        a body that would be one too many to wait for this client."""
        size = len(body)
        self.unread.hold(self.connection, self.caller, size)
        try:
            if size <= PIECE:
                await self._deliver({"type": "http.response.body", "body": body, "more_body": True})
                return
            for at in range(0, size, PIECE):
                await self._deliver(_body(body[at : at + PIECE], more=True))
        finally:
            self.unread.release(self.connection, self.caller, size)

    async def finish(self, last: bytes = b"") -> None:
        """Send the last few bytes, which nobody counts, and end the answer."""
        await self._deliver(_body(last, more=False))

    async def _deliver(self, message: Message) -> None:
        self.writing = True
        try:
            await self.send(message)
        except OSError:  # servers may raise it once the client is gone
            raise ClientGone from None
        self.writing = False
        self.sent += 1

    def events(self, frames: Sequence[Frame]) -> bytes:
        """Return frames as one piece: what is ready together leaves in one write."""
        out: list[bytes] = []
        head, tail, encode = self.head, self.tail, self.encode
        for frame in frames:
            if frame.generation:
                out.append(b"id: %d\n" % frame.generation)
            out += (head, encode(frame), tail)
        return b"".join(out)

    def stuck(self) -> bool:
        """Whether one write was pending since the last look; such a stream is cut."""
        before, self.seen = self.seen, self.sent if self.writing else -1
        if before < 0 or before != self.seen or self.scope is None:
            return False
        self.scope.cancel()
        return True

    async def copy(self, retry: bytes) -> None:
        """Write until the stream is over; ``retry`` tells a client to come back."""
        try:
            await self._copy_events()
        except ClientGone:
            raise
        except Exception as error:
            last = self._last_words(error, retry)
        else:
            last = retry if self.stream.retry else b""
        await self.finish(last)

    async def _copy_events(self) -> None:
        stream = self.stream
        reset_sent = False
        await self._deliver({"type": "http.response.start", "status": 200, "headers": self.headers})
        self.headers = None
        while (frames := await stream.next()) is not None:
            body = self.events(frames) if frames else sse.HEARTBEAT
            del frames  # a client that reads slowly keeps the bytes alive, not the objects too
            if stream.reset and not reset_sent:
                reset_sent = True
                body = _RESET + body
            await self.write(body)
            del body  # an idle stream keeps nothing of its last events

    def _last_words(self, error: Exception, retry: bytes) -> bytes:
        """Return what the client is told of an error that ends its stream.

        The stream has begun, and only JSON-RPC has events for errors. Elsewhere, and where the
        error may pass, the client comes back and gets the error as an answer of its own.
        """
        if not isinstance(error, A2AError):
            error_id = secrets.token_hex(8)
            log.error(
                "stream broken, error %s", error_id, exc_info=error, extra={"error_id": error_id}
            )
            return sse.comment(f"error {error_id}") + retry
        log.warning("stream ended early: %s", error)
        if self.failed is not None and isinstance(error, _REFUSALS):
            return sse.event(self.failed(error))
        return sse.comment(error.reason) + retry


class OpenResponses:
    """The open streams of one application."""

    def __init__(self, start: Start, *, retry: float, write_timeout: float) -> None:
        """``start`` runs a child for as long as the runtime runs; times are in seconds."""
        self.open: set[EventWriter] = set()
        self.dropped = 0
        """Streams whose client stopped reading."""
        self._start = start
        self._timeout = write_timeout
        self._watched = False
        self._retry = sse.retry(int(retry * 1000))

    async def run(self, writer: EventWriter, receive: Receive) -> None:
        """Serve a stream until it is over or its client is gone; then let go of it."""
        self.open.add(writer)
        if not self._watched:
            self._watched = True
            self._start(self._watch_writes, "stream writes")
        # A scope and a child of the runtime, no task group: 4.6 kB per idle stream instead of 7.3.
        writer.scope = scope = anyio.CancelScope()
        watcher = self._start(partial(_watch, receive, scope), "stream watcher")
        try:
            with scope, contextlib.suppress(ClientGone):
                await writer.copy(self._retry)
        finally:
            watcher.cancel()
            self.open.discard(writer)
            writer.stream.close()
            writer.scope = None

    async def _watch_writes(self) -> None:
        """Drop streams that had one write pending for a whole time-out, while there are any.

        One look at all streams now and then costs less than a time-out around every write.
        """
        try:
            while self.open:
                await anyio.sleep(self._timeout)
                for writer in list(self.open):
                    if writer.stuck():
                        self.dropped += 1
                        log.info("stream dropped: its client reads nothing")
        finally:
            self._watched = False


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel ``scope`` when the client has gone: servers tell it only to who receives."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
