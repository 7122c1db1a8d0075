"""One call, from its headers to its trailers, on a stream of grpclib's HTTP/2.

grpclib's own reader waits for messages of any size, and its writer puts every frame in a write of
its own. Here a request is assembled as it arrives, within limits and without a task that waits for
it; the task that answers begins when the request is whole, or with its header where that says who
calls: until the caller is admitted there is little room for a message. What is ready leaves
together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from grpclib.protocol import Stream
from h2.errors import ErrorCodes
from h2.exceptions import H2Error

from ...protocol.errors import A2AError
from .framing import ACCEPTED, Assembler, framed
from .metadata import Metadata
from .status import OK, Headers, RpcError, Status, trailers

if TYPE_CHECKING:
    from ...runtime.concurrency.supervisor import Child
    from .session import Link

_WAITING = 256
"""What a message that waits to be read costs beside its bytes: the least may be empty."""

_HEADERS: Headers = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc+proto"),
    ACCEPTED,
]


class Method(NamedTuple):
    """What answers a call. ``many``: its requests are a stream, read with ``Rpc.receive``."""

    run: Callable[[Rpc], Coroutine[Any, Any, None]]
    many: bool = False
    early: bool = False
    """Run it before its request is here: it awaits ``Rpc.request`` when it wants it."""
    legacy: bool = False
    """Errors carry their name in the text, as clients of 0.3 read it."""


class Rpc(Stream):
    """A call. ``message`` is its request, once it is whole (see ``request``)."""

    connection: Link
    id: int

    def __init__(self, connection: Link, stream_id: int, metadata: Metadata) -> None:
        super().__init__(connection, connection.h2, connection.transport, stream_id=stream_id)
        self.metadata = metadata
        self.method: Method | None = None
        self.message = b""
        self.opened = connection.loop.time()
        self.blocked: float | None = None
        """Since when the client has taken nothing of what is there for it."""
        self.done = False
        self._answered = False  # the header of the answer is out
        self._received = False  # its message is here, or the last of its messages
        self._ended = False  # the client has said all
        self._roomy = connection.roomy  # there is room for its longest message
        self._admitted = True  # there may be
        self._held = 0  # what of it is accounted for on the connection
        self._assembler: Assembler | None = None
        self._messages: deque[bytes] | None = None
        self._arrived: asyncio.Event | None = None
        self._child: Child | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # --- the request ----------------------------------------------------------------------------

    def init_stream(self, stream_id: int, connection: Any) -> None:
        """Called by grpclib, which would give the stream a buffer without bounds."""
        self.id = stream_id
        self.buffer = self  # type: ignore[assignment]

    def begin(self, methods: dict[bytes, Method]) -> None:
        """Look at the header: what is called, and may it be?"""
        metadata = self.metadata
        if (refusal := metadata.refusal) is not None:
            self._refuse(*refusal)
            return
        try:
            method = self.method = methods.get(metadata.path)
            if method is None:
                raise RpcError(
                    Status.UNIMPLEMENTED,
                    f"There is no method {metadata.path.decode('latin-1')[:200]} here",
                )
            self._assembler = Assembler(self.connection.settings.max_receive, metadata.encoding)
            timeout = metadata.timeout
        except RpcError as error:
            self.fail(error)
            return
        if timeout is not None:
            self._deadline = self.connection.loop.call_later(timeout, self._expire)
        if method.many:
            self._messages = deque()
            self._arrived = asyncio.Event()
            self._start()
        elif method.early:
            self._admitted = False
            self._arrived = asyncio.Event()
            self._start()

    def add(self, data: bytes, ack_size: int) -> None:
        """Take a piece of the request: the buffer's side that grpclib calls."""
        assembler = self._assembler
        if self.done or assembler is None:
            return
        before = assembler.pending
        try:
            messages = assembler.feed(data)
            self._hold(assembler.pending - before)
            for message in messages:
                if self._messages is not None and self._arrived is not None:
                    self._hold(len(message) + _WAITING)
                    self._messages.append(message)
                    self._arrived.set()
                elif self._received:
                    raise RpcError(Status.INTERNAL, "This method takes one message")
                else:
                    # Until the request ends: inflated, it may be a thousand times what came.
                    self._hold(len(message))
                    self.message = message
                    self._received = True
            if assembler.pending:
                self._make_room()
        except RpcError as error:
            if error.status is Status.RESOURCE_EXHAUSTED:
                self.connection.note(self, error)
            self.fail(error)

    @property
    def legacy(self) -> bool:
        """A method of 0.3 is called."""
        return self.method is not None and self.method.legacy

    def _hold(self, size: int) -> None:
        self._held += size
        self.connection.hold(size)

    def eof(self) -> None:
        """The client has said all."""
        if self.done:
            return
        if self._assembler is not None and self._assembler.pending:
            self.fail(RpcError(Status.INTERNAL, "The request ends inside a message"))
        elif self._messages is None and not self._received:
            self.fail(RpcError(Status.INTERNAL, "The request has no message"))
        else:
            self._received = self._ended = True
            if self._arrived is not None:
                self._arrived.set()
            else:
                self._start()

    @property
    def whole(self) -> bool:
        """Nothing more of the request has to come for the call to go on."""
        return self._ended or self._messages is not None

    async def request(self) -> bytes:
        """Return the message once it is whole. Who calls is admitted: there is room for it now."""
        self._admitted = True
        if not self._ended:
            assert self._arrived is not None
            if self._assembler is not None and self._assembler.pending:
                self._make_room()
            await self._arrived.wait()
        self._hold(-self._held)
        return self.message

    def _make_room(self) -> None:
        """Let a message come that is longer than what every call has room for."""
        if self._admitted and not self._roomy:
            self._roomy = True
            self.connection.credit(self)

    def unacked_size(self) -> int:
        """Nothing: what arrives is accounted for at once."""
        return 0

    async def receive(self) -> bytes | None:
        """Return the next message of a stream of requests; ``None`` when there are no more."""
        assert self._messages is not None
        assert self._arrived is not None
        while not self._messages:
            if self._received:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._hold(-len(message) - _WAITING)
        if not self._messages:  # else a client could always be ahead of us, by ever more
            self.connection.credit(self)
        await asyncio.sleep(0)  # however many wait here: others have their turn
        return message

    def _start(self) -> None:
        assert self.method is not None
        self._hold(-self._held)
        self._child = self.connection.start(self._run)

    async def _run(self) -> None:
        assert self.method is not None
        try:
            await self.method.run(self)
            if not self.done:
                await self.end()
        except (H2Error, OSError):
            self.close()  # the client went while we wrote
        except Exception as error:
            self.fail(self.connection.told(error))

    # --- the answer -----------------------------------------------------------------------------

    async def reply(self, message: bytes, headers: Headers) -> None:
        """Send the one message of an answer, and its end; mostly in one write."""
        if self.done:
            return
        self._check_size(message)
        h2, data = self._h2_connection, framed(message)
        room = min(h2.local_flow_control_window(self.id), h2.max_outbound_frame_size)
        if len(data) > room or not self.connection.write_ready.is_set():
            self.send_header(headers)
            await self.write(data)
            await self.end()
            return
        self.connection.said = True
        h2.send_headers(self.id, _HEADERS + headers)
        h2.send_data(self.id, data)
        h2.send_headers(self.id, OK, end_stream=True)
        self._answered = True
        self.close()

    def send_header(self, headers: Headers) -> None:
        """Begin the answer."""
        if not (self.done or self._answered):
            self._answered = self.connection.said = True
            self._h2_connection.send_headers(self.id, _HEADERS + headers)
            self.connection.flush_soon()

    async def send(self, messages: list[bytes]) -> None:
        """Send messages of a stream; those that are ready together leave together."""
        for message in messages:
            self._check_size(message)
        await self.write(b"".join([framed(message) for message in messages]))

    def _check_size(self, message: bytes) -> None:
        limit = self.connection.settings.max_send
        if len(message) > limit:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"The answer has {len(message)} bytes; this server sends at most {limit}",
            )

    async def write(self, data: bytes) -> None:
        """Send bytes as flow control allows; the connection watches over ``blocked``."""
        h2, link = self._h2_connection, self.connection
        at, size, owed = 0, len(data), 0
        try:
            while at < size and not self.done:
                room = min(h2.local_flow_control_window(self.id), h2.max_outbound_frame_size)
                if room <= 0 or not link.write_ready.is_set():
                    link.flush()
                    if not owed:
                        owed = size - at
                        link.owe(owed)
                    if self.blocked is None:
                        self.blocked = link.loop.time()
                    if not link.write_ready.is_set():
                        await link.write_ready.wait()
                    else:
                        self.window_updated.clear()
                        await self.window_updated.wait()
                    continue
                self.blocked = None
                chunk = data if size <= room else data[at : at + room]
                h2.send_data(self.id, chunk)
                at += len(chunk)
                link.wrote(len(chunk))
        finally:
            if owed:
                link.owe(-owed)
        self.blocked = None

    async def end(self) -> None:
        """Say that the call succeeded."""
        if not self.done:
            self.send_header([])
            self._h2_connection.send_headers(self.id, OK, end_stream=True)
            self.close()

    def fail(self, error: RpcError | A2AError) -> None:
        """End the call with an error; what still runs for it is cancelled. Never waits."""
        if self.done:
            return
        fields = trailers(error, legacy=self.legacy)
        if self.closable:
            try:
                headers = fields if self._answered else [*_HEADERS, *fields]
                self._h2_connection.send_headers(self.id, headers, end_stream=True)
            except H2Error:
                pass  # the client closed the stream in the same moment
        self.close()

    def _refuse(self, status: int, reason: str) -> None:
        headers = [
            (b":status", b"%d" % status),
            (b"content-type", b"text/plain"),
            (b"grpc-status", b"%d" % Status.UNKNOWN),
            (b"grpc-message", reason.encode()),
        ]
        self._h2_connection.send_headers(self.id, headers, end_stream=True)
        self.close()

    def _expire(self) -> None:
        """The caller's deadline ends the wait, never the task."""
        self.fail(RpcError(Status.DEADLINE_EXCEEDED, "The deadline of this call has passed"))

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything; tells a client that is still sending to stop."""
        if self.done:
            return
        self.done = True
        self.blocked = None
        if self._deadline is not None:
            self._deadline.cancel()
        if self._held:
            self._hold(-self._held)
        self._assembler = None
        child, self._child = self._child, None
        if child is not None and child is not asyncio.current_task():
            child.cancel()
        self.connection.forget(self)

    def __terminated__(self, reason: str) -> None:
        self.close()

    def reset_if_open(self) -> None:
        """After the trailers: stop a client that has not ended its request."""
        if self.closable:
            self.reset_nowait(ErrorCodes.NO_ERROR)
