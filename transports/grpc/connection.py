"""One HTTP/2 connection: grpclib's, with bounds on everything a peer may do to it.

grpclib leaves these open, and each is closed here: unknown frames end a connection with a
traceback, a protocol error ends it without GOAWAY, refused streams end it for their neighbours,
pings and resets cost the peer nothing, unread answers to control frames grow without bounds, an
idle or dead peer stays, and closing says nothing to anybody.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from grpclib.config import Configuration
from grpclib.protocol import EventsProcessor, H2Protocol
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    UnknownFrameReceived,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from .framing import PREFIX
from .metadata import Metadata, RawHeaders
from .rpc import Rpc
from .session import FAREWELL, MIN_WINDOW, Link
from .status import RpcError, Status

if TYPE_CHECKING:
    from .server import GrpcServer

log = logging.getLogger("greenroom.transports.grpc")

_H2 = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class _Patient(H2Connection):
    """h2 ends a connection over one stream too many: we refuse that stream, so h2 need not count.

    Its count is also what forgets closed streams, and is made for every new one over all there
    are: here it is made now and then.
    """

    _sweep_at = 128

    @property
    def open_inbound_streams(self) -> int:
        if len(self.streams) >= self._sweep_at:
            super().open_inbound_streams  # noqa: B018
            self._sweep_at = 2 * len(self.streams) + 128
        return 0


class Processor(EventsProcessor):
    """What happens on a connection."""

    connection: Link
    streams: dict[int, Rpc]  # type: ignore[assignment]

    def __init__(self, handler: GrpcServer, connection: Link) -> None:
        super().__init__(handler, connection)
        self.streams = connection.rpcs
        settings = connection.settings
        self._methods = handler.methods
        self._patience = float(settings.nuisances)
        self._patient_at = connection.loop.time()
        self._strikes = 0
        self._last_ping = -1e9
        self.processors.update(
            {
                UnknownFrameReceived: self._nuisance,
                PriorityUpdated: self._nuisance,
                PingAckReceived: self._ping_answered,
            }
        )

    def process(self, event: Event) -> None:
        processor: Any = self.processors.get(event.__class__)
        if processor is not None:  # grpclib raises for what HTTP/2 says to ignore
            processor(event)

    def process_request_received(self, event: RequestReceived) -> None:
        link = self.connection
        stream_id = event.stream_id
        if link.parted:  # the second GOAWAY said that it would not be served
            link.h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self._nuisance(event)
            return
        if len(link.rpcs) >= link.settings.max_streams:
            link.h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self._nuisance(event)
            return
        rpc = Rpc(link, stream_id, Metadata(cast("RawHeaders", event.headers)))
        link.rpcs[stream_id] = rpc
        link.server.calls += 1
        rpc.begin(self._methods)

    def process_data_received(self, event: DataReceived) -> None:
        data = event.data
        if not data and event.stream_ended is None:
            self._nuisance(event)
        size = event.flow_controlled_length
        self.connection.credit_connection(size)
        rpc = self.streams.get(event.stream_id)
        if rpc is not None:
            rpc.add(data, size)

    def process_stream_reset(self, event: StreamReset) -> None:
        rpc = self.streams.get(event.stream_id)
        if rpc is not None:
            rpc.close()
        if event.remote_reset:
            self._nuisance(event)

    def process_remote_settings_changed(self, event: RemoteSettingsChanged) -> None:
        super().process_remote_settings_changed(event)
        self._nuisance(event)

    def process_ping_received(self, event: PingReceived) -> None:
        """As gRPC's own servers: pings are free while something is sent, else rare."""
        link = self.connection
        now = link.loop.time()
        soon = now - self._last_ping < link.settings.ping_interval
        if not soon or link.said:
            self._strikes = 0
        else:
            self._strikes += 1
            if self._strikes > link.settings.ping_strikes:
                link.banish(b"too_many_pings")
        self._last_ping, link.said = now, False
        self._nuisance(event)

    def _ping_answered(self, event: PingAckReceived) -> None:
        if event.ping_data == FAREWELL:
            # Later: clients put the answer before calls that go out in the same write.
            self.connection.loop.call_soon(self.connection.part)

    def _nuisance(self, event: Event) -> None:
        link = self.connection
        now = link.loop.time()
        most = link.settings.nuisances
        refill = (now - self._patient_at) * most / 10
        self._patience = min(most, self._patience + refill) - 1
        self._patient_at = now
        if self._patience < 0:
            link.banish(b"too_many_control_frames")

    def close(self, reason: str = "Connection closed") -> None:
        """The connection is gone, or will be."""
        for rpc in list(self.streams.values()):
            rpc.close()
        self.processors = {}  # grpclib: bound methods of ours, a cycle
        self.connection.close()


