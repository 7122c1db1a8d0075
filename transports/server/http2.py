"""HTTP/2 of one connection: hypercorn's, with bounds on what a peer may do to it.

hypercorn leaves these open, and each is closed here: control frames cost the peer nothing, a peer
that gives no window keeps its answers here for ever, priorities fill a tree that raises when it is
full, data for a stream that is over raises, a method or a path that is no ASCII raises, and what
waits in a buffer when the connection ends is never woken.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.events import Event as H2Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody
from hypercorn.protocol.h2 import H2Protocol

CONTROL_FRAMES = 1000
"""How many frames that carry no request and no data a peer may send at once; a hundredth of it more
each tenth of a second."""
_REFILL = 10.0  # seconds until all of it is there again
_FREE = 4096  # bytes of answers that earn the peer one control frame more

_CONTROL = (
    PingReceived, PriorityUpdated, RemoteSettingsChanged, StreamReset, UnknownFrameReceived,
    WindowUpdated,
)  # fmt: skip


class Http2(H2Protocol):
    """Counts what its peer sends, and knows since when the peer has taken nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._allowance = float(CONTROL_FRAMES)
        self._counted_at = self._progress_at = time.monotonic()

    def stalled(self, now: float, longest: float) -> bool:
        """Whether answers wait here and the peer gave no room for any of them for ``longest``
        seconds."""
        waiting = any(buffer.buffer for buffer in self.stream_buffers.values())
        if not waiting:
            self._progress_at = now
        return waiting and now - self._progress_at > longest

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData):
            if not self.closed:
                await super().handle(event)
            return
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()  # whoever writes an answer stops waiting

    async def _handle_events(self, events: list[H2Event]) -> None:
        for event in events:
            if isinstance(event, _CONTROL) and not self._affords():
                self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
            await self._handle_event(event)
        await self._flush()

    async def _handle_event(self, event: H2Event) -> None:
        match event:
            case RequestReceived():
                await self._request(event)
            case DataReceived():
                await self._data(event)
            case StreamEnded(stream_id=int(stream_id)):
                if stream_id in self.streams:
                    await self.streams[stream_id].handle(EndBody(stream_id=stream_id))
            case StreamReset(stream_id=int(stream_id)):
                await self._close_stream(stream_id)
                await self._window_updated(stream_id)
                await self.send(Updated(idle=self.idle))
            case WindowUpdated():
                await self._window_updated(event.stream_id)
            case RemoteSettingsChanged():
                if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                    await self._window_updated(None)
            case ConnectionTerminated():
                await self.send(Closed())

    async def _request(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        assert stream_id is not None
        if self.context.terminated.is_set():
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
        elif not _plain(event):
            self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
        else:
            await self._create_stream(event)
            await self.send(Updated(idle=False))

    async def _data(self, event: DataReceived) -> None:
        stream_id = event.stream_id
        assert stream_id is not None
        stream = self.streams.get(stream_id)
        if stream is not None and event.data:
            await stream.handle(Body(stream_id=stream_id, data=event.data))
        size = event.flow_controlled_length or 0
        if not size and event.stream_ended is None and not self._affords():
            await self.send(Closed())
        elif size:
            with suppress(ProtocolError):  # the stream, or the connection, is over
                self.connection.acknowledge_received_data(size, stream_id)

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        with suppress(ProtocolError):  # the peer was faster
            self.connection.reset_stream(stream_id, code)

    def _affords(self) -> bool:
        """Whether the peer may send one more control frame."""
        now = time.monotonic()
        gained = (now - self._counted_at) * CONTROL_FRAMES / _REFILL
        self._counted_at = now
        self._allowance = min(float(CONTROL_FRAMES), self._allowance + gained) - 1
        return self._allowance >= 0

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None:
            self.priority.remove_stream(stream_id)
            return
        before = len(buffer.buffer)
        await super()._send_data(stream_id)
        sent = before - len(buffer.buffer)
        if sent > 0:
            self._progress_at = time.monotonic()
            self._allowance += sent / _FREE


def _plain(event: RequestReceived) -> bool:
    """Whether a request has a method and a path that HTTP/1.1 could carry too."""
    headers = dict(event.headers or ())
    method, path = headers.get(b":method", b""), headers.get(b":path", b"")
    assert isinstance(method, bytes)
    assert isinstance(path, bytes)
    if method == b"CONNECT" or not method.isalpha() or not method.isascii():
        return False
    return path.startswith((b"/", b"*")) and all(0x21 <= sign <= 0x7E for sign in path)
