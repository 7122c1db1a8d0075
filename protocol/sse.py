"""Server-sent events, sans-IO: what a server writes, and an incremental reader for clients."""

from __future__ import annotations

from typing import NamedTuple

from .errors import InvalidAgentResponseError

CONTENT_TYPE = "text/event-stream"
HEARTBEAT = b":\n\n"
"""A comment: keeps proxies and time-outs at bay, and means nothing."""
MAX_EVENT = 64 * 1024 * 1024
"""Bytes of one event that a reader takes unless told otherwise."""


def event(data: bytes, id: int | None = None) -> bytes:
    """Return one event. ``data`` is JSON as our encoders write it: it has no line breaks."""
    if id is None:
        return b"data: %b\n\n" % data
    return b"id: %d\ndata: %b\n\n" % (id, data)


def comment(text: str) -> bytes:
    """Return a comment, which readers skip."""
    return b": %b\n\n" % " ".join(text.split()).encode()


def retry(milliseconds: int) -> bytes:
    """Return the advice to reconnect after so long."""
    return b"retry: %d\n\n" % milliseconds


class Event(NamedTuple):
    """One event as it came. ``id`` is the last id the stream gave, with this event or before."""

    data: bytes
    id: str
    type: str


class Decoder:
    """Reads a stream as the HTML standard says, however it is cut into pieces.

    Feed it with ``receive_data`` and take what is whole with ``next_event`` until that is ``None``.
    An event that the end of the stream cuts off is never given.
    """

    def __init__(self, *, max_event: int = MAX_EVENT) -> None:
        self.last_id = ""
        self.retry: int | None = None
        """Milliseconds to wait before a reconnect, once the server said so."""
        self._max = max_event
        self._buffer = bytearray()
        self._start = 0  # of the line that is read next
        self._scanned = 0  # up to here the buffer has no line break
        self._skip_lf = False  # the last line ended with the CR of a CRLF, maybe
        self._fresh = True  # a byte order mark may come
        self._data: list[bytes] = []
        self._size = 0
        self._type = ""
        self._plain = True  # every line so far ended with LF alone

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        Raises InvalidAgentResponseError when one event grows beyond ``max_event``.
        """
        if self._start:
            del self._buffer[: self._start]
            self._scanned -= self._start
            self._start = 0
        self._buffer += data
        if self._plain and b"\r" in data:
            self._plain = False

    def next_event(self) -> Event | None:
        """Return the next whole event, or ``None`` when that takes more data."""
        if self._plain and not (self._fresh or self._data or self._type):
            event = self._whole()
            if event is not None:
                return event
        while (line := self._line()) is not None:
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                return event
        if self._size + len(self._buffer) - self._start > self._max:
            raise InvalidAgentResponseError(f"An event is larger than {self._max} bytes")
        return None

    def _whole(self) -> Event | None:
        """Return an event that lies whole in the buffer: line by line takes three times as long."""
        while (end := self._buffer.find(b"\n\n", self._start)) >= 0:
            lines = bytes(self._buffer[self._start : end]).split(b"\n")
            self._start = self._scanned = end + 2
            for line in lines:
                if line:
                    self._field(line)
            if (event := self._dispatch()) is not None:
                return event
        return None

    def _line(self) -> bytes | None:
        if self._fresh:
            if len(self._buffer) < 3 and b"\xef\xbb\xbf".startswith(self._buffer):
                return None
            self._fresh = False
            if self._buffer.startswith(b"\xef\xbb\xbf"):
                self._start = self._scanned = 3
        if self._skip_lf and self._start < len(self._buffer):
            self._skip_lf = False
            if self._buffer[self._start] == 0x0A:
                self._start += 1
        self._scanned = max(self._scanned, self._start)
        end = self._buffer.find(b"\n", self._scanned)
        # The CR is looked for in this line only, or a stream of LF would be searched over and over.
        cr = self._buffer.find(b"\r", self._scanned, None if end < 0 else end)
        if cr >= 0:
            end, self._skip_lf = cr, True
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[self._start : end])
        self._start = self._scanned = end + 1
        return line

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max:
                raise InvalidAgentResponseError(f"An event is larger than {self._max} bytes")
            self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self.last_id = value.decode(errors="replace")
        elif name == b"event":
            self._type = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value)

    def _dispatch(self) -> Event | None:
        data, type_ = self._data, self._type
        self._data, self._size, self._type = [], 0, ""
        if not data:
            return None
        return Event(b"\n".join(data), self.last_id, type_ or "message")
