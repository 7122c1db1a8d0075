"""One HTTP/2 connection that carries one gRPC call at a time.

The caller reads and writes itself, so no task runs beside it; calls at the same time have
connections of their own. A connection whose call was left early is closed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import httpcore2

from ..errors import HttpError, NoAnswerError, UnusableAnswerError
from ..failures import Limits, http_errors
from ..network import CheckedNetwork
from ..urls import Url
from .status import error_of

_WINDOW = 4 * 1024 * 1024
"""Bytes that the server may send ahead."""
_PREFIX = 5
_READ = 64 * 1024


class GrpcConnection:
    """An open connection; made by ``connect``."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={codes.ENABLE_PUSH: 0, codes.INITIAL_WINDOW_SIZE: _WINDOW},
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        self.usable = True
        """Whether another call can be made."""
        self._going = False
        """The server said that it takes no more calls on this connection."""

    @classmethod
    async def connect(
        cls, network: CheckedNetwork, url: Url, limits: Limits, tls: ssl.SSLContext | None
    ) -> GrpcConnection:
        """Connect to ``url``, whose scheme says whether over TLS. Raises HttpError."""
        origin = url.origin
        with http_errors(limits, url, f"{origin.host}:{origin.port}"):
            stream = await network.connect_tcp(origin.host, origin.port, limits.connect)
            if origin.scheme == "https":
                context = tls or ssl.create_default_context()
                context.set_alpn_protocols(["h2"])
                stream = await stream.start_tls(context, origin.host, limits.connect)
        return cls(stream, limits)

    async def call(
        self, headers: list[tuple[str, str]], message: bytes, silence: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Make a call and yield the messages of its answer. Raises its error, and HttpError.

        ``silence``: seconds without a byte after which the call is given up.
        """
        self.usable = False
        with http_errors(self._limits):
            stream_id = await self._send(headers, message, silence)
        trailers: dict[str, str] = {}
        answered = False
        body = bytearray()
        while True:
            with http_errors(self._limits):
                events = await self._receive(silence)
            ended = False
            for event in events:
                if getattr(event, "stream_id", stream_id) not in (0, stream_id):
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    answered = True
                    trailers = _head(event.headers)
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = _fields(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    raise self._reset(event, answered)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self._going = True
                elif isinstance(event, h2.events.StreamEnded):
                    ended = True
            for whole in self._messages(body):
                yield whole
            if ended:
                break
        self.usable = not self._going
        if "grpc-status" not in trailers:
            raise UnusableAnswerError("the answer is not gRPC: it has no grpc-status")
        if (error := error_of(trailers)) is not None:
            raise error

    @property
    def spoken_to(self) -> bool:
        """Whether the server sent something though no call is open: it is most often the end."""
        return bool(self._stream.get_extra_info("is_readable"))

    async def aclose(self) -> None:
        self.usable = False
        with anyio.CancelScope(shield=True):
            await self._stream.aclose()

    async def _send(
        self, headers: list[tuple[str, str]], message: bytes, silence: float | None
    ) -> int:
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream_id, headers)
        data = memoryview(b"\0" + len(message).to_bytes(4) + message)
        while data:
            room = min(
                self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size
            )
            if room <= 0:  # the server has to read first
                for event in await self._receive(silence):
                    if isinstance(event, h2.events.StreamReset):
                        raise self._reset(event, False)
                continue
            self._h2.send_data(stream_id, bytes(data[:room]), end_stream=room >= len(data))
            data = data[room:]
        await self._flush()
        return stream_id

    async def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            await self._stream.write(data, self._limits.silence)

    async def _receive(self, silence: float | None) -> list[h2.events.Event]:
        await self._flush()
        data = await self._stream.read(_READ, silence)
        if not data:
            raise NoAnswerError("the server closed the connection before the end of the call")
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            raise HttpError(f"the answer is not HTTP/2: {error}") from error
        await self._flush()
        return events

    def _reset(self, event: h2.events.StreamReset, answered: bool) -> HttpError:
        code = event.error_code
        name = getattr(code, "name", str(code))
        kind = HttpError if answered else NoAnswerError
        return kind(f"the server reset the call ({name})")

    def _messages(self, body: bytearray) -> list[bytes]:
        """Take the messages that are whole out of ``body``."""
        found: list[bytes] = []
        start = 0
        while len(body) - start >= _PREFIX:
            size = int.from_bytes(body[start + 1 : start + _PREFIX])
            if body[start]:
                raise UnusableAnswerError("a message is compressed, though this client asks not to")
            if size > self._limits.body:
                raise UnusableAnswerError(f"a message is longer than {self._limits.body} bytes")
            if len(body) - start < _PREFIX + size:
                break
            found.append(bytes(body[start + _PREFIX : start + _PREFIX + size]))
            start += _PREFIX + size
        del body[:start]
        return found


def _head(raw: object) -> dict[str, str]:
    """Return the fields of an answer's head; raises what a proxy in front may have answered."""
    fields = _fields(raw)
    status = fields.get(":status", "")
    if status != "200":
        raise StatusOfProxy(status)
    return fields


def _fields(raw: object) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in raw if isinstance(raw, list | tuple) else ():
        fields[str(name)] = str(value)
    return fields


class StatusOfProxy(HttpError):
    """An HTTP status in the place of gRPC."""

    def __init__(self, status: str) -> None:
        super().__init__(f"status {status or '?'} and not gRPC: is this the address of a proxy?")


def headers_of(url: Url, path: str, metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the header fields of a call."""
    fields = [
        (":method", "POST"),
        (":scheme", url.origin.scheme),
        (":authority", url.origin.authority),
        (":path", path),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "greenroom"),
    ]
    return [*fields, *((name.lower(), value) for name, value in metadata.items())]