class GrpcProtocol(H2Protocol):
    """The asyncio protocol of one connection; ``agent`` is the one that its port serves."""

    connection: Link
    processor: Processor

    def __init__(self, server: GrpcServer, agent: str) -> None:
        super().__init__(server, server.configuration, _H2)
        self._server = server
        self._agent = agent
        self.opened = self.heard = self.busy = server.loop.time()
        self.stalled: float | None = None
        """Since when the client has not taken what was written."""
        self._pinged: float | None = None
        self._told_age: float | None = None
        self._closing: float | None = None

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        server = self._server
        if len(server.links) >= server.settings.max_connections or (
            tls is not None and tls.selected_alpn_protocol() != "h2"
        ):
            transport.abort()
            return
        settings = server.settings
        h2 = _Patient(_H2)
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: settings.max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_metadata,
                SettingCodes.INITIAL_WINDOW_SIZE: max(MIN_WINDOW, settings.max_receive + PREFIX)
                if server.runtime.gate.open
                else MIN_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: 16_384,
            },
        )
        h2.decoder.max_header_list_size = settings.max_metadata
        h2.initiate_connection()
        more = max(0, settings.max_buffered - MIN_WINDOW)
        if more:
            h2.increment_flow_control_window(more)
        self.connection = Link(h2, transport, server, self._agent)
        self.processor = Processor(server, self.connection)
        server.links.add(self)
        self.connection.flush()

    def data_received(self, data: bytes) -> None:
        link = getattr(self, "connection", None)
        if link is None or link.deaf or link.transport.is_closing():
            return
        self.heard = link.loop.time()
        self._pinged = None
        try:
            for event in link.feed(data):
                if link.deaf or link.transport.is_closing():
                    return
                self.processor.process(event)
        except ProtocolError as error:
            log.debug("connection of %s: %s", link.peer, error)
            link.flush()  # the GOAWAY that says why
            link.linger()
        except Exception:
            # What h2 and its parts raise on bytes that nobody foresaw ends this connection alone.
            log.info("connection of %s sent what HTTP/2 cannot be", link.peer, exc_info=True)
            self.processor.close("Protocol error")
            link.transport.abort()
        else:
            link.flush()

    def pause_writing(self) -> None:
        """Who does not read is not read: answers to its control frames would pile up here."""
        super().pause_writing()
        self.stalled = self._server.loop.time()
        self.connection.transport.pause_reading()

    def resume_writing(self) -> None:
        self.stalled = None
        self.connection.transport.resume_reading()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.links.discard(self)
        self._server.changed()
        if hasattr(self, "processor"):
            self.processor.close("Connection lost")

    # --- the server's side: one look now and then, instead of timers for everything -------------

    def look(self, now: float) -> None:
        """Enforce what takes time."""
        link, settings = self.connection, self._server.settings
        if link.transport.is_closing():
            self._closing = self._closing or now
            if now - self._closing > settings.write_timeout:
                link.transport.abort()
            return
        if self.stalled is not None and now - self.stalled > settings.write_timeout:
            log.info("connection of %s dropped: it takes nothing", link.peer)
            link.transport.abort()
            return
        if link.rpcs:
            self.busy = now
            self._look_at_calls(now)
        elif now - self.busy > settings.idle:
            link.go_away(why=b"idle")
        self._look_at_age(now)
        self._keep_alive(now)

    def _look_at_calls(self, now: float) -> None:
        settings = self._server.settings
        for rpc in list(self.connection.rpcs.values()):
            if rpc.blocked is not None and now - rpc.blocked > settings.write_timeout:
                self._server.dropped += 1
                rpc.fail(
                    RpcError(
                        Status.UNAVAILABLE,
                        f"Nothing was read for {settings.write_timeout:g} s: subscribe again",
                    )
                )
            elif not rpc.whole and now - rpc.opened > settings.request_timeout:
                rpc.fail(
                    RpcError(
                        Status.DEADLINE_EXCEEDED,
                        f"The request did not arrive within {settings.request_timeout:g} s",
                    )
                )

    def _look_at_age(self, now: float) -> None:
        settings, link = self._server.settings, self.connection
        if settings.age is None or now - self.opened < settings.age:
            return
        if self._told_age is None:
            self._told_age = now
            link.go_away(why=b"max_age")
        elif now - self._told_age > settings.age_grace:
            for rpc in list(link.rpcs.values()):
                rpc.fail(RpcError(Status.UNAVAILABLE, "This connection is too old: connect anew"))
            link.hang_up()

    def _keep_alive(self, now: float) -> None:
        settings, link = self._server.settings, self.connection
        if self._pinged is not None:
            if now - self._pinged > settings.keepalive_timeout:
                log.info("connection of %s dropped: it does not answer", link.peer)
                link.transport.abort()
        elif now - self.heard > settings.keepalive:
            try:
                link.h2.ping(b"greenroo")
            except H2Error:
                return
            self._pinged = now
            link.flush()


CONFIGURATION = Configuration(_keepalive_time=None).__for_server__()
