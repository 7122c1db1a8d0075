"""A peer agent over HTTP: its card, and requests in the version and binding that it speaks."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Self

from msgspec import structs

from ...protocol import protojson, sse
from ...protocol.cards.shapes import is_legacy
from ...protocol.codec import HTTP_JSON, JSONRPC
from ...protocol.errors import InvalidAgentResponseError, RefusedError
from ...protocol.operations import Operation
from ...protocol.types import AgentCard, AgentInterface, StreamResponse
from ...protocol.v03 import V03, V03_REST
from ...protocol.version import V03 as VERSION_03
from ...protocol.version import V10
from . import answers
from .credentials import Credentials
from .discovery import card_addresses, card_limits, choose, fetch_card
from .errors import HttpError, PeerError, StatusError, UnusableAnswerError
from .exchange import STREAM_SILENCE, Authorizer, exchange
from .http import HttpClient, Limits, Response
from .remote import Received
from .requests import Outgoing, Requests
from .results import event_of, quick_event, quick_result, result_of, stream_result_of
from .trust import Trust
from .urls import for_display, redacted


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
        auth: Authorizer | None = None,
        extensions: Iterable[str] = (),
        http: HttpClient | None = None,
    ) -> None:
        """``http`` is used in the place of a client of the peer's own, made with ``limits`` and
        ``tls``; ``extensions`` are URIs that every request asks for."""
        self.card = card
        self.interface = interface
        self.version = VERSION_03 if is_legacy(interface) else V10
        self._binding = interface.protocol_binding
        legacy = V03_REST if self._binding == HTTP_JSON else V03
        self._legacy = legacy if self.version == VERSION_03 else None
        self._requests = Requests(interface, self.version, extensions)
        self._credentials = credentials
        self._given = {} if credentials is None else credentials.headers_for(self._requests.url)
        self._auth = auth
        self._http = http or HttpClient(limits=limits, tls=tls)
        self._streams = structs.replace(
            self._http.limits, silence=min(STREAM_SILENCE, self._http.limits.silence)
        )

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
        return self._credentials is not None and self._credentials.withheld_from(self._requests.url)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.__aexit__(*error)

    async def call(self, operation: Operation, asked: Any) -> Any:
        """Return the answer of a unary operation as its response Struct.

        Raises the peer's error as an ``A2AError``, and HttpError.
        """
        async with self._exchange(self._requests.request(operation, asked), None) as response:
            return await self._answer(operation, response)

    async def events(self, operation: Operation, asked: Any) -> AsyncGenerator[Any, None]:
        """Yield each ``StreamResponse`` of a streaming operation: see ``stream``."""
        async with aclosing(self.stream(operation, asked)) as events:
            async for received in events:
                yield received.update

    async def stream(
        self, operation: Operation, asked: Any, *, last_id: str = ""
    ) -> AsyncGenerator[Received, None]:
        """Yield the events of a streaming operation; close it when done.

        The end of the iteration is the end of the stream, which need not be that of the task.
        ``last_id`` is sent as ``Last-Event-ID``. Raises the peer's error as an ``A2AError``, and
        HttpError.
        """
        request = self._requests.request(operation, asked)
        request.headers["Accept"] = sse.CONTENT_TYPE
        if last_id:
            request.headers["Last-Event-ID"] = last_id
        async with self._exchange(request, self._streams) as response:
            if response.status >= 400 or _media_type(response) != sse.CONTENT_TYPE:
                # An error is an ordinary answer, and so is what is finished at once.
                event = await self._answer(operation, response)
                if event is None:
                    raise InvalidAgentResponseError("The agent answered a stream without events")
                yield Received(event, "")
                return
            decoder = sse.Decoder(max_event=self._http.limits.body)
            async for chunk in response.chunks():
                decoder.receive_data(chunk)
                while (event := decoder.next_event()) is not None:
                    update = self._update(operation, event)
                    if update is not None:
                        yield Received(update, event.id)

    def _update(self, operation: Operation, event: sse.Event) -> StreamResponse | None:
        """Return what an event holds, ``None`` where that is nothing of A2A's."""
        if self._legacy is None:
            quick = quick_event(event, self._binding)
            if quick is not None:
                return quick
        event = event._replace(data=protojson.tolerated(event.data))
        data = event_of(event, self._binding)
        if data is None:
            return None
        update: StreamResponse | None = stream_result_of(operation, data, self._legacy)
        return update

    async def _answer(self, operation: Operation, response: Response) -> Any:
        """Return the result in an answer that comes whole; raises the error in it."""
        body = await response.read()
        if self._legacy is None and response.status < 300:
            quick = quick_result(operation, body, self._binding)
            if quick is not None:
                return quick
        try:
            return result_of(operation, self._result(body, response), self._legacy)
        except (RefusedError, StatusError) as error:
            error.headers = response.headers
            raise

    def _result(self, body: bytes, response: Response) -> bytes:
        answer = protojson.tolerated(body)
        if 300 <= response.status < 400 and (target := response.headers.get("location")):
            raise UnusableAnswerError(
                f"status {response.status}: the agent is at {for_display(target)}; use that address"
            )
        if self._binding == JSONRPC:
            return answers.rpc_result(answer, response.status)
        if response.status >= 400:
            raise answers.rest_error(answer, response.status)
        return answer

    def _exchange(
        self, request: Outgoing, limits: Limits | None
    ) -> AbstractAsyncContextManager[Response]:
        request.headers = {**self._given, **request.headers}
        return exchange(self._http, request, self._auth, limits)


def _media_type(response: Response) -> str:
    """Return the media type, which is the same in capitals (RFC 9110 section 8.3.1)."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


__all__ = [
    "HttpError", "Limits", "Peer", "PeerError", "Response", "Trust", "card_addresses", "choose",
]  # fmt: skip
