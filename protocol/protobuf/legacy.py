"""The protobuf codec of 0.3: the proto form of ``protocol.v03`` between the wire and the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from .. import operations as ops
from .. import types as t
from ..errors import InvalidParamsError
from ..frame import Frame
from ..operations import Operation
from ..v03 import parts, reading
from ..v03 import types as w
from ..v03.writing import Writer
from ..validation import check, violations
from ..version import V03 as VERSION
from .codec import read, write
from .schema import Schema
from .v03 import CREATE_PUSH, GET_TASK, LIST_PUSH, V0_3

_NAMED = GET_TASK  # every request but one that names a task has the name in field 1
_Fields = Callable[[Any], dict[str, Any]]
_READ: dict[str, tuple[Schema, type, _Fields]] = {
    ops.SEND.name: (V0_3, w.SendParams, reading.send),
    ops.STREAM.name: (V0_3, w.SendParams, reading.send),
    ops.GET_TASK.name: (GET_TASK, w.IdParams, reading.get_task),
    ops.CANCEL.name: (_NAMED, w.IdParams, reading.cancel),
    ops.SUBSCRIBE.name: (_NAMED, w.IdParams, reading.subscribe),
    ops.GET_PUSH.name: (_NAMED, w.IdParams, reading.push_id),
    ops.DELETE_PUSH.name: (_NAMED, w.IdParams, reading.push_id),
    ops.LIST_PUSH.name: (LIST_PUSH, w.IdParams, reading.list_push),
}


class V03ProtobufCodec:
    """See ``ProtobufCodec``. The agent card of 0.3 is not among its answers."""

    version = VERSION

    def __init__(self, *, text: bool) -> None:
        """``text``: the caller puts base64 text into the bytes of files (see ``v03.parts``)."""
        writer = Writer(proto=True, text=text)
        self._text = text
        self._form = "pb0.3+text" if text else "pb0.3"
        self._event = writer.event
        self._write: dict[type, Callable[[Any], Any]] = {
            t.SendMessageResponse: writer.event,
            t.Task: writer.task,
            t.TaskPushNotificationConfig: writer.task_push_config,
            t.ListTaskPushNotificationConfigsResponse: writer.push_configs,
        }

    def decode(self, operation: Operation, body: bytes) -> Any:
        if operation is ops.EXTENDED_CARD:
            return t.GetExtendedAgentCardRequest()
        if operation is ops.CREATE_PUSH:
            config = reading.task_push_config(read(CREATE_PUSH, w.TaskPushConfig, body))
            fields = structs.asdict(config)
        else:
            schema, type_, take = _READ[operation.name]
            fields = take(read(schema, type_, body))
            if self._text and "message" in fields:
                fields["message"] = parts.decode_text(fields["message"])
        request: Any = operation.request(**fields)
        if operation is ops.GET_PUSH and not request.id:
            # a name without a configuration means whichever the task has
            if faults := [fault for fault in violations(request) if fault[0] != "id"]:
                raise InvalidParamsError.of(faults)
        else:
            check(request)
        return request

    def encode(self, operation: Operation, response: Any) -> bytes:
        if response is None:
            return b""
        return write(V0_3, self._write[type(response)](response))

    def frame(self, frame: Frame) -> bytes:
        return frame.wire(self._form, self._frame)

    def _frame(self, frame: Frame) -> bytes:
        return write(V0_3, self._event(frame.response))


V03 = V03ProtobufCodec(text=False)
V03_TEXT = V03ProtobufCodec(text=True)
