"""One HTTP request and the way to answer it: what every endpoint of the application gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import anyio

from ...protocol.rest import MAX_QUERY
from ...protocol.version import SUPPORTED, V03, negotiate
from ...runtime.call import Call
from ..caller.certificates import certificate_of
from ..caller.headers import HeaderView
from ..errors import ClientGone
from .settings import HttpSettings
from .unread import Unread

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"

WANTED = frozenset(
    {
        b"a2a-extensions",
        b"a2a-version",
        b"accept",
        b"access-control-request-method",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"forwarded",
        b"host",
        b"if-modified-since",
        b"if-none-match",
        b"last-event-id",
        b"origin",
        b"traceparent",
        b"tracestate",
        b"x-a2a-extensions",
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
    }
)
"""The header fields that this application reads."""
_ANSWERS: dict[str, Headers] = {
    version: [(b"content-type", JSON), (b"a2a-version", version.encode())] for version in SUPPORTED
}
# What one caller may read is not for a cache to show to another (section 13.3).
_PRIVATE: Headers = [(b"cache-control", b"private, no-store"), (b"vary", b"Authorization")]
PIECE = 64 * 1024
"""Bytes of a body that a server takes at once; a longer body waits for its client by pieces."""


class Exchange:
    """``fields`` has the header fields that this application reads, repeated ones joined by commas
    (RFC 9110 section 5.3), and perhaps others; ``path`` is below the root path and percent-encoded;
    ``peer`` is the address of the caller, after trusted proxies.
    """

    __slots__ = (
        "challenge", "extra", "fields", "forwarded_certificate", "method", "path", "peer",
        "private", "query", "receive", "received", "scope", "send", "settings", "unread",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, settings: HttpSettings, unread: Unread
    ) -> None:
        self.settings = settings
        self.unread = unread
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path = ""
        self.peer = ""
        self.forwarded_certificate: str | None = None
        """What a proxy that vouches for client certificates says of the client's."""
        self.challenge: Callable[[Exchange, str], str] | None = None
        """Adds to the challenges of ``WWW-Authenticate`` what the gate does not know."""
        self.extra: Headers = []
        """Response headers that every answer to this request carries (CORS)."""
        self.private = False
        """The answer is for its caller only."""
        headers = scope["headers"]
        fields: dict[bytes, bytes] = dict(headers)
        self.fields = fields if len(fields) == len(headers) else _joined(headers)
        query: bytes = scope.get("query_string", b"")
        self.query = query.decode("latin-1") if query else ""
        self.received = False
        """The body has been read, whole or as far as it will be."""

    @property
    def connection(self) -> Hashable:
        """What tells the connection of this request from others: address and port."""
        client = self.scope.get("client")
        return tuple(client) if client else id(self.receive)

    @property
    def nearest(self) -> str:
        """The address of the connection's other end, a proxy perhaps; empty: a Unix socket."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @property
    def asked_version(self) -> str | None:
        """``A2A-Version`` as sent: the header field, else the query parameter (3.6.1)."""
        raw = self.fields.get(b"a2a-version")
        if raw is not None:
            return raw.decode("latin-1")
        for name, value in self.parameters:
            if name.lower() == "a2a-version":
                return value
        return None

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Names and values of the query, decoded."""
        return parse_qsl(self.query[:MAX_QUERY], keep_blank_values=True) if self.query else []

    @property
    def version(self) -> str:
        """The version negotiated; raises VersionNotSupportedError."""
        return negotiate(self.asked_version)

    @property
    def extensions(self) -> tuple[str, ...]:
        """URIs of the extensions asked for, each once, under the 1.0 and the 0.3 name."""
        fields = self.fields
        both = fields.get(b"a2a-extensions", b"") + b"," + fields.get(b"x-a2a-extensions", b"")
        uris = (uri.strip() for uri in both.decode("latin-1").split(","))
        return tuple(dict.fromkeys(uri for uri in uris if uri))

    def call(self, binding: str, agent: str) -> Call:
        """Return who calls ``agent``, and what the header of the request says."""
        fields = self.fields
        call = Call(
            binding=binding,
            agent=agent,
            headers=HeaderView(self.scope["headers"]),
            peer=self.peer,
        )
        if b"a2a-extensions" in fields or b"x-a2a-extensions" in fields:
            call.extensions = self.extensions
        if self.query:
            parameters = self.parameters
            call.query = dict(parameters)
            if len(call.query) < len(parameters):
                counts = Counter(name for name, _ in parameters)
                call.repeated = frozenset(name for name, count in counts.items() if count > 1)
        if self.scope["scheme"] == "https":
            call.certificate = certificate_of(self.scope)
        if self.forwarded_certificate is not None:
            call.forwarded_certificate = self.forwarded_certificate
        if (parent := fields.get(b"traceparent")) is not None:
            call.traceparent = parent.decode("latin-1")
            call.tracestate = fields.get(b"tracestate", b"").decode("latin-1") or None
        last = fields.get(b"last-event-id")
        if last is not None and last.isdigit() and len(last) < 19:
            call.last_event_id = int(last)
        return call

    async def reply(
        self, status: int, headers: Headers, body: bytes = b"", call: Call | None = None
    ) -> None:
        """Send a whole answer to ``call``; ``headers`` lack only the length.

        Raises ClientGone, and ResourceExhaustedError before anything is sent: too many bytes of
        answers wait to be read.
        """
        all_headers = [*headers, *self.extra]
        if self.private:
            all_headers += _PRIVATE
        if status not in (204, 304):  # those have no body, and so no length
            all_headers.append((b"content-length", b"%d" % len(body)))
        start = {"type": "http.response.start", "status": status, "headers": all_headers}
        shown = b"" if self.method == "HEAD" else body
        try:
            if len(shown) <= PIECE:
                await self.send(start)
                await self.send({"type": "http.response.body", "body": shown})
                return
            held = (self.connection, caller_of(self, call), len(shown))
            self.unread.hold(*held)
            try:
                await self._reply_in_pieces(start, shown)
            finally:
                self.unread.release(*held)
        except OSError:  # servers may raise it from send once the client is gone
            raise ClientGone from None

    async def _reply_in_pieces(self, start: Message, body: bytes) -> None:
        """Send a long answer; leave it where the client takes no piece within the time-out."""
        with anyio.move_on_after(self.settings.write_timeout):
            await self.send(start)
        for at in range(0, len(body), PIECE):
            with anyio.move_on_after(self.settings.write_timeout) as waiting:
                more = at + PIECE < len(body)
                piece = body[at : at + PIECE]
                await self.send({"type": "http.response.body", "body": piece, "more_body": more})
            if waiting.cancelled_caught:
                return


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the fields of a header that has some of them more than once."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in WANTED:
            fields[name] = fields[name] + b"," + value if name in fields else value
    return fields


def caller_of(exchange: Exchange, call: Call | None) -> Hashable:
    """Return who reads the answers of an exchange: a principal, or an address in anonymous mode."""
    principal = None if call is None else call.principal
    if principal is None or principal.anonymous:
        return exchange.peer
    return principal.tenant, principal.owner


def answer_headers(version: str, call: Call | None = None) -> Headers:
    """Return the header of a JSON answer in ``version``; not to be changed."""
    headers = _ANSWERS[version]
    if call is None or not call.activated:
        return headers
    return [*headers, activated(version, call)]


def activated(version: str, call: Call) -> tuple[bytes, bytes]:
    """Return the field that says which extensions were activated, named as the version does."""
    name = b"x-a2a-extensions" if version == V03 else b"a2a-extensions"
    return name, ", ".join(call.activated).encode("latin-1", "replace")
