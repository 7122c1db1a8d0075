"""One HTTP/2 connection as its calls see it: writing, flow control, budgets, and its end.

How a connection ends (RFC 9113 section 6.8). Each state includes the ones before it:

    serving -> draining -> goaway_sent -> closed
                                            ^
    any state ---------> discarding --------+

* ``draining``: a first GOAWAY named the highest stream there can be, and a PING followed. Calls
  that crossed the frame are served. The answer to the PING, or ``FAREWELL_TIME``, ends the state.
* ``goaway_sent``: a second GOAWAY named the last stream that is served. Later calls are refused.
  The connection closes when its calls are over.
* ``discarding``: the peer broke HTTP/2 or sent too many control frames. Its calls have ended and
  what still comes is thrown away. The connection closes after ``LINGER``: a reset at once would
  overtake the GOAWAY that says why.

What comes in. HTTP/2 gives room in windows. The connection's window is ``max_buffered``, and comes
back as bytes arrive (``credit_connection``), because every byte is either held within
``max_buffered`` or refused. A stream's window is its longest message where callers need not be
admitted. Otherwise it is 64 KiB until ``open_window``, which a call asks for after the gate has
admitted its caller.

What goes out. A call writes as its windows allow, and waits in ``wait_for_room`` otherwise. Bytes
that wait are counted for the connection here, for the caller and for the server in ``Shared``. A
window update or a readable socket wakes exactly the calls that wait: an update costs nothing where
nobody waits. What many calls write in one turn of the event loop leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, PingFrame

from ...protocol.errors import A2AError, PayloadTooLargeError
from ...runtime.call import Call
from ...runtime.concurrency.supervisor import Child, Supervisor
from .framing import PREFIX
from .metadata import Metadata
from .shared import MAX_DISCOVERY, Shared, too_many_discovery
from .status import RpcError, Status

log = logging.getLogger("greenroom.transports.grpc")

MIN_WINDOW = 65_535
UPDATES_PER_FRAME = 2
"""Window updates that a DATA frame earns its reader: one of the stream, one of the connection."""
_LAST_STREAM = 2**31 - 1
FAREWELL = b"farewell"
"""The ping that follows a first GOAWAY: its answer says that the client has read that."""
FAREWELL_TIME = 1.0
"""How long a connection waits for that answer, in seconds."""
LINGER = 0.5
"""How long a connection that is over stays open for its peer to read why, in seconds."""


class OpenCall(Protocol):
    """A call as its connection sees it."""

    @property
    def id(self) -> int:
        """The number of its stream."""
        ...

    @property
    def blocked(self) -> float | None:
        """Since when the client has taken nothing of what waits for it; in the loop's time."""
        ...

    @property
    def awaiting(self) -> float | None:
        """Since when the call has waited for more of its request; in the loop's time."""
        ...

    def add(self, data: bytes) -> None:
        """Take a piece of the request."""

    def end_of_request(self) -> None:
        """The client has said all."""

    def fail(self, error: A2AError) -> None:
        """End the call with an error."""

    def close(self) -> None:
        """Let go of everything."""


