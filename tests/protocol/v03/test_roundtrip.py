"""What the 1.0 model can say goes through 0.3, in either of its forms, and comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from msgspec import structs

from greenroom.protocol import operations as o
from greenroom.protocol import types as t
from greenroom.protocol.frame import Frame
from greenroom.protocol.v03 import V03, V03_REST, V03Codec
from tests.protocol.strategies import EVENTS, PARTS, PUSH, SENDS, TASKS

CODECS = pytest.mark.parametrize("codec", [V03, V03_REST], ids=["json-rpc", "rest"])


def without_references(value: t.Wire, codec: V03Codec) -> t.Wire:
    """The proto form has no ``referenceTaskIds``."""
    if codec is V03 or not isinstance(value, t.Wire):
        return value
    changes: dict[str, Any] = {}
    for name in value.__struct_fields__:
        found = getattr(value, name)
        if name == "reference_task_ids":
            changes[name] = None
        elif isinstance(found, list):
            changes[name] = [without_references(one, codec) for one in found]
        elif isinstance(found, t.Wire):
            changes[name] = without_references(found, codec)
    return structs.replace(value, **changes)


@CODECS
@settings(max_examples=60)
@given(event=EVENTS)
def test_events(codec: V03Codec, event: t.StreamResponse) -> None:
    written = codec.frame(Frame(1, response=event))
    assert codec.response(o.STREAM, written) == without_references(event, codec)


@CODECS
@settings(max_examples=40)
@given(task=TASKS)
def test_tasks(codec: V03Codec, task: t.Task) -> None:
    assert codec.response(o.GET_TASK, codec.encode(o.GET_TASK, task)) == without_references(
        task, codec
    )
    both = t.SendMessageResponse(task=task)
    assert codec.response(o.SEND, codec.encode(o.SEND, both)) == without_references(both, codec)


@CODECS
@settings(max_examples=40)
@given(request=SENDS)
def test_sends(codec: V03Codec, request: t.SendMessageRequest) -> None:
    decoded = codec.decode(o.SEND, codec.request(o.SEND, request))
    if request.configuration is None and codec is V03_REST:
        # absent is not sent, for servers would take it for "at once"
        assert decoded.configuration == t.SendMessageConfiguration()
        decoded = structs.replace(decoded, configuration=None)
    assert decoded == without_references(request, codec)


@CODECS
@given(config=PUSH)
def test_push_configurations(codec: V03Codec, config: t.TaskPushNotificationConfig) -> None:
    assert codec.decode(o.CREATE_PUSH, codec.request(o.CREATE_PUSH, config)) == config
    assert codec.response(o.GET_PUSH, codec.encode(o.GET_PUSH, config)) == config
    several = t.ListTaskPushNotificationConfigsResponse(configs=[config, config])
    assert codec.response(o.LIST_PUSH, codec.encode(o.LIST_PUSH, several)) == several


@settings(max_examples=60)
@given(part=PARTS)
def test_a_part_read_by_one_form_is_said_by_the_other(part: t.Part) -> None:
    event = t.StreamResponse(message=t.Message(message_id="m", role=t.Role.AGENT, parts=[part]))
    there = V03.response(o.STREAM, V03.frame(Frame(0, response=event)))
    assert V03_REST.response(o.STREAM, V03_REST.frame(Frame(0, response=there))) == event


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (o.GET_TASK, t.GetTaskRequest(id="t", history_length=3)),
        (o.CANCEL, t.CancelTaskRequest(id="t", metadata={"why": "enough"})),
        (o.SUBSCRIBE, t.SubscribeToTaskRequest(id="t")),
        (o.GET_PUSH, t.GetTaskPushNotificationConfigRequest(task_id="t", id="c")),
        (o.DELETE_PUSH, t.DeleteTaskPushNotificationConfigRequest(task_id="t", id="c")),
        (o.LIST_PUSH, t.ListTaskPushNotificationConfigsRequest(task_id="t")),
        (o.EXTENDED_CARD, t.GetExtendedAgentCardRequest()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_other_requests(operation: o.Operation, request_: t.Wire) -> None:
    assert V03.decode(operation, V03.request(operation, request_)) == request_


def test_usual_media_types_need_no_words() -> None:
    """A text part is text/plain anyway: nothing is put into its metadata to say so."""
    parts = [
        t.Part(text="x", media_type="text/plain"),
        t.Part(data={}, media_type="application/json"),
    ]
    event = t.StreamResponse(message=t.Message(message_id="m", role=t.Role.USER, parts=parts))
    assert json.loads(V03.frame(Frame(0, response=event)))["parts"] == [
        {"kind": "text", "text": "x"},
        {"kind": "data", "data": {}},
    ]
