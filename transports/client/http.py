"""The HTTP client of every outbound call, on httpcore2.

httpcore2 does HTTP/1.1 (h11) and HTTP/2, TLS, pools and proxies. This module adds which addresses
may be reached (``AddressPolicy``), limits of time and size, redirects within one origin, and
content codings.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Self

import anyio
import httpcore2

from .addresses import ANY, AddressPolicy
from .errors import AddressRefusedError, HttpError, NoAnswerError, UnusableAnswerError
from .failures import Limits, http_errors, time_limit
from .network import CheckedNetwork
from .proxies import proxy, proxy_for
from .response import Response
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
        limits: Limits | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Send one request and yield its response; the block ends the response.

        ``limits`` replace those of the client for this request. A user name and password in
        ``url`` go as Basic (RFC 7617). Redirects are followed within the origin: every kind for
        GET, 307 and 308 with method and body for others. Raises HttpError.
        """
        target = parse(url)
        fields = dict(headers or {})
        if target.basic is not None and not any(name.lower() == "authorization" for name in fields):
            fields["Authorization"] = target.basic
        limits = limits or self.limits
        started = anyio.current_time()
        for _ in range(limits.redirects + 1):
            response = await self._send(method, target, fields, body, limits, started)
            try:
                location = response.headers.get("location")
                if location is None or not _follows(method, response.status):
                    yield response
                    return
                target = _next(target, location)
            finally:
                await response.aclose()
        raise UnusableAnswerError(
            f"more than {limits.redirects} redirects, the last one to {target}"
        )

    async def _send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes,
        limits: Limits,
        started: float,
    ) -> Response:
        self._policy.check_origin(url.origin)
        request = self._request(method, url, headers, body, limits)
        through = proxy_for(url.origin, self._environ)
        pool = self._pool(url.origin, through)
        where = f"{url.origin.host}:{url.origin.port}"
        if through is not None:
            where += f" through the proxy {redacted(through)}"
        try:
            with (
                time_limit(started + limits.total),
                http_errors(limits, url, where),
            ):
                answer = await pool.handle_async_request(request)
        finally:
            if not self._kept and not pool.connections:
                await pool.aclose()
        response = Response(answer, limits, started)
        if len(answer.headers) > limits.headers:
            await response.aclose()
            raise UnusableAnswerError(f"the answer has more than {limits.headers} header fields")
        return response

    def _request(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes, limits: Limits
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


# --- redirects and header fields ------------------------------------------------------------------


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


__all__ = [
    "AddressRefusedError", "HttpClient", "HttpError", "Limits", "NoAnswerError", "Response",
    "UnusableAnswerError", "request",
]  # fmt: skip
