"""One caller per binding and version; each takes the 1.0 model and gives the 1.0 model back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc

from greenroom.protocol import errors
from greenroom.protocol.operations import Operation
from greenroom.protocol.sse import Decoder
from greenroom.transports.http.asgi import Application
from tests.support import asgi
from tests.support.words import GrpcWords, JsonRpcWords, RestWords
from tests.transports.grpc.serving import Serving

REASONS = {kind.reason: kind for kind in errors.ERRORS if kind.reason}
CODES = {kind.code: kind for kind in errors.ERRORS}
NAMES = {kind.__name__: kind for kind in errors.ERRORS}


class ProtocolError(Exception):
    """The server answered with an error of this kind."""

    def __init__(self, kind: type[errors.A2AError]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


class Binding:
    """``call`` returns the response, or the list of events of a stream; raises ProtocolError.

    The server knows two tokens of each binding: ``token`` and ``hasty``.
    """

    name = ""
    version = "1.0"

    def __init__(self, serving: Serving, app: Application) -> None:
        self.serving = serving
        self.app = app
        self.token = f"token-of-{self!r}"
        self.hasty = f"hasty-{self.token}"

    @property
    def old(self) -> bool:
        return self.version == "0.3"

    @property
    def authorization(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token}")] if self.token else []

    def call(
        self,
        operation: Operation,
        request: Any,
        *,
        agent: str = "desk",
        version: str | None = None,
        extensions: str = "",
    ) -> Any:
        raise NotImplementedError

    def http(
        self,
        method: str,
        path: str,
        body: bytes | None,
        agent: str,
        version: str | None,
        extensions: str,
    ) -> asgi.Response:
        headers = [("a2a-version", version or self.version), *self.authorization]
        if body is not None:
            headers.append(("content-type", "application/json"))
        if extensions:
            headers.append(("a2a-extensions", extensions))

        async def ask() -> asgi.Response:
            whole = f"/a2a/agents/{agent}{path}"
            return await asgi.request(self.app, method, whole, headers=headers, body=body or b"")

        return self.serving.portal.call(ask)

    def __repr__(self) -> str:
        return f"{self.name}-{self.version}"


def events(body: bytes) -> list[bytes]:
    decoder = Decoder()
    decoder.receive_data(body)
    return [event.data for event in iter(decoder.next_event, None) if event.data]


class JsonRpc(Binding):
    name = "jsonrpc"

    def call(
        self,
        operation: Operation,
        request: Any,
        *,
        agent: str = "desk",
        version: str | None = None,
        extensions: str = "",
    ) -> Any:
        body = JsonRpcWords(self.version).request(operation, request)
        answer = self.http("POST", "/", body, agent, version, extensions)
        if answer["content-type"].startswith("text/event-stream"):
            return [self._result(operation, event) for event in events(answer.body)]
        return self._result(operation, answer.body, answer.status)

    def _result(self, operation: Operation, body: bytes, status: int = 200) -> Any:
        envelope = json.loads(body)
        if "error" in envelope:
            kind = self._error(envelope["error"])
            # What proxies and clients act on is told by HTTP too, the rest by the envelope alone.
            assert status == (kind.http if issubclass(kind, errors.RefusedError) else 200)
            raise ProtocolError(kind)
        return JsonRpcWords(self.version).response(operation, envelope["result"])

    def _error(self, error: dict[str, Any]) -> type[errors.A2AError]:
        """Codes belong to a version; the reason, where there is one, to the error."""
        for detail in error.get("data", []):
            if "reason" in detail:
                return REASONS[detail["reason"]]
        return CODES[error["code"]]


class Rest(Binding):
    name = "rest"

    def call(
        self,
        operation: Operation,
        request: Any,
        *,
        agent: str = "desk",
        version: str | None = None,
        extensions: str = "",
    ) -> Any:
        words = RestWords(self.version)
        method, path, body = words.request(operation, request)
        answer = self.http(method, path, body, agent, version, extensions)
        if answer.status >= 400:
            raise ProtocolError(self._error(answer))
        if operation.streaming:
            return [words.response(operation, event) for event in events(answer.body)]
        return words.response(operation, answer.body)

    def _error(self, answer: asgi.Response) -> type[errors.A2AError]:
        body = answer.json
        if self.old and "error" not in body:
            reasons = [one["reason"] for one in body.get("data", []) if "reason" in one]
            return REASONS[reasons[0]] if reasons else CODES[body["code"]]
        error = body["error"]
        details = error.get("details")
        kind = REASONS[details[0]["reason"]] if details else errors.InternalError
        assert (answer.status, error["status"]) == (kind.http, kind.grpc)
        return kind


class Grpc(Binding):
    name = "grpc"

    def call(
        self,
        operation: Operation,
        request: Any,
        *,
        agent: str = "desk",
        version: str | None = None,
        extensions: str = "",
    ) -> Any:
        metadata = [("a2a-version", version or self.version), *self.authorization]
        if extensions:
            metadata.append(("a2a-extensions", extensions))
        words = GrpcWords(self.version)
        port = self.serving.server.ports.get(agent, self.serving.server.port)
        # Without a name of its own it would be served as the official Python SDK is.
        options = [("grpc.primary_user_agent", "equivalence")]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            invoke = channel.unary_stream if operation.streaming else channel.unary_unary
            try:
                answer = invoke(words.path(operation))(
                    words.request(operation, request), metadata=metadata, timeout=20
                )
                if operation.streaming:
                    return [words.response(operation, body) for body in answer]
                return words.response(operation, answer)
            except grpc.RpcError as error:
                raise ProtocolError(self._error(error)) from None

    def _error(self, error: Any) -> type[errors.A2AError]:
        kind: type[errors.A2AError]
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # gRPC's own, for a method that is not
            return errors.MethodNotFoundError
        if self.old:
            kind = NAMES[error.details().partition(": ")[0]]
        elif details is None:
            kind = errors.InternalError
        else:
            kind = next(kind for reason, kind in REASONS.items() if reason.encode() in details)
        assert error.code().name == kind.grpc
        return kind


class JsonRpc03(JsonRpc):
    version = "0.3"


class Rest03(Rest):
    version = "0.3"


class Grpc03(Grpc):
    version = "0.3"


class JsonRpc11(JsonRpc):
    version = "1.1"


class Rest11(Rest):
    version = "1.1"


class Grpc11(Grpc):
    version = "1.1"


BINDINGS: Sequence[type[Binding]] = (
    JsonRpc, Rest, Grpc, JsonRpc03, Rest03, Grpc03, JsonRpc11, Rest11, Grpc11
)  # fmt: skip
