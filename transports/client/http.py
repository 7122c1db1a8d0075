"""One HTTP/1.1 exchange over a fresh connection: h11 for the bytes, anyio for the socket.

Enough for a client that talks seldom and listens long. Redirects are followed for GET and within
one origin only, so that nothing meant for one server reaches another.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import anyio
import h11
from anyio.abc import ByteStream
from msgspec import Struct

REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "greenroom"


class Limits(Struct, frozen=True, kw_only=True):
    """Seconds and bytes."""

    connect: float = 10.0
    """For name, connection and TLS handshake together."""
    silence: float = 300.0
    """The longest the peer may say nothing: agents think for minutes."""
    body: int = 64 * 1024 * 1024
    """The longest body read whole; streams have no limit of length."""
    redirects: int = 3


class HttpError(Exception):
    """No usable answer: the peer cannot be reached, is silent, or does not speak HTTP."""


class NoAnswerError(HttpError):
    """The server took the connection, and ended it before it answered."""


class Response:
    """Status and header fields (names in lower case), and a body to read once."""

    def __init__(
        self, status: int, headers: Mapping[str, str], connection: _Connection, limits: Limits
    ) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._limits = limits

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises HttpError when it breaks off or falls silent."""
        while True:
            event = await self._connection.next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    async def read(self) -> bytes:
        """Return the whole body, or raise HttpError if it is longer than the limit."""
        body = bytearray()
        while not isinstance(event := await self._connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
            if len(body) > self._limits.body:
                raise HttpError(f"the answer is longer than {self._limits.body} bytes")
        return bytes(body)


class _Connection:
    def __init__(self, stream: ByteStream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._state = h11.Connection(h11.CLIENT)

    async def send(self, *events: h11.Event) -> None:
        data = b"".join(self._state.send(event) or b"" for event in events)
        try:
            with anyio.fail_after(self._limits.silence):
                await self._stream.send(data)
        except (OSError, TimeoutError, anyio.BrokenResourceError) as error:
            raise HttpError(f"the request could not be sent: {_why(error)}") from error

    async def next_event(self) -> h11.Event:
        while True:
            try:
                event = self._state.next_event()
            except h11.RemoteProtocolError as error:
                raise HttpError(f"the answer broke off or is not HTTP: {error}") from error
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)
                return event
            try:
                with anyio.fail_after(self._limits.silence):
                    data = await self._stream.receive()
            except anyio.EndOfStream:
                data = b""
                if self._state.their_state is h11.SEND_RESPONSE:
                    raise NoAnswerError(
                        "the server closed the connection without an answer"
                    ) from None
            except TimeoutError:
                raise HttpError(
                    f"nothing came for {self._limits.silence:.0f} s; the task may still go on"
                ) from None
            except (OSError, anyio.BrokenResourceError) as error:
                early = self._state.their_state is h11.SEND_RESPONSE
                kind = NoAnswerError if early else HttpError
                raise kind(f"the connection broke: {_why(error)}") from error
            self._state.receive_data(data)


@asynccontextmanager
async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Response, None]:
    """Send one request and yield its response; the connection ends with the block.

    Raises HttpError. ``tls`` replaces the default context (the system's certificate authorities).
    """
    limits = limits or Limits()
    for _ in range(limits.redirects + 1):
        connection, stream = await _connect(url, limits, tls)
        try:
            response = await _exchange(connection, method, url, headers or {}, body, limits)
            target = response.headers.get("location")
            if response.status in REDIRECTS and target and method == "GET":
                target = urljoin(url, target)
                if _origin(target) != _origin(url):
                    raise HttpError(
                        f"{url} redirects to another server ({target}); use that address itself"
                    )
                url = target
                continue
            yield response
            return
        finally:
            await anyio.aclose_forcefully(stream)
    raise HttpError(f"more than {limits.redirects} redirects, the last one to {url}")


async def _connect(
    url: str, limits: Limits, tls: ssl.SSLContext | None
) -> tuple[_Connection, ByteStream]:
    scheme, host, port = _origin(url)
    context = (tls or ssl.create_default_context()) if scheme == "https" else None
    try:
        with anyio.fail_after(limits.connect):
            stream: ByteStream
            if context is None:
                stream = await anyio.connect_tcp(host, port)
            else:
                stream = await anyio.connect_tcp(
                    host, port, ssl_context=context, tls_standard_compatible=False
                )
    except ssl.SSLCertVerificationError as error:
        raise HttpError(f"the certificate of {host} is not trusted: {error.verify_message}") from (
            error
        )
    except TimeoutError:
        raise HttpError(f"no connection to {host}:{port} in {limits.connect:.0f} s") from None
    except (OSError, anyio.BrokenResourceError) as error:
        raise HttpError(f"cannot connect to {host}:{port}: {_why(error)}") from error
    return _Connection(stream, limits), stream


async def _exchange(
    connection: _Connection,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    limits: Limits,
) -> Response:
    parts = urlsplit(url)
    fields = {
        "Host": parts.netloc.rpartition("@")[2],
        "User-Agent": USER_AGENT,
        "Connection": "close",
        **headers,
    }
    if body or method not in ("GET", "HEAD"):
        fields["Content-Length"] = str(len(body))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        start = h11.Request(method=method, target=target, headers=list(fields.items()))
    except h11.LocalProtocolError as error:
        raise HttpError(f"{url} cannot be asked for: {error}") from error
    await connection.send(start, h11.Data(data=body), h11.EndOfMessage())
    while True:
        event = await connection.next_event()
        if isinstance(event, h11.Response):
            found = {name.decode("latin1"): value.decode("latin1") for name, value in event.headers}
            return Response(event.status_code, found, connection, limits)
        assert isinstance(event, h11.InformationalResponse)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HttpError(f"{url!r} is not an http:// or https:// address")
    try:
        port = parts.port
    except ValueError:
        raise HttpError(f"{url!r} has a port that is not a number up to 65535") from None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return _why(cause)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
