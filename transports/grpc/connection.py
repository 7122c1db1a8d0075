"""One HTTP/2 connection: h2 between a transport and the calls, with bounds on what a peer may do.

The peer decides what frames come. So each kind of frame that costs the peer nothing is counted, a
frame that HTTP/2 says to ignore is ignored, an error of the protocol is answered with GOAWAY, a
peer that does not read is not read, and an idle or dead peer is sent away. An exception on a
connection ends that connection and leaves one line in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from ...runtime.concurrency.supervisor import Supervisor
from .control_frames import Allowance, Pings
from .framing import PREFIX
from .metadata import Metadata, RawHeaders
from .rpc import Method, Rpc
from .session import FAREWELL, MIN_WINDOW, Session
from .shared import Shared
from .status import RpcError, Status

log = logging.getLogger("greenroom.transports.grpc")

SLICE = 16_384
"""Bytes that h2 reads at once: the server notices a flood after so many of them."""
LONGEST = 200
"""Characters of an error in the log: its text may hold what the peer sent."""
_H2 = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class _Connection(H2Connection):
    """h2 ends a connection over one stream too many: here the stream is refused, so h2 need not
    count. Its count is also what forgets closed streams, and h2 makes it for every new stream over
    all there are: here it is made now and then.
    """

    _sweep_at = 128

    @property
    def open_inbound_streams(self) -> int:
        if len(self.streams) >= self._sweep_at:
            super().open_inbound_streams  # noqa: B018
            self._sweep_at = 2 * len(self.streams) + 128
        return 0


class GrpcProtocol(asyncio.Protocol):
    """The asyncio protocol of one connection."""

    def __init__(
        self,
        shared: Shared,
        methods: Mapping[bytes, Method],
        children: Supervisor,
        agent: str,
        release: Callable[[], None],
    ) -> None:
        """``agent`` is the slug of the agent that the port serves; empty: all. ``release`` is
        called when the connection is gone."""
        self._shared = shared
        self._methods = methods
        self._children = children
        self._agent = agent
        self._release = release
        self._handlers: dict[type[Event], Callable[[Any], None]] = {}

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        if self._shared.draining or (tls is not None and tls.selected_alpn_protocol() != "h2"):
            transport.abort()
            return
        shared, settings = self._shared, self._shared.settings
        session = Session(_h2(shared), transport, shared, self._children, self._agent)
        self.session = session
        now = session.loop.time()
        self._allowance = Allowance(settings.control_frames, now)
        self._pings = Pings(settings.ping_interval, settings.ping_strikes)
        self._opened = self._heard = self._busy = now
        self._stalled: float | None = None  # since when the client has not taken what was written
        self._pinged: float | None = None
        self._told_age: float | None = None
        self._closing: float | None = None
        self._handlers = {
            RequestReceived: self._request_received,
            DataReceived: self._data_received,
            StreamEnded: self._stream_ended,
            StreamReset: self._stream_reset,
            WindowUpdated: self._window_updated,
            RemoteSettingsChanged: self._settings_changed,
            PingReceived: self._ping_received,
            PingAckReceived: self._ping_answered,
            ConnectionTerminated: self._terminated,
            SettingsAcknowledged: _ignored,
            TrailersReceived: _ignored,
        }
        shared.connections.add(self)
        session.flush()

    def data_received(self, data: bytes) -> None:
        session = getattr(self, "session", None)
        if session is None:
            return
        self._heard = session.loop.time()
        self._pinged = None
        try:
            if len(data) <= SLICE:
                self._feed(data)
            else:
                for at in range(0, len(data), SLICE):
                    self._feed(data[at : at + SLICE])
        except ProtocolError as error:
            log.debug("connection of %s: %s", session.peer, error)
            session.flush()  # the GOAWAY that says why
            session.discard()
        except Exception as error:  # what h2 and its parts raise on bytes that nobody foresaw
            self._failed(error)
        else:
            session.flush()

    def _feed(self, data: bytes) -> None:
        session, handlers = self.session, self._handlers
        if session.discarding or session.transport.is_closing():
            return
        for event in session.h2.receive_data(data):
            if session.discarding or session.transport.is_closing():
                return
            handlers.get(event.__class__, self._control_frame)(event)

    def pause_writing(self) -> None:
        """Stop reading a peer that does not read: answers to its frames would pile up here."""
        session = self.session
        session.writable = False
        self._stalled = session.loop.time()
        session.transport.pause_reading()

    def resume_writing(self) -> None:
        session = self.session
        session.writable = True
        self._stalled = None
        session.transport.resume_reading()
        session.room_changed()

    def connection_lost(self, exc: BaseException | None) -> None:
        shared = self._shared
        shared.connections.discard(self)
        self._release()
        self._handlers = {}  # methods of ours: a cycle
        if (session := getattr(self, "session", None)) is not None:
            session.close_calls()
            session.h2.__dict__.pop("_frame_dispatch_table", None)  # h2's own methods: a cycle
        shared.notify_drain()

    def _failed(self, error: Exception) -> None:
        """End a connection over an error that nobody foresaw, with one line in the log."""
        session = self.session
        why = f"{type(error).__name__}: {error}"[:LONGEST]
        log.warning("connection of %s closed: %s", session.peer, why)
        log.debug("the error was", exc_info=error)
        session.transport.abort()
        session.close_calls()

    # --- what the peer sent ---------------------------------------------------------------------

    def _request_received(self, event: RequestReceived) -> None:
        session, stream_id = self.session, event.stream_id
        if session.goaway_sent or len(session.calls) >= session.settings.max_streams:
            session.h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self._control_frame(event)
            return
        rpc = Rpc(session, stream_id, Metadata(cast("RawHeaders", event.headers)))
        session.calls[stream_id] = rpc
        self._shared.calls += 1
        rpc.begin(self._methods)

    def _data_received(self, event: DataReceived) -> None:
        data, session = event.data, self.session
        if not data and event.stream_ended is None:
            self._control_frame(event)
        session.credit_connection(event.flow_controlled_length or 0)
        call = session.calls.get(event.stream_id)
        if call is not None:
            call.add(data)

    def _stream_ended(self, event: StreamEnded) -> None:
        call = self.session.calls.get(event.stream_id)
        if call is not None:
            call.end_of_request()

    def _stream_reset(self, event: StreamReset) -> None:
        call = self.session.calls.get(event.stream_id)
        if call is not None:
            call.close()
        if event.remote_reset:
            self._control_frame(event)

    def _window_updated(self, event: WindowUpdated) -> None:
        session = self.session
        if session.free_updates > 0:
            session.free_updates -= 1
        else:
            self._control_frame(event)
        session.room_changed(event.stream_id or 0)

    def _settings_changed(self, event: RemoteSettingsChanged) -> None:
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self.session.room_changed()
        self._control_frame(event)

    def _ping_received(self, event: PingReceived) -> None:
        session = self.session
        allowed = self._pings.take(session.loop.time(), active=session.active)
        session.active = False
        if not allowed:
            session.close_abusive(b"too_many_pings")
        self._control_frame(event)

    def _ping_answered(self, event: PingAckReceived) -> None:
        if event.ping_data == FAREWELL:
            # Later: clients put the answer before calls that go out in the same write.
            self.session.loop.call_soon(self.session.refuse_calls)

    def _terminated(self, event: ConnectionTerminated) -> None:
        self.session.close_calls()
        self.session.transport.close()

    def _control_frame(self, event: Event) -> None:
        """Count a frame that costs the peer nothing: of these, and of kinds unknown to HTTP/2."""
        if not self._allowance.take(self.session.loop.time()):
            self.session.close_abusive(b"too_many_control_frames")

    # --- the server's side: one look now and then, instead of timers for everything -------------

    @property
    def goaway_sent(self) -> bool:
        return self.session.goaway_sent

    def go_away(self, why: bytes) -> None:
        self.session.go_away(why=why)

    def end_calls(self, error: RpcError) -> None:
        for call in list(self.session.calls.values()):
            call.fail(error)
        self.session.hang_up()

    def abort(self) -> None:
        self.session.transport.abort()

    def look(self, now: float) -> None:
        try:
            self._look(now)
        except Exception as error:
            self._failed(error)

    def _look(self, now: float) -> None:
        session, settings = self.session, self._shared.settings
        if session.transport.is_closing():
            self._closing = self._closing or now
            if now - self._closing > settings.write_timeout:
                session.transport.abort()
            return
        if self._stalled is not None and now - self._stalled > settings.write_timeout:
            log.info("connection of %s dropped: it takes nothing", session.peer)
            session.transport.abort()
            return
        if session.calls:
            self._busy = now
            self._look_at_calls(now)
        elif now - self._busy > settings.idle:
            session.go_away(why=b"idle")
        self._look_at_age(now)
        self._keep_alive(now)

    def _look_at_calls(self, now: float) -> None:
        settings = self._shared.settings
        for call in list(self.session.calls.values()):
            if call.blocked is not None and now - call.blocked > settings.write_timeout:
                self._shared.calls_dropped += 1
                call.fail(
                    RpcError(
                        Status.UNAVAILABLE,
                        f"Nothing was read for {settings.write_timeout:g} s: subscribe again",
                    )
                )
            elif call.awaiting is not None and now - call.awaiting > settings.request_timeout:
                call.fail(
                    RpcError(
                        Status.DEADLINE_EXCEEDED,
                        f"The request did not arrive within {settings.request_timeout:g} s",
                    )
                )

    def _look_at_age(self, now: float) -> None:
        session, settings = self.session, self._shared.settings
        if settings.age is None or now - self._opened < settings.age:
            return
        if self._told_age is None:
            self._told_age = now
            session.go_away(why=b"max_age")
        elif now - self._told_age > settings.age_grace:
            self.end_calls(
                RpcError(Status.UNAVAILABLE, "This connection is too old: connect again")
            )

    def _keep_alive(self, now: float) -> None:
        session, settings = self.session, self._shared.settings
        if self._pinged is not None:
            if now - self._pinged > settings.keepalive_timeout:
                log.info("connection of %s dropped: it does not answer", session.peer)
                session.transport.abort()
        elif now - self._heard > settings.keepalive:
            try:
                session.h2.ping(b"greenroo")
            except H2Error:
                return
            self._pinged = now
            session.flush()


def _ignored(event: Event) -> None:
    pass


def _h2(shared: Shared) -> H2Connection:
    """Return a connection with our settings, whose first frames are ready to be written."""
    settings = shared.settings
    h2 = _Connection(_H2)
    window = max(MIN_WINDOW, settings.max_receive + PREFIX) if shared.gate.open else MIN_WINDOW
    h2.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: settings.max_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: settings.max_metadata,
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.MAX_FRAME_SIZE: 16_384,
        },
    )
    h2.decoder.max_header_list_size = settings.max_metadata
    h2.initiate_connection()
    more = max(0, settings.max_buffered - MIN_WINDOW)
    if more:
        h2.increment_flow_control_window(more)
    return h2
