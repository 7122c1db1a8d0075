"""One call, from its headers to its trailers, on one stream of a connection.

The request is assembled as it arrives, without a task that waits for it. The task that answers
begins when the request is whole, or with the header where that says who calls: until the gate has
admitted its caller, a request has little room and is neither inflated nor parsed.

Whatever ends a call, ``close`` lets go of everything the call holds: no part of a request outlives
the answer, and no cycle of references keeps one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from h2.exceptions import H2Error

from ...protocol.errors import A2AError
from ...protocol.version import V03, V10
from ...runtime.call import Call
from ...runtime.concurrency.supervisor import Child
from .framing import ACCEPTED, Assembler, framed
from .metadata import Metadata
from .request import Request
from .session import Session
from .status import OK, Headers, RpcError, Status, trailers

MAX_DISCOVERY_MESSAGE = 4096
"""Longest message that health and reflection take: nobody is admitted for them."""
_HEADERS: Headers = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc+proto"),
    ACCEPTED,
]


Run = Callable[["Rpc"], Coroutine[Any, Any, None]]


class Method(NamedTuple):
    """What answers a call. ``many``: its requests are a stream, read with ``Rpc.next``."""

    run: Run
    many: bool = False
    early: bool = False
    """Run it before its request is here: it admits the caller and then awaits ``Rpc.message``."""
    legacy: bool = False
    """Errors carry their name in the text, as clients of 0.3 read it."""
    discovery: bool = False
    """Health and reflection: open to everybody, with small limits."""


class Rpc:
    """A call."""

    __slots__ = (
        "_answered",
        "_child",
        "_deadline",
        "_discovery",
        "_request",
        "blocked",
        "call",
        "done",
        "id",
        "metadata",
        "method",
        "session",
    )

    def __init__(self, session: Session, stream_id: int, metadata: Metadata) -> None:
        self.session = session
        self.id = stream_id
        self.metadata = metadata
        self.method: Method | None = None
        self.call: Call | None = None
        """Who calls, once the method has asked."""
        self.blocked: float | None = None
        """Since when the client has taken nothing of what waits for it; in the loop's time."""
        self.done = False
        self._answered = False  # the header of the answer is out
        self._discovery = False  # counted as a call of health or reflection
        self._request: Request | None = None
        self._child: Child | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # --- the request ----------------------------------------------------------------------------

    def begin(self, methods: Mapping[bytes, Method]) -> None:
        """Look at the header: which method is called, and may it be called so?"""
        metadata, session = self.metadata, self.session
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
            if method.discovery:
                session.take_discovery()
                self._discovery = True
            limit = MAX_DISCOVERY_MESSAGE if method.discovery else session.settings.max_receive
            assembler = Assembler(limit, metadata.encoding)
            timeout = metadata.timeout
        except RpcError as error:
            if self.method is None:
                self._audit(error)
            self.fail(error)
            return
        self._request = Request(
            session, self.id, assembler, many=method.many, admitted=not method.early
        )
        if timeout is not None:
            self._deadline = session.loop.call_later(timeout, self._expire)
        if method.many or method.early:
            self._child = session.start(self._run)

    def add(self, data: bytes) -> None:
        """Take a piece of the request."""
        if self._request is None:
            return
        try:
            self._request.add(data)
        except RpcError as error:
            self._audit(error)
            self.fail(error)

    def _audit(self, error: RpcError) -> None:
        """Audit a request that was too large, or could not be read."""
        if not self._discovery:
            version = V03 if self.legacy else V10
            self.session.audit_refusal(self.metadata, version, error)

    def end_of_request(self) -> None:
        """The client has said all."""
        if self._request is None:
            return
        try:
            self._request.end()
        except RpcError as error:
            self._audit(error)
            self.fail(error)
            return
        if self._child is None:
            self._request.release()
            self._child = self.session.start(self._run)

    @property
    def awaiting(self) -> float | None:
        """Since when the call has waited for more of its request; ``None``: it does not wait."""
        return None if self._request is None else self._request.awaiting

    async def message(self) -> bytes:
        """Return the request when it is whole. Its caller is admitted."""
        assert self._request is not None
        try:
            return await self._request.message()
        except RpcError as error:
            self._audit(error)
            raise

    async def next(self) -> bytes | None:
        """Return the next message of a stream of requests; ``None`` when there are no more."""
        assert self._request is not None
        return await self._request.next()

    # --- who calls ------------------------------------------------------------------------------

    @property
    def legacy(self) -> bool:
        """A method of 0.3 is called."""
        return self.method is not None and self.method.legacy

    @property
    def agent(self) -> str:
        """The slug of the agent that is called, as far as known; empty: the first one."""
        return self.session.agent if self.call is None else self.call.agent

    def _payer(self) -> str:
        """Return in whose budget the unread bytes of the answer count."""
        call = self.call
        if call is None:
            return self.session.peer
        if call.principal is None or call.principal.anonymous:
            return call.peer
        return f"{call.principal.tenant}\0{call.principal.owner}"

    # --- the answer -----------------------------------------------------------------------------

    async def _run(self) -> None:
        assert self.method is not None
        try:
            await self.method.run(self)
            self.end()
        except H2Error:
            self.close()  # the client ended the stream while the answer was written
        except Exception as error:
            self.refuse(error)
        finally:  # every call ends, also one whose task others cancel
            self.fail(RpcError(Status.UNAVAILABLE, "The server ended this call"))

    async def reply(self, message: bytes, headers: Headers) -> None:
        """Send the one message of an answer, and its end; mostly in one write."""
        if self.done:
            return
        self._check_size(message)
        session, data = self.session, framed(message)
        del message
        if len(data) > session.room(self.id):
            self.send_header(headers)
            await self.write(data)
            self.end()
            return
        h2 = session.h2
        session.active = True
        h2.send_headers(self.id, _HEADERS + headers)
        h2.send_data(self.id, data)
        h2.send_headers(self.id, OK, end_stream=True)
        self._answered = True
        session.wrote(len(data))
        self.close()

    def send_header(self, headers: Headers) -> None:
        """Begin the answer."""
        if not (self.done or self._answered):
            self._answered = self.session.active = True
            self.session.h2.send_headers(self.id, _HEADERS + headers)
            self.session.flush_soon()

    async def send(self, messages: list[bytes]) -> None:
        """Send messages of a stream together, and empty the list: nothing is kept twice."""
        for message in messages:
            self._check_size(message)
        data = b"".join([framed(message) for message in messages])
        messages.clear()
        await self.write(data)

    def _check_size(self, message: bytes) -> None:
        limit = self.session.settings.max_send
        if len(message) > limit:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"The answer has {len(message)} bytes; this server sends at most {limit}",
            )

    @contextmanager
    def counted(self, size: int) -> Generator[None, None, None]:
        """Count bytes of an answer before it is made; raises RpcError for bytes beyond a budget."""
        payer = self._payer()
        try:
            self.session.account_unread(payer, size)
            yield
        finally:
            self.session.account_unread(payer, -size)

    async def write(self, data: bytes, *, counted: bool = False) -> None:
        """Send bytes as flow control allows; those that wait are counted, unless they are.

        See ``blocked``. Raises RpcError for bytes beyond a budget.
        """
        session = self.session
        h2 = session.h2
        at, size, payer, waiting = 0, len(data), "", 0
        try:
            while at < size and not self.done:
                room = session.room(self.id)
                if room <= 0:
                    session.flush()
                    if not (waiting or counted):
                        payer, waiting = self._payer(), size - at
                        session.account_unread(payer, waiting)
                    if self.blocked is None:
                        self.blocked = session.loop.time()
                    await session.wait_for_room(self.id)
                    continue
                self.blocked = None
                chunk = data if size <= room else data[at : at + room]
                h2.send_data(self.id, chunk)
                at += len(chunk)
                session.wrote(len(chunk))
        finally:
            if waiting:
                session.account_unread(payer, -waiting)
        self.blocked = None

    def end(self) -> None:
        """Say that the call succeeded."""
        if not self.done:
            self.send_header([])
            self.session.h2.send_headers(self.id, OK, end_stream=True)
            self.close()

    def refuse(self, error: Exception) -> None:
        """End the call with what its caller may know of an error."""
        self.fail(self.session.shared.public_error(error, self.agent))

    def fail(self, error: A2AError) -> None:
        """End the call with an error; what still runs for it is cancelled. Never waits."""
        if self.done:
            return
        if self.session.is_open(self.id):
            fields = trailers(error, legacy=self.legacy)
            try:
                headers = fields if self._answered else [*_HEADERS, *fields]
                self.session.h2.send_headers(self.id, headers, end_stream=True)
            except H2Error:
                pass  # the client closed the stream in the same moment
        self.close()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is no gRPC request in the words of HTTP."""
        headers = [
            (b":status", b"%d" % status),
            (b"content-type", b"text/plain"),
            (b"grpc-status", b"%d" % Status.UNKNOWN),
            (b"grpc-message", reason.encode()),
        ]
        self.session.h2.send_headers(self.id, headers, end_stream=True)
        self.close()

    def _expire(self) -> None:
        """The caller's deadline ends the wait, never the task."""
        self.fail(RpcError(Status.DEADLINE_EXCEEDED, "The deadline of this call has passed"))

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything, and tell a client that still sends to stop."""
        if self.done:
            return
        self.done = True
        self.blocked = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        request, self._request = self._request, None
        if request is not None:
            request.release()
        if self._discovery:
            self._discovery = False
            self.session.release_discovery()
        child, self._child = self._child, None
        if child is not None and child is not asyncio.current_task():
            child.cancel()
        self.session.forget(self)
