"""The HTTP client of every outbound call, on httpcore2.

httpcore2 does HTTP/1.1 (h11) and HTTP/2, TLS, pools and proxies. This module adds which addresses
may be reached (``AddressPolicy``), limits of time and size, redirects within one origin, and
content codings.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Self

import anyio
import h11
import httpcore2
from msgspec import Struct

from .addresses import ANY, AddressPolicy
from .coding import Decoder, decoders
from .errors import AddressRefusedError, HttpError, NoAnswerError, UnusableAnswerError
from .network import CheckedNetwork
from .proxies import proxy, proxy_for
from .urls import Origin, Url, parse, redacted

USER_AGENT = "greenroom"
_KEPT_IDLE = 8
"""Connections without a request that an entered client keeps."""
_IDLE_SECONDS = 30.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
"""Redirects that keep method and body (RFC 9110 section 15.4); the others make a GET."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te", "expect"})
"""Headers that say how a request is framed and its connection used."""
_SINGLE = frozenset({"content-length", "content-type", "location"})


class Limits(Struct, frozen=True, kw_only=True):
    """Seconds, bytes and numbers."""

    connect: float = 10.0
    """Seconds for name, connection and TLS handshake together."""
    silence: float = 300.0
    """Seconds that the server may say nothing: agents think for minutes."""
    total: float = 900.0
    """Seconds from the request until the head of the answer, and until the end of a body that is
    read whole. A stream may last longer."""
    stream: float | None = None
    """Seconds that a stream may last, ``None`` for no limit."""
    body: int = 64 * 1024 * 1024
    """Bytes of a body that is read whole, after decoding. Streams have no limit of length."""
    headers: int = 200
    """Header fields of an answer. Together they may have 100 KiB."""
    redirects: int = 3


