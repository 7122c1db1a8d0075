"""A client that says whatever it likes: HTTP/2 by hand over a plain socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from greenroom.protocol.protobuf.codecs import protobuf_codec
from greenroom.protocol.protobuf.v1 import V1_0
from greenroom.protocol.types import Message, Part, Role, SendMessageRequest

SEND = "/lf.a2a.v1.A2AService/SendMessage"
STREAM = "/lf.a2a.v1.A2AService/SendStreamingMessage"
CODEC = protobuf_codec("1.0")


def framed(body: bytes, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(body).to_bytes(4) + body


def request(text: str, message_id: str) -> bytes:
    message = Message(message_id=message_id, role=Role.USER, parts=[Part(text=text)])
    return framed(V1_0.write(SendMessageRequest(message=message)))


class Answer:
    """What came for one call."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.data = b""
        self.over = False
        self.reset: int | None = None

    @property
    def status(self) -> int | None:
        found = self.fields.get("grpc-status")
        return None if found is None else int(found)


class _Careless(H2Connection):
    open_outbound_streams = 0  # never too many

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Any], list[Event]]:
        """h2 wants to hear nothing after it: not the calls that may end, nor the second one."""
        event = ConnectionTerminated()
        event.error_code = ErrorCodes(frame.error_code)
        event.additional_data = frame.additional_data or None
        return [], [event]


class RawClient:
    """Keeps what it is told; reads only when asked to."""

    def __init__(self, port: int, **settings: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = _Careless(config)
        values: dict[Any, int] = {
            SettingCodes[name.upper()]: value for name, value in settings.items()
        }
        self.h2.local_settings = Settings(client=True, initial_values=values)
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaway: tuple[int, bytes] | None = None
        self.closed = False
        self.flush()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def write(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            self.closed = True

    def flush(self) -> None:
        self.write(self.h2.data_to_send())

    def begin(self, path: str = SEND, *extra: tuple[str, str], end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        replaced = {name for name, _ in extra}
        headers = [field for field in headers if field[0] not in replaced]
        pseudo = [field for field in extra if field[0].startswith(":")]
        rest = [field for field in extra if not field[0].startswith(":")]
        self.h2.send_headers(stream, [*pseudo, *headers, *rest], end_stream=end)
        self.flush()
        self.answers[stream] = Answer()
        return stream

    def data(self, stream: int, data: bytes, end: bool = True) -> None:
        for at in range(0, max(1, len(data)), 16_384):
            last = at + 16_384 >= len(data)
            self.h2.send_data(stream, data[at : at + 16_384], end_stream=end and last)
        self.flush()

    def call(self, body: bytes, path: str = SEND, *extra: tuple[str, str]) -> Answer:
        stream = self.begin(path, *extra)
        self.data(stream, body)
        return self.answer(stream)

    def answer(self, stream: int, seconds: float = 10.0) -> Answer:
        value = self.answers[stream]
        self.read(lambda: value.over, seconds)
        return value

    def read(self, enough: Callable[[], bool], seconds: float = 10.0) -> None:
        """Read until it is enough, the server hangs up, or the time is over."""
        until = time.monotonic() + seconds
        while not (enough() or self.closed) and (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65_536)
            except TimeoutError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
                return
            try:
                events = self.h2.receive_data(data)
            except ProtocolError:  # of answers to what was not HTTP/2
                continue
            for event in events:
                self._take(event)
            self.flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaway = (int(event.error_code or 0), event.additional_data or b"")
            return
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, ResponseReceived | TrailersReceived):
            answer.fields |= dict(event.headers)  # type: ignore[arg-type]
            answer.over = answer.over or event.stream_ended is not None
        elif isinstance(event, DataReceived):
            answer.data += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            answer.over = True
            answer.reset = int(event.error_code)
