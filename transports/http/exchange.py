"""One HTTP request and the way to answer it: what every endpoint is handed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import anyio

from ...protocol.rest import MAX_QUERY
from ...protocol.version import SUPPORTED, V03, negotiate
from ...runtime.call import Call
from ..caller.certificates import certificate_of
from .settings import HttpSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"

_WANTED = frozenset(
    {
        b"a2a-extensions",
        b"a2a-version",
        b"access-control-request-method",
        b"content-length",
        b"content-type",
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
_ANSWERS: dict[str, Headers] = {
    version: [(b"content-type", JSON), (b"a2a-version", version.encode())] for version in SUPPORTED
}
# What one caller may read is not for a cache to show to another (section 13.3).
_PRIVATE: Headers = [(b"cache-control", b"private, no-store"), (b"vary", b"Authorization")]
_LARGE = 64 * 1024  # what any server takes at once; longer answers can wait for the client


class ClientGone(Exception):
    """The client hung up: there is nobody to answer."""


class HeaderView(Mapping[str, str]):
    """All header fields by lower-case name; the dict is made when first looked at."""

    __slots__ = ("_fields", "_raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._fields: dict[str, str] | None = None

    def _read(self) -> dict[str, str]:
        if self._fields is None:
            found: dict[str, str] = {}
            for name, value in self._raw:
                key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                found[key] = f"{found[key]}, {text}" if key in found else text
            self._fields = found
        return self._fields

    def __getitem__(self, key: str) -> str:
        return self._read()[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Look one field up, as the gate does for every request, without reading all of them."""
        if self._fields is not None:
            return self._fields.get(key, default)
        sought = key.encode("latin-1")
        found: bytes | None = None
        for name, value in self._raw:
            if name == sought:
                found = value if found is None else found + b", " + value
        return default if found is None else found.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


class Exchange:
    """``fields`` are the header fields this application reads, repeated ones joined by commas
    (RFC 9110 section 5.3); ``path`` is below the root path and still percent-encoded; ``peer`` is
    the address of the caller, after trusted proxies.
    """

    __slots__ = (
        "challenged", "extra", "fields", "forwarded_certificate", "method", "path", "peer",
        "private", "query", "receive", "received", "scope", "send", "settings",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: HttpSettings) -> None:
        self.settings = settings
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path = ""
        self.peer = ""
        self.forwarded_certificate: str | None = None
        """What a proxy that vouches for client certificates says of the client's."""
        self.challenged: Callable[[Exchange, str], str] | None = None
        """What challenges say beside what the gate does."""
        self.extra: Headers = []
        """Response headers that every answer to this request carries (CORS)."""
        self.private = False
        """The answer is for its caller only."""
        fields: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _WANTED:
                fields[name] = fields[name] + b"," + value if name in fields else value
        self.fields = fields
        query: bytes = scope.get("query_string", b"")
        self.query = query.decode("latin-1") if query else ""
        self.received = False
        """The body has been read, whole or as far as it will be."""

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
        found = (uri.strip() for uri in both.decode("latin-1").split(","))
        return tuple(dict.fromkeys(uri for uri in found if uri))

    def call(self, binding: str, version: str, agent: str, tenant: str | None) -> Call:
        """Return what the runtime is told about the caller."""
        fields = self.fields
        call = Call(
            binding=binding,
            version=version,
            agent=agent,
            tenant=tenant,
            headers=HeaderView(self.scope["headers"]),
            peer=self.peer,
        )
        if b"a2a-extensions" in fields or b"x-a2a-extensions" in fields:
            call.extensions = self.extensions
        if self.query:
            call.query = dict(self.parameters)
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

    async def reply(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer; ``headers`` lack only the length."""
        deliver = self.send
        all_headers = [*headers, *self.extra]
        if self.private:
            all_headers += _PRIVATE
        if status not in (204, 304):  # those have no body whose length could be told
            all_headers.append((b"content-length", b"%d" % len(body)))
        start = {"type": "http.response.start", "status": status, "headers": all_headers}
        shown = b"" if self.method == "HEAD" else body
        try:
            if len(shown) <= _LARGE:
                await deliver(start)
                await deliver({"type": "http.response.body", "body": shown})
                return
            with anyio.move_on_after(self.settings.write_timeout):
                await deliver(start)
                await deliver({"type": "http.response.body", "body": shown})
        except OSError:  # what servers may raise from send once the client is gone
            raise ClientGone from None


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
