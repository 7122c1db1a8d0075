"""The two codecs of 0.3: one per JSON form, both reading either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from .. import operations, protojson
from .. import types as t
from ..cards.shapes import card_json, parse_card
from ..codec import NOTHING, with_path
from ..errors import (
    A2AError,
    ExtensionSupportRequiredError,
    InvalidAgentResponseError,
    InvalidParamsError,
    ParseError,
    TaskGenerationMismatchError,
    UnsupportedOperationError,
    details,
)
from ..frame import Frame
from ..operations import Operation
from ..validation import MAX_ITEMS, check, violations
from ..version import V03 as VERSION
from . import parts, reading
from . import types as w
from .writing import Writer

_Read = Callable[[Any], dict[str, Any]]
_READ: dict[str, tuple[type[t.Wire], _Read]] = {
    operations.SEND.name: (w.SendParams, reading.send),
    operations.STREAM.name: (w.SendParams, reading.send),
    operations.GET_TASK.name: (w.IdParams, reading.get_task),
    operations.CANCEL.name: (w.IdParams, reading.cancel),
    operations.SUBSCRIBE.name: (w.IdParams, reading.subscribe),
    operations.GET_PUSH.name: (w.IdParams, reading.push_id),
    operations.DELETE_PUSH.name: (w.IdParams, reading.push_id),
    operations.LIST_PUSH.name: (w.IdParams, reading.list_push),
}
# Errors that 0.3 has no code for: the nearest one it has, or the one its clients know.
_CODES: dict[type[A2AError], int] = {
    TaskGenerationMismatchError: UnsupportedOperationError.code,
    ExtensionSupportRequiredError: -32010,  # UnsupportedExtensionError of CrewAI's platform
}


class V03Codec:
    """``Codec`` for servers; ``request``, ``response`` and ``event`` are its mirror for clients."""

    version = VERSION

    def __init__(self, *, proto: bool, text: bool = False) -> None:
        """``proto``: write the HTTP+JSON form, else the JSON-RPC form.

        ``text``: the peer puts base64 text into the bytes of files (see ``parts``).
        """
        self._writer = writer = Writer(proto=proto, text=text)
        self._proto = proto
        self._text = text
        self._form = ("0.3+text" if text else "0.3+proto") if proto else "0.3"
        self._write: dict[type, Callable[[Any], Any]] = {
            t.SendMessageResponse: writer.event,
            t.StreamResponse: writer.event,
            t.Task: writer.task,
            t.TaskPushNotificationConfig: writer.task_push_config,
            t.ListTaskPushNotificationConfigsResponse: writer.push_configs,
            t.ListTasksResponse: writer.tasks,
        }

    def decode(
        self, operation: Operation, body: protojson.Body, path: Mapping[str, str] = NOTHING
    ) -> Any:
        """See ``Codec.decode``. A missing push configuration id in ``GET_PUSH`` is ``""``."""
        if not len(body):
            body = b"{}"
        if operation is operations.CREATE_PUSH:
            fields = structs.asdict(
                reading.task_push_config(protojson.decode(body, w.TaskPushConfig))
            )
        elif (entry := _READ.get(operation.name)) is not None:
            type_, read = entry
            params = protojson.decode(body, type_, MAX_ITEMS)
            fields = read(params)
            if self._text and isinstance(params, w.SendParams) and reading.is_proto(params):
                fields["message"] = parts.decode_text(fields["message"])
        else:  # the same in both versions
            fields = structs.asdict(protojson.decode(body, operation.request))
        request: Any = with_path(operation.request(**fields), path)
        if operation is operations.GET_PUSH and not request.id:
            # 0.3 sends TaskIdParams too, which mean whichever configuration the task has
            if faults := [fault for fault in violations(request) if fault[0] != "id"]:
                raise InvalidParamsError.of(faults)
        else:
            check(request)
        return request

    def encode(self, operation: Operation, response: Any) -> bytes:
        """See ``Codec.encode``. JSON-RPC has ``null`` for nothing, where REST has ``{}``."""
        if response is None:
            return b"{}" if self._proto else b"null"
        if isinstance(response, t.AgentCard):
            return card_json(response, "0.3+proto" if self._proto else "0.3")
        return protojson.encode(self._write[type(response)](response))

    def frame(self, frame: Frame) -> bytes:
        return frame.wire(self._form, self._frame)

    def _frame(self, frame: Frame) -> bytes:
        return protojson.encode(self._writer.event(frame.response))

    def error(self, error: A2AError) -> dict[str, Any]:
        """See ``Codec.error``."""
        code = _CODES.get(type(error), error.code)
        fault: dict[str, Any] = {"code": code, "message": error.message}
        if data := details(error):
            fault["data"] = data
        return fault

    def status(self, error: A2AError) -> bytes:
        """See ``Codec.status``: REST clients of 0.3 look for ``code`` and ``message``."""
        return protojson.encode(self.error(error))

    # --- for clients ----------------------------------------------------------------------------

    def request(self, operation: Operation, request: Any) -> bytes:
        """Return the JSON of a request: JSON-RPC ``params``, or a REST body."""
        if isinstance(request, t.SendMessageRequest):
            return protojson.encode(self._writer.send(request))
        if isinstance(request, t.TaskPushNotificationConfig):
            return protojson.encode(self._writer.create_push(request))
        if operation.name in _READ:
            return protojson.encode(self._writer.ids(request))
        return b"{}"

    def response(self, operation: Operation, body: protojson.Body) -> Any:
        """Return the answer as ``operation.response``; raises InvalidAgentResponseError."""
        try:
            return self._response(operation, body)
        except (InvalidParamsError, ParseError) as error:
            raise InvalidAgentResponseError(
                f"The agent's answer is not A2A 0.3: {error.message}"
            ) from error

    def _response(self, operation: Operation, body: protojson.Body) -> Any:
        kind = operation.response
        if kind is None:
            return None
        if kind is t.AgentCard:
            return parse_card(body)
        if kind is t.StreamResponse:
            return reading.event(protojson.decode(body, w.Result))
        if kind is t.SendMessageResponse:
            event = reading.event(protojson.decode(body, w.Result))
            return t.SendMessageResponse(task=event.task, message=event.message)
        if kind is t.Task:
            return reading.task(protojson.decode(body, w.Result))
        if kind is t.TaskPushNotificationConfig:
            return reading.task_push_config(protojson.decode(body, w.TaskPushConfig))
        bare = protojson.unmarked(bytes(body[:64])).lstrip().startswith(b"[")
        if kind is t.ListTasksResponse:
            tasks = [reading.task(task) for task in protojson.decode(body, list[w.Result])]
            return t.ListTasksResponse(
                tasks=tasks, next_page_token="", page_size=len(tasks), total_size=len(tasks)
            )
        configs = (
            protojson.decode(body, list[w.TaskPushConfig])
            if bare
            else protojson.decode(body, w.TaskPushConfigs).configs
        )
        return t.ListTaskPushNotificationConfigsResponse(
            configs=[reading.task_push_config(config) for config in configs]
        )


V03 = V03Codec(proto=False)
V03_REST = V03Codec(proto=True)
V03_REST_TEXT = V03Codec(proto=True, text=True)
