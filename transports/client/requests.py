"""Requests as the agent's binding and version write them: method, URL, headers and body."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

try:
    from opentelemetry.propagate import inject
except ImportError:  # the extra `telemetry` is not installed
    inject = None  # type: ignore[assignment]

from ...protocol import protojson
from ...protocol.codec import HTTP_JSON, JSONRPC
from ...protocol.operations import Operation
from ...protocol.types import AgentInterface
from ...protocol.v03 import V03, V03_REST
from ...protocol.version import HEADER
from ...protocol.version import V03 as VERSION_03
from .errors import PeerError
from .urls import redacted


class Outgoing:
    """One request on its way. Credentials are put into ``url`` and ``headers``."""

    __slots__ = ("body", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body


class Requests:
    """Writes requests to one interface of an agent, over JSON-RPC or HTTP+JSON."""

    def __init__(
        self, interface: AgentInterface, version: str, extensions: Iterable[str] = ()
    ) -> None:
        """``extensions`` are URIs that every request asks for (section 3.2.6)."""
        self._legacy = version == VERSION_03
        self._codec = V03_REST if interface.protocol_binding == HTTP_JSON else V03
        self._rpc = interface.protocol_binding == JSONRPC
        self._tenant = interface.tenant
        # A user name in the card is a stranger's: only what the user typed is a credential.
        self.url = redacted(interface.url)
        self._ids = itertools.count(1)
        self._always = {HEADER: version, "Accept": "application/json"}
        if asked := ", ".join(extensions):
            self._always["X-A2A-Extensions" if self._legacy else "A2A-Extensions"] = asked

    def request(self, operation: Operation, asked: Any) -> Outgoing:
        """Return the request. Raises PeerError where the version has no such operation."""
        if self._tenant and not asked.tenant:
            asked = msgspec.structs.replace(asked, tenant=self._tenant)
        legacy = self._legacy
        body = self._codec.request(operation, asked) if legacy else protojson.encode(asked)
        headers = self._always.copy()
        if inject is not None:
            inject(headers)  # the trace of whoever calls goes on at the agent's
        if self._rpc:
            name = operation.method_03 if legacy else operation.name
            if name is None:
                raise PeerError(f"A2A 0.3 has no {operation.name} over JSON-RPC")
            headers["Content-Type"] = "application/json"
            start = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":' % (
                next(self._ids), name.encode(),
            )  # fmt: skip
            return Outgoing("POST", self.url, headers, start + body + b"}")
        headers["Content-Type"] = "application/json" if legacy else "application/a2a+json"
        method, address, query = self._rest_target(operation, asked)
        if operation.body:
            return Outgoing(method, address, headers, body)
        return Outgoing(method, f"{address}?{query}" if query else address, headers, b"")

    def _rest_target(self, operation: Operation, asked: Any) -> tuple[str, str, str]:
        """Return the method, the URL and the query of an operation over HTTP+JSON."""
        legacy = self._legacy
        method, path = (operation.rest_03 if legacy else operation.rest)[0]
        left = msgspec.to_builtins(asked)
        for info in msgspec.structs.fields(operation.request):
            if "{" + info.name + "}" in path:
                value = left.pop(info.encode_name)
                path = path.replace("{" + info.name + "}", quote(value, safe=""))
        left.pop("tenant", None)
        below_v1 = urlsplit(self.url).path.rstrip("/").endswith("/v1")
        prefix = "/v1" if legacy and not below_v1 else ""
        if self._tenant and not legacy:
            prefix = "/" + quote(self._tenant, safe="")
        query = urlencode({name: _in_query(value) for name, value in left.items()})
        return method, self.url.rstrip("/") + prefix + path, query


def _in_query(value: object) -> str:
    """Section 11.5: booleans in lower case, all else as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)
