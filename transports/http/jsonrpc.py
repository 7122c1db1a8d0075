"""The JSON-RPC binding over HTTP (section 9)."""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine
from functools import partial
from typing import Any

from ...protocol import jsonrpc
from ...protocol import sse as events
from ...protocol.codec import JSONRPC, Codec
from ...protocol.codecs import codec_for
from ...protocol.errors import A2AError, RefusedError, VersionNotSupportedError
from ...protocol.operations import Operation
from ...protocol.types import AgentInterface
from ...protocol.version import V03, V10
from ...runtime.call import Call
from ...runtime.runtime import Runtime
from ..binding import Answer, Binding, Decoded, EventStream
from ..metrics import Metrics
from . import sse
from .body import check_content, discard, read
from .errors import headers_of
from .exchange import Exchange, answer_headers
from .routes import Target

Interfaces = Callable[[Exchange, Target], tuple[AgentInterface, ...]]
"""Returns where an agent is served, as the caller of an exchange reaches it."""

_HOLE = b"\0"  # JSON cannot hold this byte: it marks the place of the payload


class _Request:
    """One request POSTed to an agent's JSON-RPC address (a ``binding.Request``)."""

    __slots__ = (
        "_endpoint", "codec", "exchange", "id", "notification", "operation", "target",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, target: Target, endpoint: JsonRpc) -> None:
        self.exchange = exchange
        self.target = target
        self.operation: Operation | None = None
        self.codec: Codec | None = None
        self.id = jsonrpc.NO_ID
        self.notification = False
        self._endpoint = endpoint

    def call(self) -> Call:
        return self.exchange.call(JSONRPC, self.target.agent)

    def message(self) -> Coroutine[Any, Any, bytes]:
        return read(self.exchange)

    def decode(self, message: bytes) -> Decoded:
        exchange = self.exchange
        check_content(exchange, message)
        request = jsonrpc.parse(message)
        self.id, self.notification = request.id, request.notification
        version = exchange.version
        self.codec = codec = codec_for(version)
        self.operation = operation = jsonrpc.operation(request, version)
        params = codec.decode(operation, request.params)
        tenant = params.tenant
        agent = None if tenant is None else self.target.routed(tenant, self._endpoint.agents)
        return Decoded(operation, params, codec, tenant, agent)

    @property
    def version(self) -> str | None:
        return None if self.codec is None else self.codec.version

    def interfaces(self, agent: str) -> tuple[AgentInterface, ...]:
        self.exchange.private = True
        return self._endpoint.interfaces(self.exchange, self.target.of(agent))


class JsonRpc:
    """Answers the requests POSTed to an agent's JSON-RPC address."""

    def __init__(self, runtime: Runtime, metrics: Metrics, interfaces: Interfaces) -> None:
        self._binding = Binding(JSONRPC, runtime, metrics)
        self.agents: Container[str] = runtime.agents
        self.interfaces = interfaces

    async def serve(self, exchange: Exchange, target: Target) -> sse.EventWriter | None:
        """Answer one request, or return the writer of its stream. Raises ClientGone."""
        exchange.private = not self._binding.anonymous
        request = _Request(exchange, target, self)
        answer = await self._binding.answer(request)
        if isinstance(answer, A2AError):
            await discard(exchange)
            await _fail(request, answer)
            return None
        if answer.stream is not None and not request.notification:
            return _stream(request, answer, answer.stream)
        if request.notification:
            if answer.stream is not None:
                answer.stream.close()
            await exchange.reply(204, [])
        else:
            body = jsonrpc.result(request.id, answer.payload)
            headers = answer_headers(answer.codec.version, answer.call)
            await exchange.reply(200, headers, body, answer.call)
        return None


def _stream(request: _Request, answer: Answer, stream: EventStream) -> sse.EventWriter:
    call, codec = answer.call, request.codec
    assert codec is not None
    headers = sse.response_headers(request.exchange, codec.version, call)
    head, _, tail = jsonrpc.result(request.id, _HOLE).partition(_HOLE)
    failed = partial(jsonrpc.error, request.id, codec)
    return sse.EventWriter(stream, request.exchange, call, codec.frame, headers, head, tail, failed)


async def _fail(request: _Request, error: A2AError) -> None:
    exchange, codec = request.exchange, request.codec
    refused = isinstance(error, RefusedError)
    if request.notification and not refused:
        await exchange.reply(204, [])  # JSON-RPC 2.0: a server never answers a notification
        return
    if codec is None:
        codec = _codec_of_last_resort(exchange)
    streaming = request.operation is not None and request.operation.streaming
    if streaming and codec.version == V03 and not refused:
        # Clients of 0.3 read the answer to a streaming method as events, also where it is an error.
        headers = [
            (b"content-type", events.CONTENT_TYPE.encode()),
            (b"a2a-version", V03.encode()),
        ]
        event = events.event(jsonrpc.error(request.id, codec, error))
        await exchange.reply(200, [*headers, *headers_of(error, exchange)], event)
        return
    # Errors travel in a 200 (section 9.5), but a refusal of the gate is a refusal of HTTP too.
    await exchange.reply(
        error.http if refused else 200,
        [*answer_headers(codec.version), *headers_of(error, exchange)],
        jsonrpc.error(request.id, codec, error),
    )


def _codec_of_last_resort(exchange: Exchange) -> Codec:
    try:
        return codec_for(exchange.version)
    except VersionNotSupportedError:
        return codec_for(V10)