class Session:
    """What the calls of one connection share; see the head of this module."""

    def __init__(
        self,
        h2: H2Connection,
        transport: asyncio.Transport,
        shared: Shared,
        children: Supervisor,
        agent: str,
    ) -> None:
        """``agent`` is the slug of the agent that the connection's port serves; empty: all."""
        self.h2 = h2
        self.transport = transport
        self.shared = shared
        self.settings = shared.settings
        self.loop = asyncio.get_running_loop()
        self.agent = agent
        self.calls: dict[int, OpenCall] = {}
        self.peer = address_of(transport)
        self.certificate = _certificate(transport)
        self.buffered = 0
        """Bytes of unfinished requests."""
        self.unread = 0
        """Bytes of answers that wait for the client to read."""
        self.active = False
        """Something was sent for a call since the last ping."""
        self.free_updates = 0
        """Window updates that what was sent has earned the peer."""
        self.writable = True
        """The transport takes more bytes."""
        self.draining = self.goaway_sent = self.discarding = False
        self.admits_all = shared.gate.open
        """No call waits for the gate: each has room for its longest message at once."""
        self._children = children
        self._why = b""
        self._uncredited = 0
        self._window = max(MIN_WINDOW, self.settings.max_buffered)
        self._blocked: dict[int, asyncio.Future[None]] = {}
        self._unflushed = 0
        self._flushing = False
        self._discovery = 0

    def caller(self, metadata: Metadata, version: str) -> Call:
        """Return the call as the runtime sees it."""
        proxies, fields = self.shared.proxies, metadata.fields
        return metadata.call(
            version,
            self.agent,
            peer=proxies.peer(self.peer, fields),
            certificate=self.certificate,
            forwarded_certificate=proxies.certificate(self.peer, fields),
        )

    def audit_refusal(self, metadata: Metadata, version: str, error: RpcError) -> None:
        """Audit a request that leads to no operation, or is too large to be read."""
        call = self.caller(metadata, version)
        if error.status is Status.RESOURCE_EXHAUSTED:
            self.shared.gate.audit_refusal(call, PayloadTooLargeError(error.message))
        else:
            self.shared.gate.audit_request(call, error, outcome=error.status.name)

    def start(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Child:
        """Run what answers a call, under the server's supervisor."""
        return self._children.start(body, "grpc call")

    # --- writing --------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Write what h2 has ready."""
        self._unflushed = 0
        if not self.transport.is_closing():
            data = self.h2.data_to_send()
            if data:
                self.transport.write(data)

    def wrote(self, size: int) -> None:
        """Count a DATA frame. Write at once where much waits: only a write tells whether the
        client reads."""
        self.active = True
        if self.free_updates < self.settings.control_frames:
            self.free_updates += UPDATES_PER_FRAME
        self._unflushed += size
        if self._unflushed > MIN_WINDOW:
            self.flush()
        else:
            self.flush_soon()

    def room(self, stream_id: int) -> int:
        """Return how many bytes a call may send now."""
        if not self.writable:
            return 0
        h2 = self.h2
        return min(h2.local_flow_control_window(stream_id), h2.max_outbound_frame_size)

    async def wait_for_room(self, stream_id: int) -> None:
        """Wait until there may be room for a call."""
        future = self._blocked[stream_id] = self.loop.create_future()
        try:
            await future
        finally:
            if self._blocked.get(stream_id) is future:
                del self._blocked[stream_id]

    def room_changed(self, stream_id: int = 0) -> None:
        """Wake a call that waits for room; 0: every one."""
        if stream_id:
            future = self._blocked.pop(stream_id, None)
            if future is not None and not future.done():
                future.set_result(None)
            return
        blocked, self._blocked = self._blocked, {}
        for future in blocked.values():
            if not future.done():
                future.set_result(None)

    def account_unread(self, caller: str, size: int) -> None:
        """Count bytes of answers that wait; raises RpcError for bytes beyond a budget."""
        self.unread += size
        self.shared.account_unread(caller, size)
        if self.unread > self.settings.max_unread and self.unread > size > 0:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"More than {self.settings.max_unread} bytes of answers wait to be read on this "
                "connection: read them first",
            )

    # --- flow control of what comes in ------------------------------------------------------------

    def credit_connection(self, size: int) -> None:
        """Give back the room that ``size`` bytes took, in few updates."""
        self._uncredited += size
        if self._uncredited * 2 >= self._window:
            self.h2.increment_flow_control_window(self._uncredited)
            self._uncredited = 0

    def open_window(self, stream_id: int, longest: int) -> None:
        """Give a stream room for a message of at most ``longest`` bytes."""
        stream = self.h2.streams.get(stream_id)
        if stream is not None and not stream.closed:
            room = self.h2.remote_flow_control_window(stream_id)
            wanted = max(MIN_WINDOW, longest + PREFIX) - room
            if wanted > 0:
                self.h2.increment_flow_control_window(wanted, stream_id)
                self.flush_soon()

    def account_buffered(self, size: int) -> None:
        """Count bytes of unfinished requests; raises RpcError for bytes beyond a budget."""
        self.buffered += size
        self.shared.account_buffered(size)
        if size > 0 and self.buffered > self.settings.max_buffered:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"This connection has more than {self.settings.max_buffered} bytes of unfinished "
                "messages here",
            )

    def release_buffered(self, size: int) -> None:
        """Count bytes of unfinished requests no more."""
        self.buffered -= size
        self.shared.buffered -= size

    # --- calls ------------------------------------------------------------------------------------

    def take_discovery(self) -> None:
        """Count an open call of health or reflection; raises RpcError for one too many."""
        if self._discovery >= MAX_DISCOVERY:
            raise too_many_discovery(MAX_DISCOVERY, "connection")
        self.shared.take_discovery(self.peer)
        self._discovery += 1

    def release_discovery(self) -> None:
        """Count a call of health or reflection no more."""
        self._discovery -= 1
        self.shared.release_discovery(self.peer)

    def forget(self, call: OpenCall) -> None:
        """A call is over. The server tells a client that still sends for it to stop."""
        self.calls.pop(call.id, None)
        if self.is_open(call.id):
            self.h2.reset_stream(call.id, ErrorCodes.NO_ERROR)
        if not self.transport.is_closing():
            self.flush_soon()
        self.shared.calls -= 1
        self.shared.notify_drain()
        if self.goaway_sent and not self.calls and not self.discarding:
            self.loop.call_soon(self.hang_up)

    def is_open(self, stream_id: int) -> bool:
        """Whether something may be sent on a stream."""
        if self.transport.is_closing() or self.h2.state_machine.state is ConnectionState.CLOSED:
            return False
        stream = self.h2.streams.get(stream_id)
        return stream is not None and not stream.closed

    # --- the end ----------------------------------------------------------------------------------

    def go_away(self, code: ErrorCodes = ErrorCodes.NO_ERROR, why: bytes = b"") -> None:
        """Tell the client to take its next calls elsewhere; the calls it has may end.

        h2 ends a connection at its first GOAWAY, so these frames are written without it.
        """
        peaceful = code is ErrorCodes.NO_ERROR
        if self.discarding or self.transport.is_closing() or (peaceful and self.draining):
            return
        self.draining = True
        if not peaceful:
            self._write_goaway(self.h2.highest_inbound_stream_id, code, why)
            self.goaway_sent = True
            return
        self._why = why
        self._write_goaway(_LAST_STREAM, code, why)
        self.transport.write(PingFrame(0, opaque_data=FAREWELL).serialize())
        self.loop.call_later(FAREWELL_TIME, self.refuse_calls)

    def refuse_calls(self) -> None:
        """Send the second GOAWAY, and close when the calls are over."""
        if self.goaway_sent or self.discarding or self.transport.is_closing():
            return
        self.goaway_sent = True
        self._write_goaway(self.h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR, self._why)
        if not self.calls:  # clients hang up by themselves; what they still send would be a reset
            self.loop.call_later(LINGER, self.hang_up)
        self.shared.notify_drain()

    def _write_goaway(self, last: int, code: ErrorCodes, why: bytes) -> None:
        self.flush()
        frame = GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=why)
        self.transport.write(frame.serialize())

    def hang_up(self) -> None:
        """Close when everything is written."""
        if not self.transport.is_closing():
            self.flush()
            self.transport.close()

    def close_abusive(self, why: bytes) -> None:
        """End a connection whose peer does harm, and every call on it."""
        if self.discarding:
            return
        log.info("connection of %s closed: %s", self.peer, why.decode())
        self.shared.closed_abusive += 1
        self.go_away(ErrorCodes.ENHANCE_YOUR_CALM, why)
        self.discard()

    def discard(self) -> None:
        """End every call, throw away what still comes, and close a little later."""
        self.discarding = True
        self.close_calls()
        self.loop.call_later(LINGER, self.hang_up)

    def close_calls(self) -> None:
        """Let go of every call, without a word to the client."""
        for call in list(self.calls.values()):
            call.close()


def address_of(transport: asyncio.BaseTransport) -> str:
    """Return the address of a connection's other end."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unix"


def _certificate(transport: asyncio.Transport) -> bytes | None:
    tls = transport.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)
