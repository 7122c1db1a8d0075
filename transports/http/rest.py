"""The HTTP+JSON binding (section 11): 1.0 at the agent's address, 0.3 and 0.2 below ``/v1``."""

from __future__ import annotations

from collections.abc import Container, Coroutine
from typing import Any

from ...protocol import rest
from ...protocol.codec import HTTP_JSON, Codec
from ...protocol.codecs import codec_for
from ...protocol.errors import A2AError
from ...protocol.operations import Operation
from ...protocol.rest import Match
from ...protocol.types import AgentInterface
from ...protocol.v03.parts import puts_text_in_bytes
from ...protocol.version import SUPPORTED, V03, V10
from ...runtime.call import Call
from ...runtime.runtime import Runtime
from ..binding import Binding, Decoded
from ..caller.headers import HeaderView
from ..metrics import Metrics
from . import sse
from .body import check_content, discard, read
from .errors import MethodNotAllowedError, PathNotFoundError, headers_of
from .exchange import Exchange, Headers, activated, answer_headers
from .jsonrpc import Interfaces
from .routes import Target

# Section 11.1 wants the media type of A2A on success; 0.3 does not know it.
_SUCCESS: dict[str, Headers] = {
    version: [
        (b"content-type", b"application/json" if version == V03 else b"application/a2a+json"),
        (b"a2a-version", version.encode()),
    ]
    for version in SUPPORTED
}


class _Request:
    """One request to a resource of an agent (a ``binding.Request``)."""

    __slots__ = (
        "_agents", "_interfaces", "codec", "exchange", "match", "operation", "target",
    )  # fmt: skip

    def __init__(
        self,
        exchange: Exchange,
        target: Target,
        match: Match,
        interfaces: Interfaces,
        agents: Container[str],
    ) -> None:
        self.exchange = exchange
        self.target = target
        self.match = match
        self.operation: Operation | None = match.operation
        self.codec: Codec | None = None
        self._interfaces = interfaces
        self._agents = agents

    def call(self) -> Call:
        return self.exchange.call(HTTP_JSON, self.target.agent)

    def message(self) -> Coroutine[Any, Any, bytes]:
        return read(self.exchange)

    def decode(self, message: bytes) -> Decoded:
        exchange, match = self.exchange, self.match
        version = rest.version(match, exchange.asked_version)
        text = version == V03 and _puts_text_in_bytes(exchange)
        self.codec = codec = codec_for(version, HTTP_JSON, text)
        if match.operation.body:
            check_content(exchange, message)
        params = rest.request(codec, match, exchange.query, message)
        return Decoded(
            match.operation,
            params,
            codec,
            params.tenant,
            self.target.routed(params.tenant, self._agents),
        )

    @property
    def version(self) -> str | None:
        return None if self.codec is None else self.codec.version

    def interfaces(self, agent: str) -> tuple[AgentInterface, ...]:
        self.exchange.private = True
        return self._interfaces(self.exchange, self.target.of(agent))


class Rest:
    """Answers the requests to the resources of one agent."""

    def __init__(self, runtime: Runtime, metrics: Metrics, interfaces: Interfaces) -> None:
        self._binding = Binding(HTTP_JSON, runtime, metrics)
        self._interfaces = interfaces

    async def serve(self, exchange: Exchange, target: Target, path: str) -> sse.EventWriter | None:
        """Answer one request to ``path`` below the agent, or return the writer of its stream.

        Raises ClientGone.
        """
        match = rest.match(exchange.method, path)
        if match is None:
            call = exchange.call(HTTP_JSON, target.agent)
            error = self._binding.refuse(_no_match(exchange.method, path), call=call)
            await _fail(exchange, codec_for(V10, HTTP_JSON), error)
            return None
        exchange.private = not self._binding.anonymous
        request = _Request(exchange, target, match, self._interfaces, self._binding.agents)
        answer = await self._binding.answer(request)
        if isinstance(answer, A2AError):
            version = V03 if match.family == V03 else V10
            await _fail(exchange, request.codec or codec_for(version, HTTP_JSON), answer)
            return None
        codec, call = answer.codec, answer.call
        if answer.stream is not None:
            headers = sse.response_headers(exchange, codec.version, call)
            return sse.EventWriter(answer.stream, exchange, call, codec.frame, headers)
        headers = _SUCCESS[codec.version]
        if call.activated:
            headers = [*headers, activated(codec.version, call)]
        await exchange.reply(200, headers, answer.payload, call)
        return None

    def allowed(self, path: str) -> tuple[str, ...]:
        """Return the methods that ``path`` takes."""
        return rest.allowed(path)


async def _fail(exchange: Exchange, codec: Codec, error: A2AError) -> None:
    await discard(exchange)
    await exchange.reply(
        error.http,
        [*answer_headers(codec.version), *headers_of(error, exchange)],
        codec.status(error),
    )


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
