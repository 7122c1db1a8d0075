"""What the calls of one connection share: its writing, its windows, its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from grpclib.protocol import Connection
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, PingFrame

from ...protocol.errors import A2AError, PayloadTooLargeError
from ...protocol.version import V03, V10
from ...runtime.call import Call
from ...runtime.concurrency.supervisor import Child
from .framing import PREFIX
from .metadata import Metadata
from .rpc import Rpc
from .settings import GrpcSettings
from .status import RpcError, Status

if TYPE_CHECKING:
    from .server import GrpcServer

log = logging.getLogger("greenroom.transports.grpc")

MIN_WINDOW = 65_535
_LAST_STREAM = 2**31 - 1
FAREWELL = b"farewell"
"""The ping that follows a peaceful GOAWAY: its answer tells that the client has read that."""
FAREWELL_TIME = 1.0
"""How long that answer is waited for, in seconds."""
LINGER = 0.5
"""How long a connection that is over stays for its peer to read why, in seconds."""


class Link(Connection):
    """What the calls of one connection share."""

    def __init__(
        self, h2: H2Connection, transport: asyncio.Transport, server: GrpcServer, agent: str
    ) -> None:
        super().__init__(h2, transport, config=server.configuration)
        self.h2 = h2
        self.transport = transport
        self.server = server
        self.settings: GrpcSettings = server.settings
        self.loop = server.loop
        self.agent = agent
        self.told: Callable[[Exception], RpcError | A2AError] = server.told
        self.rpcs: dict[int, Rpc] = {}
        self.peer = _address(transport)
        self.certificate = _certificate(transport)
        self.held = 0
        """Bytes of unfinished requests."""
        self.owed = 0
        """Bytes of answers that wait for the client to read."""
        self.unflushed = 0
        """Bytes of answers since the last write."""
        self.said = False
        """Something was sent for a call since the last ping."""
        self.doomed = False
        """The client is told to go elsewhere: the connection closes when its calls are over."""
        self.parted = False
        """No more calls are taken. Until then come those that crossed the first GOAWAY."""
        self._why = b""
        self.deaf = False
        """Whatever still comes is thrown away."""
        self._uncredited = 0
        self.roomy = server.runtime.gate.open
        """Calls have room for their longest message before anybody is asked who makes them."""
        self._window = max(MIN_WINDOW, self.settings.max_buffered)
        self._flushing = False

    def caller(self, metadata: Metadata, version: str) -> Call:
        """Return what the runtime is told about who calls."""
        call = metadata.call(version, self.agent, None)
        proxies, fields = self.server.proxies, metadata.fields
        call.peer = proxies.peer(self.peer, fields)
        call.certificate = self.certificate
        call.forwarded_certificate = proxies.certificate(self.peer, fields)
        return call

    def note(self, rpc: Rpc, error: RpcError) -> None:
        """Audit what was too large to be looked at."""
        call = self.caller(rpc.metadata, V03 if rpc.legacy else V10)
        self.server.runtime.gate.note(call, PayloadTooLargeError(error.message))

    def start(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Child:
        return self.server.children.start(body, "grpc call")

    # --- writing --------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop: what many calls have to say is one write."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        self.unflushed = 0
        if not self.transport.is_closing():
            data = self.h2.data_to_send()
            if data:
                self.transport.write(data)

    def wrote(self, size: int) -> None:
        """Write soon, or at once what is much: only a write tells whether the client reads."""
        self.said = True
        self.unflushed += size
        if self.unflushed > MIN_WINDOW:
            self.flush()
        else:
            self.flush_soon()

    def owe(self, size: int) -> None:
        """Account for bytes of answers that wait; raises RpcError for one too many."""
        self.owed += size
        if self.owed > self.settings.max_unread and self.owed > size > 0:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"More than {self.settings.max_unread} bytes of answers wait to be read on this "
                "connection: read them first",
            )

    # --- flow control of what comes in ------------------------------------------------------------

    def credit_connection(self, size: int) -> None:
        """Give back the room that ``size`` bytes took, now and then."""
        self._uncredited += size
        if self._uncredited * 2 >= self._window:
            self.h2.increment_flow_control_window(self._uncredited)
            self._uncredited = 0

    def credit(self, rpc: Rpc) -> None:
        """Give a stream of requests its room back."""
        stream = self.h2.streams.get(rpc.id)
        if stream is not None and not stream.closed:
            room = self.h2.remote_flow_control_window(rpc.id)
            wanted = max(MIN_WINDOW, self.settings.max_receive + PREFIX) - room
            if wanted > 0:
                self.h2.increment_flow_control_window(wanted, rpc.id)
                self.flush_soon()

    def hold(self, size: int) -> None:
        """Account for bytes of unfinished messages; raises RpcError for one too many."""
        self.held += size
        if size > 0 and self.held > self.settings.max_buffered:
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"This connection has more than {self.settings.max_buffered} bytes of unfinished "
                "messages here",
            )

    # --- calls ------------------------------------------------------------------------------------

    def forget(self, rpc: Rpc) -> None:
        """A call is over."""
        self.rpcs.pop(rpc.id, None)
        if not self.transport.is_closing():
            rpc.reset_if_open()
            self.flush_soon()
        self.server.calls -= 1
        self.server.changed()
        if self.parted and not self.rpcs and not self.deaf:
            self.loop.call_soon(self.hang_up)

    def go_away(self, code: ErrorCodes = ErrorCodes.NO_ERROR, why: bytes = b"") -> None:
        """Tell the client to take its next calls elsewhere; those it has may end.

        In peace this takes two frames with a ping between them (RFC 9113 section 6.8): a call that
        is on its way when the first is sent is served, and the second names the last one that is.
        h2 has no word for a connection that ends in peace, so the frames are ours.
        """
        peaceful = code is ErrorCodes.NO_ERROR
        if self.deaf or self.transport.is_closing() or (peaceful and self.doomed):
            return
        self.doomed = True
        if not peaceful:
            self._say(self.h2.highest_inbound_stream_id, code, why)
            self.parted = True
            return
        self._why = why
        self._say(_LAST_STREAM, code, why)
        self.transport.write(PingFrame(0, opaque_data=FAREWELL).serialize())
        self.loop.call_later(FAREWELL_TIME, self.part)

    def part(self) -> None:
        """The client knows, or had its time: end the connection when its calls are over."""
        if self.parted or self.deaf or self.transport.is_closing():
            return
        self.parted = True
        self._say(self.h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR, self._why)
        if not self.rpcs:  # clients hang up by themselves; what they still send would be a reset
            self.loop.call_later(LINGER, self.hang_up)
        self.server.changed()

    def _say(self, last: int, code: ErrorCodes, why: bytes) -> None:
        self.flush()
        frame = GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=why)
        self.transport.write(frame.serialize())

    def hang_up(self) -> None:
        """Close when what was said is out."""
        if not self.transport.is_closing():
            self.flush()
            self.transport.close()

    def banish(self, why: bytes) -> None:
        """The peer does us harm: end the connection and every call on it."""
        log.info("connection of %s closed: %s", self.peer, why.decode())
        self.server.banished += 1
        self.go_away(ErrorCodes.ENHANCE_YOUR_CALM, why)
        self.linger()

    def linger(self) -> None:
        """End everything, but close a little later: a reset would overtake the last words."""
        self.deaf = True
        for rpc in list(self.rpcs.values()):
            rpc.close()
        self.loop.call_later(LINGER, self.hang_up)


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "unix"


def _certificate(transport: asyncio.Transport) -> bytes | None:
    tls = transport.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)
