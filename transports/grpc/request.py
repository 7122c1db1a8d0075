"""The request of one call while it arrives: assembled within limits, inflated when it is taken."""

from __future__ import annotations

import asyncio
from collections import deque

from .framing import Assembler, RawMessage, inflated
from .session import Session
from .status import RpcError, Status

_QUEUED = 256
"""What a message that waits in a stream of requests costs beside its bytes: it may have none."""


class Request:
    """One message, or a stream of them (``many``); what is held counts in the session's budgets.

    Methods raise RpcError for a request that cannot be; the call then fails.
    """

    __slots__ = (
        "_admitted",
        "_assembler",
        "_ended",
        "_held",
        "_message",
        "_queue",
        "_roomy",
        "_session",
        "_stream_id",
        "_waiter",
        "awaiting",
    )

    def __init__(
        self, session: Session, stream_id: int, assembler: Assembler, *, many: bool, admitted: bool
    ) -> None:
        self._session = session
        self._stream_id = stream_id
        self._assembler = assembler
        self._message: RawMessage | None = None
        self._queue: deque[RawMessage] | None = deque() if many else None
        self._admitted = admitted
        self._roomy = session.admits_all  # the stream has room for the longest message
        self._ended = False
        self._held = 0  # bytes counted in the session's budget
        self._waiter: asyncio.Future[None] | None = None
        self.awaiting: float | None = session.loop.time()
        """Since when the call has waited for more of the request; ``None``: it does not wait."""

    # --- what arrives -----------------------------------------------------------------------------

    def add(self, data: bytes) -> None:
        """Take a piece of the request."""
        assembler, queue = self._assembler, self._queue
        before = assembler.pending
        messages = assembler.feed(data)
        self._hold(assembler.pending - before)
        for message in messages:
            if queue is not None:
                queue.append(message)
                self._hold(len(message[1]) + _QUEUED)
            elif self._message is not None:
                raise RpcError(Status.INTERNAL, "This method takes one message")
            else:
                self._message = message
                self._hold(len(message[1]))
        if queue is not None and messages:
            self.awaiting = None
            self._wake()
        if assembler.pending:
            if self.awaiting is None:
                self.awaiting = self._session.loop.time()
            self._make_room()

    def end(self) -> None:
        """The client has said all."""
        if self._assembler.pending:
            raise RpcError(Status.INTERNAL, "The request ends inside a message")
        if self._queue is None and self._message is None:
            raise RpcError(Status.INTERNAL, "The request has no message")
        self._ended = True
        self.awaiting = None
        self._wake()

    # --- what the call takes ----------------------------------------------------------------------

    async def message(self) -> bytes:
        """Return the one message when it is whole. The caller is admitted now."""
        self._admitted = True
        if not self._ended:
            if self._assembler.pending:
                self._make_room()
            await self._wait()
        message, self._message = self._message, None
        assert message is not None
        self.release()
        return inflated(message, self._assembler.limit)

    async def next(self) -> bytes | None:
        """Return the next message of a stream of requests; ``None`` when there are no more."""
        queue = self._queue
        assert queue is not None
        while not queue:
            if self._ended:
                return None
            if self.awaiting is None:
                self.awaiting = self._session.loop.time()
            await self._wait()
        message = queue.popleft()
        self._hold(-len(message[1]) - _QUEUED)
        if not queue:  # else a client could be ahead of the answers by ever more
            self._session.open_window(self._stream_id, self._assembler.limit)
        await asyncio.sleep(0)  # other calls have their turn, however many messages wait here
        return inflated(message, self._assembler.limit)

    def release(self) -> None:
        """Give back what the request counts in the budgets."""
        if self._held:
            held, self._held = self._held, 0
            self._session.release_buffered(held)

    # --- inside -----------------------------------------------------------------------------------

    def _hold(self, size: int) -> None:
        if size:
            self._held += size
            self._session.account_buffered(size)

    def _make_room(self) -> None:
        """Let a message come that is longer than what every stream has room for."""
        if self._admitted and not self._roomy:
            self._roomy = True
            self._session.open_window(self._stream_id, self._assembler.limit)

    async def _wait(self) -> None:
        self._waiter = self._session.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
