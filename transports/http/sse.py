"""Streams out: one writer per open stream, whatever the binding (sections 9.4.2 and 11.7).

An open stream is mostly idle, so it holds little: a writer, a reader's cursor in the runtime, and
one child that watches for the client's hanging up (servers tell it only to those who receive).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import anyio

from ...protocol import sse
from ...protocol.errors import A2AError, PermissionDeniedError, UnauthenticatedError
from ...protocol.frame import Frame
from ...runtime.call import Call
from ...runtime.concurrency.supervisor import Body, Child
from .exchange import ClientGone, Exchange, Headers, Message, Receive, Send, activated

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


class Stream(Protocol):
    """The runtime's side of a stream."""

    reset: bool
    retry: bool

    async def next(self) -> Sequence[Frame] | None: ...

    def close(self) -> None: ...


class Writer:
    """Writes one stream to one client; ``head`` and ``tail`` go around the JSON of each event."""

    __slots__ = (
        "encode", "failed", "head", "headers", "scope", "seen", "send", "sent", "stream", "tail",
        "writing",
    )  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        send: Send,
        encode: Callable[[Frame], bytes],
        headers: Headers,
        head: bytes = b"",
        tail: bytes = b"",
        failed: Callable[[A2AError], bytes] | None = None,
    ) -> None:
        """``failed`` encodes an error that ends the stream, where the binding has events for it."""
        self.stream = stream
        self.send = send
        self.encode = encode
        self.failed = failed
        self.headers: Headers | None = headers
        self.head = b"data: " + head
        self.tail = tail + b"\n\n"
        self.sent = 0
        self.seen = -1
        self.writing = False
        self.scope: anyio.CancelScope | None = None

    async def write(self, body: bytes, more: bool = True) -> None:
        await self._deliver({"type": "http.response.body", "body": body, "more_body": more})

    async def _deliver(self, message: Message) -> None:
        self.writing = True
        try:
            await self.send(message)
        except OSError:  # what servers may raise once the client is gone
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
        """Whether one write was pending since the last look; then the stream is cut."""
        before, self.seen = self.seen, self.sent if self.writing else -1
        if before < 0 or before != self.seen or self.scope is None:
            return False
        self.scope.cancel()
        return True

    async def copy(self, retry: bytes) -> None:
        """Write until the stream is over."""
        stream = self.stream
        told = False
        try:
            await self._deliver(
                {"type": "http.response.start", "status": 200, "headers": self.headers}
            )
            self.headers = None
            while (frames := await stream.next()) is not None:
                body = self.events(frames) if frames else sse.HEARTBEAT
                if stream.reset and not told:
                    told = True
                    body = _RESET + body
                await self.write(body)
                del frames, body  # or an idle stream keeps its last events alive
        except ClientGone:
            raise
        except A2AError as error:
            # A stream has begun, and only JSON-RPC has events for errors. Else, and where the error
            # may pass, the client is told to come back and gets it as an answer of its own.
            log.warning("stream ended early: %s", error)
            if self.failed is not None and isinstance(error, _REFUSALS):
                await self.write(sse.event(self.failed(error)), more=False)
            else:
                await self.write(sse.comment(error.reason) + retry, more=False)
            return
        except Exception:
            error_id = secrets.token_hex(8)
            log.exception("stream broken, error %s", error_id, extra={"error_id": error_id})
            await self.write(sse.comment(f"error {error_id}") + retry, more=False)
            return
        await self.write(retry if stream.retry else b"", more=False)


class Streams:
    """The open streams of one application."""

    def __init__(self, start: Start, *, retry: float, write_timeout: float) -> None:
        """``start`` runs a child for as long as the runtime runs."""
        self.open: set[Writer] = set()
        self.dropped = 0
        """Streams whose client stopped reading."""
        self._start = start
        self._timeout = write_timeout
        self._watched = False
        self._retry = sse.retry(int(retry * 1000))

    async def run(self, writer: Writer, receive: Receive) -> None:
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

    async def _watch_writes(self) -> None:
        """Drop streams that had one write pending for a whole time-out, while there are any.

        One look at all streams now and then, instead of a time-out around every write.
        """
        try:
            while self.open:
                await anyio.sleep(self._timeout)
                for writer in list(self.open):
                    if writer.stuck():
                        self.dropped += 1
                        log.info("stream dropped: its client takes nothing")
        finally:
            self._watched = False


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
