"""What an answer or an event of a stream means: a result, nothing of A2A's, or an error.

Peers differ from the specification in ways that can be told apart without a guess: an event that
is a remark for proxies, a task without the member ``task`` around it, an answer of 1.0 in the form
of 0.3. A result that holds nothing is an error, never an empty success.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from ...protocol import protojson
from ...protocol.codec import JSONRPC
from ...protocol.errors import A2AError, InvalidAgentResponseError, ParseError
from ...protocol.operations import Operation
from ...protocol.sse import Event
from ...protocol.types import Message, SendMessageResponse, StreamResponse, Task
from ...protocol.v03 import V03, V03Codec
from . import answers

_OUR_TYPES = frozenset({"message", "error"})
_RPC_MEMBERS = frozenset({"result", "error"})
_UPDATES = frozenset(
    {"task", "message", "statusUpdate", "artifactUpdate", "status_update", "artifact_update"}
)
_BARE = ("status", "parts", "artifact")
"""Members, none of them text, of an event that stands without its wrapper."""
_QUICK = (SendMessageResponse, Task)
_WITHOUT = frozenset({"kind", *_BARE})


def quick_event(event: Event, binding: str) -> StreamResponse | None:
    """Return the ``StreamResponse`` in an ordinary event of 1.0, decoded once.

    ``None`` for whatever is not ordinary: ``event_of`` and ``stream_result_of`` look closer.
    """
    try:
        if binding == JSONRPC:
            envelope: Any = protojson.strict(event.data, _envelope(StreamResponse))
            response: StreamResponse | None = None if envelope is None else envelope.result
        else:
            response = protojson.strict(event.data, StreamResponse)
    except ParseError:
        return None
    if response is None or (
        response.artifact_update is None
        and response.status_update is None
        and response.task is None
        and response.message is None
    ):
        return None
    return response


def quick_result(operation: Operation, body: bytes, binding: str) -> Any:
    """Return the response in an ordinary answer of 1.0, decoded once; ``None`` for all others."""
    kind = operation.response
    if kind not in _QUICK:
        return None
    try:
        if binding == JSONRPC:
            envelope: Any = protojson.strict(body, _envelope(kind))
            response = None if envelope is None else envelope.result
        else:
            response = protojson.strict(body, kind)
    except ParseError:
        return None
    if kind is SendMessageResponse and response is not None and _is_empty(response):
        return None
    return response


@cache
def _envelope(kind: type) -> Any:
    """Return the type of a JSON-RPC answer whose result is a ``kind``, and that has no error."""
    return msgspec.defstruct(f"_{kind.__name__}", [("result", kind), ("jsonrpc", str)])


def event_of(event: Event, binding: str) -> bytes | None:
    """Return the result in an event of a stream, ``None`` for an event that is not A2A's.

    Servers send remarks between the events: ``event: ping``, ``data: [DONE]``, ``data: {}``.
    Raises the error that the event tells.
    """
    value = answers.plain(event.data)
    if not isinstance(value, dict):
        if event.type == "error":
            raise answers.http_error(event.data, 200, "A2A")
        if event.type == "message" and event.data.lstrip()[:1] == b"{":
            raise InvalidAgentResponseError("An event of the agent is broken JSON")
        return None
    members = value.keys()
    ours = event.type in _OUR_TYPES
    if binding == JSONRPC and members & _RPC_MEMBERS and (ours or "jsonrpc" in members):
        return answers.rpc_result(event.data, 200)
    if members & _UPDATES:
        return event.data
    if event.type == "error" or (ours and isinstance(value.get("error"), dict)):
        raise answers.rest_error(event.data, 200)
    if ours and any(isinstance(value.get(name), dict | list) for name in _BARE):
        return event.data
    return None


def result_of(operation: Operation, body: bytes, legacy: V03Codec | None) -> Any:
    """Return the response Struct of ``operation`` that ``body`` holds; ``legacy`` reads 0.3.

    Raises InvalidAgentResponseError where ``body`` holds none.
    """
    if legacy is not None:
        return legacy.response(operation, body)
    kind = operation.response
    if kind is None:
        return None
    try:
        response = protojson.decode(body, kind)
    except A2AError as error:
        if kind in (SendMessageResponse, StreamResponse, Task):
            with suppress(A2AError):
                return V03.response(operation, body)  # states in lower case, for one
        raise InvalidAgentResponseError(f"The agent's answer is not A2A 1.0: {error}") from error
    if kind in (SendMessageResponse, StreamResponse) and _is_empty(response):
        return _unwrapped(operation, body, kind)
    return response


def stream_result_of(operation: Operation, body: bytes, legacy: V03Codec | None) -> Any:
    """Return the ``StreamResponse`` in ``body``, ``None`` for a kind of event that is not known.

    Raises InvalidAgentResponseError where ``body`` is broken.
    """
    value = answers.plain(body)
    if legacy is None and isinstance(value, dict) and not value.keys() & (_UPDATES | _WITHOUT):
        return None
    return result_of(operation, body, legacy)


def _is_empty(response: Any) -> bool:
    return all(getattr(response, name) is None for name in response.__struct_fields__)


def _unwrapped(operation: Operation, body: bytes, kind: Any) -> Any:
    """Return a task or a message that came without the member around it."""
    value = answers.plain(body)
    members = value.keys() if isinstance(value, dict) else ()
    try:
        if "kind" in members:
            return V03.response(operation, body)
        if "status" in members and "id" in members:
            return kind(task=protojson.decode(body, Task))
        if "parts" in members:
            return kind(message=protojson.decode(body, Message))
    except A2AError as error:
        raise InvalidAgentResponseError(f"The agent's answer is not A2A 1.0: {error}") from error
    raise InvalidAgentResponseError("The agent's answer holds neither a task nor a message")
