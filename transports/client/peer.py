"""A peer agent over HTTP: its card, and requests in the version and binding that it speaks."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec

try:
    from opentelemetry.propagate import inject
except ImportError:  # the extra `telemetry` is not installed
    inject = None  # type: ignore[assignment]

from ...protocol import protojson, sse
from ...protocol.cards.shapes import is_legacy
from ...protocol.codec import HTTP_JSON, JSONRPC
from ...protocol.errors import InvalidAgentResponseError
from ...protocol.operations import Operation
from ...protocol.types import AgentCard, AgentInterface
from ...protocol.v03 import V03, V03_REST
from ...protocol.version import HEADER, V10
from ...protocol.version import V03 as VERSION_03
from . import answers
from .credentials import Credentials
from .discovery import card_addresses, card_limits, choose, fetch_card
from .errors import HttpError, PeerError, UnusableAnswerError
from .http import HttpClient, Limits, Response
from .results import event_of, result_of, stream_result_of
from .trust import Trust
from .urls import redacted


class Peer:
    """An agent somewhere: made by ``connect``, then ``call`` and ``events``.

    Entered as a context, it keeps its connections from one call to the next.
    """

    def __init__(
        self,
        card: AgentCard,
        interface: AgentInterface,
        *,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.card = card
        self.interface = interface
        self.version = VERSION_03 if is_legacy(interface) else V10
        self._binding = interface.protocol_binding
        self._legacy = V03_REST if self._binding == HTTP_JSON else V03
        # A user name in the card is a stranger's: only what the user typed is a credential.
        self._url = redacted(interface.url)
        self._credentials = credentials
        self._http = HttpClient(limits=limits, tls=tls)
        self._ids = itertools.count(1)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
        origins: Iterable[str] = (),
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        trust: Trust | None = None,
    ) -> Peer:
        """Fetch the card of the agent at ``url`` (its address, or that of the card) and choose.

        ``headers``, and the user name and password in ``url``, go to the origin of ``url`` and to
        ``origins`` (URLs), whatever the card names; ``withheld`` tells. ``version`` (1.0 or 0.3)
        refuses the other; without it the newest is taken, JSON-RPC before REST. With ``trust``
        nothing is sent to an agent whose card is not signed by somebody whom it names, and the
        card is asked for without ``headers``. Raises PeerError and HttpError.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise PeerError(f"{redacted(url)!r} is not an http:// or https:// address")
        credentials = Credentials(url, headers, origins)
        http = HttpClient(limits=card_limits(limits), tls=tls)
        shown = credentials if trust is None else None
        card = await fetch_card(http, url, shown, trust, tls)
        interface = choose(card, version)
        return cls(card, interface, credentials=credentials, limits=limits, tls=tls)

    @property
    def withheld(self) -> bool:
        """Whether there are headers that this agent does not get, for it is of another origin."""
        return self._credentials is not None and self._credentials.withheld_from(self._url)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.__aexit__(*error)

    async def call(self, operation: Operation, asked: Any) -> Any:
        """Return the answer of a unary operation as its response Struct.

        Raises the peer's error as an ``A2AError``, and HttpError.
        """
        method, url, headers, body = self._request(operation, asked)
        async with self._open(method, url, headers, body) as response:
            answer = await self._body(response)
            return result_of(operation, answer, self._legacy_codec)

    async def events(self, operation: Operation, asked: Any) -> AsyncGenerator[Any, None]:
        """Yield each ``StreamResponse`` of a streaming operation; close it when done.

        The end of the iteration is the end of the stream, which need not be that of the task.
        Raises the peer's error as an ``A2AError``, and HttpError.
        """
        method, url, headers, body = self._request(operation, asked)
        headers["Accept"] = "text/event-stream"
        async with self._open(method, url, headers, body) as response:
            if response.status >= 400 or _media_type(response) != sse.CONTENT_TYPE:
                # An error is an ordinary answer, and so is what is finished at once.
                answer = await self._body(response)
                event = result_of(operation, answer, self._legacy_codec)
                if event is None:
                    raise InvalidAgentResponseError("The agent answered a stream without events")
                yield event
                return
            async with aclosing(self._events(operation, response)) as events:
                async for event in events:
                    yield event

    async def _events(self, operation: Operation, response: Response) -> AsyncGenerator[Any, None]:
        decoder = sse.Decoder(max_event=self._http.limits.body)
        async for chunk in response.chunks():
            decoder.receive_data(chunk)
            while (event := decoder.next_event()) is not None:
                event = event._replace(data=protojson.tolerated(event.data))
                data = event_of(event, self._binding)
                if data is None:
                    continue
                update = stream_result_of(operation, data, self._legacy_codec)
                if update is not None:
                    yield update

    async def _body(self, response: Response) -> bytes:
        """Return the result in an answer that came whole; raises the error in it."""
        answer = protojson.tolerated(await response.read())
        if 300 <= response.status < 400 and (target := response.headers.get("location")):
            raise UnusableAnswerError(
                f"status {response.status}: the agent is at {redacted(target)}; use that address"
            )
        if self._binding == JSONRPC:
            return answers.rpc_result(answer, response.status)
        if response.status >= 400:
            raise answers.rest_error(answer, response.status)
        return answer

    def _open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Response]:
        return self._http.request(method, url, headers=headers, body=body)

    @property
    def _legacy_codec(self) -> Any:
        return self._legacy if self.version == VERSION_03 else None

    def _request(self, operation: Operation, asked: Any) -> tuple[str, str, dict[str, str], bytes]:
        """Return method, URL, headers and body. Raises PeerError where the version has no such
        operation."""
        if self.interface.tenant and not asked.tenant:
            asked = msgspec.structs.replace(asked, tenant=self.interface.tenant)
        legacy = self.version == VERSION_03
        body = self._legacy.request(operation, asked) if legacy else protojson.encode(asked)
        given = {} if self._credentials is None else self._credentials.headers_for(self._url)
        headers = {**given, HEADER: self.version, "Accept": "application/json"}
        if inject is not None:
            inject(headers)  # the trace of whoever calls goes on at the agent's
        if self._binding == JSONRPC:
            name = operation.method_03 if legacy else operation.name
            if name is None:
                raise PeerError(f"A2A 0.3 has no {operation.name} over JSON-RPC")
            headers["Content-Type"] = "application/json"
            start = msgspec.json.encode({"jsonrpc": "2.0", "id": next(self._ids), "method": name})
            return "POST", self._url, headers, start[:-1] + b',"params":' + body + b"}"
        headers["Content-Type"] = "application/json" if legacy else "application/a2a+json"
        method, address, query = self._rest_target(operation, asked)
        if operation.body:
            return method, address, headers, body
        return method, f"{address}?{query}" if query else address, headers, b""

    def _rest_target(self, operation: Operation, asked: Any) -> tuple[str, str, str]:
        """Return the method, the URL and the query of an operation over HTTP+JSON."""
        legacy = self.version == VERSION_03
        method, path = (operation.rest_03 if legacy else operation.rest)[0]
        left = msgspec.to_builtins(asked)
        for info in msgspec.structs.fields(operation.request):
            if "{" + info.name + "}" in path:
                value = left.pop(info.encode_name)
                path = path.replace("{" + info.name + "}", quote(value, safe=""))
        left.pop("tenant", None)
        below_v1 = urlsplit(self._url).path.rstrip("/").endswith("/v1")
        prefix = "/v1" if legacy and not below_v1 else ""
        if self.interface.tenant and not legacy:
            prefix = "/" + quote(self.interface.tenant, safe="")
        query = urlencode({name: _in_query(value) for name, value in left.items()})
        return method, self._url.rstrip("/") + prefix + path, query


def _media_type(response: Response) -> str:
    """Return the media type, which is the same in capitals (RFC 9110 section 8.3.1)."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _in_query(value: object) -> str:
    """Section 11.5: booleans in lower case, all else as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = [
    "HttpError", "Limits", "Peer", "PeerError", "Response", "Trust", "card_addresses", "choose",
]  # fmt: skip
