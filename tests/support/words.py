"""Requests of the 1.0 model in the words of each binding and version, and what comes back.

One class a binding; ``version`` is ``1.0``, ``1.1`` or ``0.3``. The codecs of Greenroom write and
read, so these are for tests of what a server does; ``conformance/dialects.py`` holds the codecs to
the specifications with words of its own.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from a2a.compat.v0_3 import a2a_v0_3_pb2 as legacy_pb
from msgspec import structs

from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.operations import Operation
from greenroom.protocol.protobuf import v03
from greenroom.protocol.protobuf.v1 import V1_0, V1_1
from greenroom.protocol.protojson import decode, encode
from greenroom.protocol.v03 import V03, V03_REST, reading
from greenroom.protocol.v03 import types as w
from greenroom.protocol.v03.writing import Writer
from greenroom.transports.grpc.services import LEGACY, V1

LEGACY_METHODS = {
    ops.SUBSCRIBE.name: "TaskSubscription",
    ops.LIST_PUSH.name: "ListTaskPushNotificationConfig",
    ops.EXTENDED_CARD.name: "GetAgentCard",
}


class JsonRpcWords:
    """The envelope around requests and results."""

    def __init__(self, version: str) -> None:
        self.old = version == "0.3"

    def request(self, operation: Operation, request: Any) -> bytes:
        """The body of a POST to the agent's address."""
        params = V03.request(operation, request) if self.old else encode(request)
        method = (operation.method_03 or "tasks/list") if self.old else operation.name
        envelope = {"jsonrpc": "2.0", "id": 1, "method": method, "params": json.loads(params)}
        return json.dumps(envelope).encode()

    def response(self, operation: Operation, result: Any) -> Any:
        """What the member ``result`` of an envelope means."""
        body = json.dumps(result).encode()
        if self.old:
            return V03.response(operation, body)
        return None if operation.response is None else decode(body, operation.response)


class RestWords:
    """Methods, paths, queries and bodies of HTTP+JSON."""

    def __init__(self, version: str) -> None:
        self.old = version == "0.3"

    def request(self, operation: Operation, request: Any) -> tuple[str, str, bytes | None]:
        """Method, path with query below the agent's address, and body."""
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
        prefix = "/v1" if old else ""
        if operation.body:
            body = V03_REST.request(operation, request) if old else encode(request)
            return method, prefix + path, body
        if fields and (not old or operation is ops.LIST_TASKS):
            written = zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True)
            camel = dict(written)
            path += "?" + urlencode({camel[name]: str(value) for name, value in fields.items()})
        elif "history_length" in fields:
            path += f"?historyLength={fields['history_length']}"
        return method, prefix + path, None

    def response(self, operation: Operation, body: bytes) -> Any:
        if self.old:
            return V03_REST.response(operation, body)
        return None if operation.response is None else decode(body, operation.response)


class GrpcWords:
    """Method names and messages of the services of 1.0 and of 0.3."""

    def __init__(self, version: str) -> None:
        self.old = version == "0.3"
        self._codec = V1_1 if version == "1.1" else V1_0

    def path(self, operation: Operation) -> str:
        if not self.old:
            return f"/{V1}/{operation.name}"
        return f"/{LEGACY}/{LEGACY_METHODS.get(operation.name, operation.name)}"

    def request(self, operation: Operation, request: Any) -> bytes:
        if not self.old:
            return self._codec.write(request)
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

    def response(self, operation: Operation, body: bytes) -> Any:
        kind = operation.response
        if kind is None:
            return None
        if not self.old:
            return self._codec.read(kind, body)
        if kind is t.AgentCard:
            return legacy_pb.AgentCard.FromString(body)
        if kind is t.Task:
            return _model(v03.V0_3.read(w.Task, body))
        wrapped = v03.V0_3.read(w.Wrapped, body)
        event = _model(wrapped)
        if kind is t.SendMessageResponse:
            return t.SendMessageResponse(task=event.task, message=event.message)
        return event


def _model(found: Any) -> Any:
    """0.3's proto form into the model, by way of its JSON: the reader of clients."""
    result = decode(encode(found), w.Result)
    return reading.task(result) if isinstance(found, w.Task) else reading.event(result)
