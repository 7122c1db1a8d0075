"""The HTTP+JSON binding (section 11): 1.0 at the agent's address, 0.3 and 0.2 below ``/v1``."""

from __future__ import annotations

from ...protocol import rest
from ...protocol.codec import HTTP_JSON, Codec
from ...protocol.codecs import codec_for
from ...protocol.operations import EXTENDED_CARD
from ...protocol.rest import Match
from ...protocol.v03.parts import puts_text_in_bytes
from ...protocol.version import SUPPORTED, V03, V10
from ...runtime.runtime import Runtime
from ..metrics import Metrics
from . import sse
from .body import admitted, check_content_type, discard
from .errors import MethodNotAllowedError, PathNotFoundError, headers_of, told
from .exchange import ClientGone, Exchange, Headers, HeaderView, activated, answer_headers
from .routes import Interfaces

# Section 11.1 wants the media type of A2A on success; 0.3 knows none.
_SUCCESS: dict[str, Headers] = {
    version: [
        (b"content-type", b"application/json" if version == V03 else b"application/a2a+json"),
        (b"a2a-version", version.encode()),
    ]
    for version in SUPPORTED
}


class Rest:
    """Answers the requests to the resources of one agent."""

    def __init__(self, runtime: Runtime, metrics: Metrics, interfaces: Interfaces) -> None:
        self._dispatch = runtime.dispatch
        self._gate = runtime.gate
        self._interfaces = interfaces
        self._counts = metrics.requests

    async def serve(self, exchange: Exchange, agent: str, path: str) -> sse.Writer | None:
        """Answer one request to ``path`` below the agent, or return the writer of its stream."""
        name, version = "", V10
        found: Match | None = None
        codec: Codec | None = None
        try:
            found = rest.match(exchange.method, path)
            if found is None:
                raise _no_match(exchange.method, path)
            operation = found.operation
            name = operation.name
            call, body = await admitted(exchange, self._gate, HTTP_JSON, agent)
            version = rest.version(found, exchange.asked_version)
            codec = codec_for(version, HTTP_JSON, version == V03 and _puts_text_in_bytes(exchange))
            if operation.body:
                check_content_type(exchange, body)
            request = rest.request(codec, found, exchange.query, body)
            if call is None:
                call = exchange.call(HTTP_JSON, version, agent, request.tenant)
            else:
                call.version, call.tenant = version, request.tenant
            if operation is EXTENDED_CARD:
                exchange.private = True
                call.interfaces = self._interfaces(exchange, agent)
            result = await self._dispatch(call, operation, request)
            if operation.streaming:
                self._counts[HTTP_JSON, name, "ok"] += 1
                headers = sse.response_headers(exchange, version, call)
                return sse.Writer(result, exchange.send, codec.frame, headers)
            payload = codec.encode(operation, result)
        except ClientGone:
            raise
        except Exception as caught:
            error = told(caught)
            self._counts[HTTP_JSON, name, type(error).__name__] += 1
            await discard(exchange)
            if codec is None:
                version = V03 if found is not None and found.family == V03 else V10
                codec = codec_for(version, HTTP_JSON)
            await exchange.reply(
                error.http,
                [*answer_headers(version), *headers_of(error, exchange)],
                codec.status(error),
            )
            return None
        self._counts[HTTP_JSON, name, "ok"] += 1
        headers = _SUCCESS[version]
        if call.activated:
            headers = [*headers, activated(version, call)]
        await exchange.reply(200, headers, payload)
        return None

    def allowed(self, path: str) -> tuple[str, ...]:
        """Return the methods that ``path`` takes."""
        return rest.allowed(path)


def _puts_text_in_bytes(exchange: Exchange) -> bool:
    return puts_text_in_bytes(HeaderView(exchange.scope["headers"]).get("user-agent", ""))


def _no_match(method: str, path: str) -> MethodNotAllowedError | PathNotFoundError:
    methods = rest.allowed(path)
    if methods:
        return MethodNotAllowedError(f"{method} is not for this path", {*methods})
    return PathNotFoundError(
        "Nothing is served at this path: JSON-RPC is at /a2a, the resources of A2A 1.0 are at "
        "/message:send, /tasks, ..., those of 0.3 below /v1, the agent's card is at "
        "/.well-known/agent-card.json"
    )
