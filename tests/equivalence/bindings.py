"""One caller per binding and version; each takes the 1.0 model and gives the 1.0 model back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import grpc
from a2a.compat.v0_3 import a2a_v0_3_pb2 as legacy_pb
from msgspec import structs

from greenroom.protocol import errors
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.operations import Operation
from greenroom.protocol.protobuf import v03
from greenroom.protocol.protobuf.v1 import V1_0, V1_1
from greenroom.protocol.protojson import decode, encode
from greenroom.protocol.sse import Decoder
from greenroom.protocol.v03 import reading
from greenroom.protocol.v03 import types as w
from greenroom.protocol.v03.codec import V03, V03_REST
from greenroom.protocol.v03.writing import Writer
from greenroom.transports.grpc.services import LEGACY, V1
from greenroom.transports.http.asgi import Application
from tests.support import asgi
from tests.transports.grpc.serving import Serving

REASONS = {kind.reason: kind for kind in errors.ERRORS if kind.reason}
CODES = {kind.code: kind for kind in errors.ERRORS}
NAMES = {kind.__name__: kind for kind in errors.ERRORS}
LEGACY_METHODS = {
    ops.SUBSCRIBE.name: "TaskSubscription",
    ops.LIST_PUSH.name: "ListTaskPushNotificationConfig",
    ops.EXTENDED_CARD.name: "GetAgentCard",
}


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
        params = V03.request(operation, request) if self.old else encode(request)
        method = (operation.method_03 or "tasks/list") if self.old else operation.name
        envelope = {"jsonrpc": "2.0", "id": 1, "method": method, "params": json.loads(params)}
        answer = self.http("POST", "/", json.dumps(envelope).encode(), agent, version, extensions)
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
        result = json.dumps(envelope["result"]).encode()
        if self.old:
            return V03.response(operation, result)
        return None if operation.response is None else decode(result, operation.response)

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
        old = self.old
        method, path = (operation.rest_03 if old else operation.rest)[0]
        fields = {
            name: getattr(request, name)
            for name in request.__struct_fields__
            if getattr(request, name) not in (None, "")
        }
        for name in ("task_id", "id"):
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", quote(str(fields.pop(name, "")), safe=""))
        body: bytes | None = None
        if operation.body:
            body = V03_REST.request(operation, request) if old else encode(request)
        elif fields and (not old or operation is ops.LIST_TASKS):
            camel = dict(
                zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True)
            )
            path += "?" + urlencode({camel[name]: str(value) for name, value in fields.items()})
        elif "history_length" in fields:
            path += f"?historyLength={fields['history_length']}"
        prefix = "/v1" if old else ""
        answer = self.http(method, prefix + path, body, agent, version, extensions)
        if answer.status >= 400:
            raise ProtocolError(self._error(answer))
        read = self._read_old if old else self._read
        if operation.streaming:
            return [read(operation, event) for event in events(answer.body)]
        return read(operation, answer.body)

    @staticmethod
    def _read(operation: Operation, body: bytes) -> Any:
        return None if operation.response is None else decode(body, operation.response)

    @staticmethod
    def _read_old(operation: Operation, body: bytes) -> Any:
        return V03_REST.response(operation, body)

    def _error(self, answer: asgi.Response) -> type[errors.A2AError]:
        found = answer.json
        if self.old and "error" not in found:
            reasons = [one["reason"] for one in found.get("data", []) if "reason" in one]
            return REASONS[reasons[0]] if reasons else CODES[found["code"]]
        error = found["error"]
        details = error.get("details")
        kind = REASONS[details[0]["reason"]] if details else errors.InternalError
        assert (answer.status, error["status"]) == (kind.http, kind.grpc)
        return kind


class Grpc(Binding):
    name = "grpc"
    codec = V1_0

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
        port = self.serving.server.ports.get(agent, self.serving.server.port)
        # Without a name of its own it would be served as the official Python SDK is.
        options = [("grpc.primary_user_agent", "equivalence")]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            invoke = channel.unary_stream if operation.streaming else channel.unary_unary
            try:
                answer = invoke(self._path(operation))(
                    self._write(operation, request), metadata=metadata, timeout=20
                )
                if operation.streaming:
                    return [self._read(operation, body) for body in answer]
                return self._read(operation, answer)
            except grpc.RpcError as error:
                raise ProtocolError(self._error(error)) from None

    def _path(self, operation: Operation) -> str:
        if not self.old:
            return f"/{V1}/{operation.name}"
        return f"/{LEGACY}/{LEGACY_METHODS.get(operation.name, operation.name)}"

    def _write(self, operation: Operation, request: Any) -> bytes:
        if not self.old:
            return self.codec.write(request)
        writer = Writer(proto=True)
        if isinstance(request, t.SendMessageRequest):
            made = writer.send(request)
            return v03.V0_3.write(structs.replace(made, request=made.message, message=None))
        if operation in (ops.EXTENDED_CARD, ops.LIST_TASKS):
            return b""
        if isinstance(request, t.TaskPushNotificationConfig):
            return v03.CREATE_PUSH.write(writer.create_push(request))
        if operation is ops.LIST_PUSH:
            return v03.LIST_PUSH.write(w.IdParams(parent=f"tasks/{request.task_id}"))
        if operation.push:
            name = f"tasks/{request.task_id}/pushNotificationConfigs/{request.id}"
            return v03.GET_TASK.write(w.IdParams(name=name))
        length = getattr(request, "history_length", None)
        named = w.IdParams(name=f"tasks/{request.id}", history_length=length)
        return v03.GET_TASK.write(named)

    def _read(self, operation: Operation, body: bytes) -> Any:
        kind = operation.response
        if kind is None:
            return None
        if not self.old:
            return self.codec.read(kind, body)
        if kind is t.AgentCard:
            return legacy_pb.AgentCard.FromString(body)
        if kind is t.Task:
            return _model(v03.V0_3.read(w.Task, body))
        wrapped = v03.V0_3.read(w.Wrapped, body)
        event = _model(wrapped)
        if kind is t.SendMessageResponse:
            return t.SendMessageResponse(task=event.task, message=event.message)
        return event

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


def _model(found: Any) -> Any:
    """0.3's proto form into the model, by way of its JSON: the reader of clients."""
    result = decode(encode(found), w.Result)
    return reading.task(result) if isinstance(found, w.Task) else reading.event(result)


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
    codec = V1_1


BINDINGS: Sequence[type[Binding]] = (
    JsonRpc, Rest, Grpc, JsonRpc03, Rest03, Grpc03, JsonRpc11, Rest11, Grpc11
)  # fmt: skip