class Response:
    """Status and header fields (names in lower case), and a body to read once."""

    def __init__(self, response: httpcore2.Response, limits: Limits, started: float) -> None:
        self.status = response.status
        self.headers = _fields(response.headers)
        self._response = response
        self._source: AsyncIterator[bytes] = response.aiter_stream()
        self._limits = limits
        self._started = started

    async def read(self) -> bytes:
        """Return the whole body, decoded. Raises HttpError if it is too long or breaks off."""
        limit = self._limits.body
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise UnusableAnswerError(f"the answer is longer than {limit} bytes")
        body = bytearray()
        async for chunk in self._decoded(self._limits.total):
            body += chunk
            if len(body) > limit:
                raise UnusableAnswerError(f"the answer is longer than {limit} bytes")
        return bytes(body)

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the decoded body as it comes.

        Raises HttpError when the body breaks off, is silent or lasts too long.
        """
        return self._decoded(self._limits.stream)

    def _decoded(self, seconds: float | None) -> _Chunks:
        coding = decoders(self.headers.get("content-encoding", ""))
        deadline = None if seconds is None else self._started + seconds
        return _Chunks(self._source, coding, self._limits, deadline)

    async def aclose(self) -> None:
        """End the body. A connection whose answer was not read to its end is closed."""
        with anyio.CancelScope(shield=True):
            if isinstance(self._source, AsyncGenerator):
                await self._source.aclose()
            await self._response.aclose()


class _Chunks:
    """An iterator and no generator: who stops in the middle leaves nothing to be closed."""

    def __init__(
        self,
        source: AsyncIterator[bytes],
        coding: Sequence[Decoder],
        limits: Limits,
        deadline: float | None,
    ) -> None:
        self._source = source
        self._coding = coding
        self._limits = limits
        self._deadline = deadline
        self._pieces: Iterator[bytes] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while (piece := next(self._pieces, None)) is None:
            data = await self._receive()
            if data is None:
                for decoder in self._coding:
                    decoder.end()
                raise StopAsyncIteration
            self._pieces = _through(self._coding, data)
        return piece

    async def _receive(self) -> bytes | None:
        with _deadline(self._deadline), _told(self._limits):
            return await anext(self._source, None)


class HttpClient:
    """Sends requests. Entered as a context, it keeps connections for the next request."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        policy: AddressPolicy = ANY,
        http2: bool = False,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``tls`` replaces the default context, which trusts the authorities of the system.

        ``http2`` offers HTTP/2 over TLS beside HTTP/1.1. The proxies of ``environ`` are used
        where ``policy`` allows every address: nobody can check where a proxy connects to.
        """
        self.limits = limits or Limits()
        self._tls = tls
        self._policy = policy
        self._http2 = http2
        self._environ = environ if policy.private else {}
        self._network = CheckedNetwork(policy)
        self._kept = False
        self._pools: dict[str | None, httpcore2.AsyncConnectionPool] = {}

    async def __aenter__(self) -> Self:
        await self._close_pools()
        self._kept = True
        return self

    async def __aexit__(self, *error: object) -> None:
        self._kept = False
        await self._close_pools()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncGenerator[Response, None]:
        """Send one request and yield its response; the block ends the response.

        A user name and password in ``url`` go as Basic (RFC 7617). Redirects are followed within
        the origin: every kind for GET, 307 and 308 with method and body for others.
        Raises HttpError.
        """
        target = parse(url)
        fields = dict(headers or {})
        if target.basic is not None and not any(name.lower() == "authorization" for name in fields):
            fields["Authorization"] = target.basic
        started = anyio.current_time()
        for _ in range(self.limits.redirects + 1):
            response = await self._send(method, target, fields, body, started)
            try:
                location = response.headers.get("location")
                if location is None or not _follows(method, response.status):
                    yield response
                    return
                target = _next(target, location)
            finally:
                await response.aclose()
        raise UnusableAnswerError(
            f"more than {self.limits.redirects} redirects, the last one to {target}"
        )

    async def _send(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes, started: float
    ) -> Response:
        self._policy.check_origin(url.origin)
        request = self._request(method, url, headers, body)
        through = proxy_for(url.origin, self._environ)
        pool = self._pool(url.origin, through)
        where = f"{url.origin.host}:{url.origin.port}"
        if through is not None:
            where += f" through the proxy {redacted(through)}"
        try:
            with _deadline(started + self.limits.total), _told(self.limits, url, where):
                answer = await pool.handle_async_request(request)
        finally:
            if not self._kept and not pool.connections:
                await pool.aclose()
        response = Response(answer, self.limits, started)
        if len(answer.headers) > self.limits.headers:
            await response.aclose()
            raise UnusableAnswerError(
                f"the answer has more than {self.limits.headers} header fields"
            )
        return response

    def _request(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes
    ) -> httpcore2.Request:
        for name in headers:
            if name.lower() in _OURS:
                raise HttpError(f"the header {name} is the client's own; leave it out")
        fields = {
            "Host": url.origin.authority,
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
        }
        if not self._kept and not self._http2:
            fields["Connection"] = "close"
        if body or method not in ("GET", "HEAD"):
            fields["Content-Length"] = str(len(body))
        given = {name.lower() for name in headers}
        fields = {name: value for name, value in fields.items() if name.lower() not in given}
        limits = self.limits
        times = {"connect": limits.connect, "read": limits.silence, "write": limits.silence}
        return httpcore2.Request(
            method,
            httpcore2.URL(
                scheme=url.origin.scheme.encode(),
                host=url.origin.bracketed.encode(),
                port=None if url.origin.default_port else url.origin.port,
                target=url.target.encode(),
            ),
            headers=[_field(name, value) for name, value in (fields | dict(headers)).items()],
            content=body,
            extensions={"timeout": times, "sni_hostname": url.origin.host.removesuffix(".")},
        )

    def _pool(self, origin: Origin, through: str | None) -> httpcore2.AsyncConnectionPool:
        pool = self._pools.get(through)
        if pool is None:
            if self._tls is None and (origin.scheme == "https"):
                self._tls = ssl.create_default_context()
            pool = self._pools[through] = httpcore2.AsyncConnectionPool(
                ssl_context=self._tls,
                proxy=None if through is None else proxy(through),
                max_connections=None,
                max_keepalive_connections=_KEPT_IDLE if self._kept else 0,
                keepalive_expiry=_IDLE_SECONDS,
                http2=self._http2,
                network_backend=self._network,
            )
        return pool

    async def _close_pools(self) -> None:
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()


@asynccontextmanager
async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    policy: AddressPolicy = ANY,
) -> AsyncGenerator[Response, None]:
    """Send one request over a connection of its own: see ``HttpClient.request``."""
    client = HttpClient(limits=limits, tls=tls, policy=policy)
    async with client.request(method, url, headers=headers, body=body) as response:
        yield response


# --- redirects and fields -------------------------------------------------------------------------


def _follows(method: str, status: int) -> bool:
    return status in (_REDIRECTS if method == "GET" else _SAME_METHOD)


def _next(url: Url, location: str) -> Url:
    """Return where a redirect leads; raises HttpError where that is another origin."""
    try:
        target = url.join(location)
    except HttpError as error:
        raise UnusableAnswerError(str(error)) from None
    if target.origin != url.origin:
        raise UnusableAnswerError(
            f"{url} redirects to another server ({target}); if you trust it, use that address"
        )
    return target


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    """Return a header as HTTP sends it. Raises HttpError, which does not show the value: it may be
    a credential."""
    if not _TOKEN.fullmatch(name):
        raise HttpError("a header has a name that HTTP does not allow (RFC 9110 section 5.1)")
    try:
        content = value.strip(" \t").encode(errors="surrogateescape")
    except UnicodeError:
        content = b"\0"
    if _NOT_IN_VALUE.search(content):
        raise HttpError(f"the header {name} has a value that HTTP does not allow")
    return name.encode(), content


def _fields(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the fields with names in lower case; of those that may be repeated, all values."""
    found: dict[str, str] = {}
    for key, content in raw:
        name, value = key.decode("latin1").lower(), content.decode("latin1")
        if name not in found:
            found[name] = value
        elif name not in _SINGLE:
            found[name] += f", {value}"
    return found


