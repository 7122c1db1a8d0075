"""The JSON-RPC binding over HTTP (section 9)."""

from __future__ import annotations

from functools import partial

from ...protocol import jsonrpc
from ...protocol import sse as events
from ...protocol.codec import JSONRPC, Codec
from ...protocol.codecs import codec_for
from ...protocol.errors import A2AError, RefusedError, VersionNotSupportedError
from ...protocol.operations import EXTENDED_CARD
from ...protocol.version import V03, V10
from ...runtime.call import Call
from ...runtime.runtime import Runtime
from ..metrics import Metrics
from . import sse
from .body import admitted, check_content_type, discard
from .errors import headers_of, told
from .exchange import ClientGone, Exchange, answer_headers
from .routes import Interfaces

_HOLE = b"\0"  # JSON cannot hold it, so it marks the place of the payload


class JsonRpc:
    """Answers the requests POSTed to an agent's JSON-RPC address."""

    def __init__(self, runtime: Runtime, metrics: Metrics, interfaces: Interfaces) -> None:
        self._dispatch = runtime.dispatch
        self._gate = runtime.gate
        self._interfaces = interfaces
        self._counts = metrics.requests

    async def serve(self, exchange: Exchange, agent: str) -> sse.Writer | None:
        """Answer one request, or return the writer of its stream."""
        id_, name, notification, streaming = jsonrpc.NO_ID, "", False, False
        codec: Codec | None = None
        call: Call | None = None
        try:
            call, body = await admitted(exchange, self._gate, JSONRPC, agent)
            check_content_type(exchange, body)
            request = jsonrpc.parse(body)
            id_, notification = request.id, request.notification
            version = exchange.version
            codec = codec_for(version)
            operation = jsonrpc.operation(request, version)
            name, streaming = operation.name, operation.streaming
            params = codec.decode(operation, request.params)
            if call is None:
                call = exchange.call(JSONRPC, version, agent, params.tenant)
            else:
                call.version, call.tenant = version, params.tenant
            if operation is EXTENDED_CARD:
                exchange.private = True
                call.interfaces = self._interfaces(exchange, agent)
            result = await self._dispatch(call, operation, params)
            if not operation.streaming:
                payload = codec.encode(operation, result)
            elif notification:
                result.close()
            else:
                self._counts[JSONRPC, name, "ok"] += 1
                headers = sse.response_headers(exchange, version, call)
                head, _, tail = jsonrpc.result(id_, _HOLE).partition(_HOLE)
                failed = partial(jsonrpc.error, id_, codec)
                return sse.Writer(result, exchange.send, codec.frame, headers, head, tail, failed)
        except ClientGone:
            raise
        except Exception as caught:
            error = told(caught)
            await discard(exchange)
            self._counts[JSONRPC, name, type(error).__name__] += 1
            await self._fail(exchange, error, id_, codec, notification, streaming)
            return None
        self._counts[JSONRPC, name, "ok"] += 1
        if notification:
            await exchange.reply(204, [])
        else:
            await exchange.reply(200, answer_headers(version, call), jsonrpc.result(id_, payload))
        return None

    async def _fail(
        self,
        exchange: Exchange,
        error: A2AError,
        id_: bytes,
        codec: Codec | None,
        notification: bool,
        streaming: bool,
    ) -> None:
        refused = isinstance(error, RefusedError)
        if notification and not refused:
            await exchange.reply(204, [])  # JSON-RPC 2.0: notifications are never answered
            return
        if codec is None:
            codec = _codec_of_last_resort(exchange)
        if streaming and codec.version == V03 and not refused:
            # The clients of 0.3 read the answer to a streaming method as events, errors included.
            headers = [
                (b"content-type", events.CONTENT_TYPE.encode()),
                (b"a2a-version", V03.encode()),
            ]
            event = events.event(jsonrpc.error(id_, codec, error))
            await exchange.reply(200, [*headers, *headers_of(error, exchange)], event)
            return
        # Errors travel in a 200 (section 9.5), but what the gate refuses is refused to HTTP.
        await exchange.reply(
            error.http if refused else 200,
            [*answer_headers(codec.version), *headers_of(error, exchange)],
            jsonrpc.error(id_, codec, error),
        )


def _codec_of_last_resort(exchange: Exchange) -> Codec:
    try:
        return codec_for(exchange.version)
    except VersionNotSupportedError:
        return codec_for(V10)