def _through(coding: Sequence[Decoder], data: bytes) -> Iterator[bytes]:
    """Yield ``data`` decoded by every decoder in turn."""
    if not coding:
        yield data
        return
    for piece in coding[0].decode(data):
        yield from _through(coding[1:], piece)


# --- errors ---------------------------------------------------------------------------------------


@contextmanager
def _deadline(deadline: float | None) -> Generator[None, None, None]:
    left = None if deadline is None else max(0.0, deadline - anyio.current_time())
    try:
        with anyio.fail_after(left):
            yield
    except TimeoutError:
        raise HttpError("the answer took too long; the task may still go on") from None


@contextmanager
def _told(limits: Limits, url: Url | None = None, where: str = "") -> Generator[None, None, None]:
    """Raise what httpcore2 raises as an HttpError.

    ``url`` is given where the head of its answer is awaited, with ``where`` to connect to.
    """
    broken = HttpError if url is None else NoAnswerError
    try:
        yield
    except (HttpError, TimeoutError):
        raise
    except httpcore2.ConnectTimeout:
        raise HttpError(f"no connection to {where} in {limits.connect:g} s") from None
    except httpcore2.ConnectError as error:
        raise _not_connected(error, where, url) from _cause(error)
    except httpcore2.ReadTimeout:
        raise HttpError(
            f"nothing came for {limits.silence:g} s; the task may still go on"
        ) from None
    except (httpcore2.WriteTimeout, httpcore2.WriteError) as error:
        raise HttpError(f"the request could not be sent: {_why(error)}") from error
    except httpcore2.RemoteProtocolError as error:
        if isinstance(_cause(error), h11.RemoteProtocolError) or url is None:
            raise HttpError(f"the answer broke off or is not HTTP: {_why(error)}") from error
        raise NoAnswerError("the server closed the connection without an answer") from error
    except (httpcore2.LocalProtocolError, h11.LocalProtocolError) as error:
        raise HttpError(f"the request to {url} cannot be sent: {_why(error)}") from error
    except httpcore2.ProxyError as error:
        raise HttpError(f"no connection to {where}: {_why(error)}") from error
    except (httpcore2.ReadError, OSError) as error:
        raise broken(f"the connection broke: {_why(error)}") from error


def _not_connected(error: httpcore2.ConnectError, where: str, url: Url | None) -> HttpError:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        host = "the server" if url is None else url.origin.host
        return HttpError(f"the certificate of {host} is not trusted: {cause.verify_message}")
    if isinstance(cause, anyio.EndOfStream | anyio.BrokenResourceError | ssl.SSLError):
        return NoAnswerError(f"{where} ended the TLS handshake: {_why(error)}")
    return HttpError(f"cannot connect to {where}: {_why(error)}")


def _cause(error: BaseException) -> BaseException:
    """Return what an error of httpcore2 was made of: its argument, not its ``__cause__``, which
    the pool takes away."""
    inner = error.args[0] if error.args else None
    return inner if isinstance(inner, BaseException) else error


def _why(error: BaseException) -> str:
    error = _cause(error)
    text = getattr(error, "strerror", None)
    while text is None and error.__cause__ is not None:
        error = error.__cause__
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        text = getattr(error, "strerror", None)
    return text or str(error) or type(error).__name__


__all__ = [
    "AddressRefusedError", "HttpClient", "HttpError", "Limits", "NoAnswerError", "Response",
    "UnusableAnswerError", "request",
]  # fmt: skip
