"""The codec of 1.0 and 1.1: fields from the path, generations, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.protocol import errors as e
from greenroom.protocol import operations as o
from greenroom.protocol import types as t
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.frame import Frame

V10, V11 = codec_for("1.0"), codec_for("1.1")
TASK = t.Task(id="t", context_id="c", status=t.TaskStatus(state=t.TaskState.WORKING), generation=7)
BARE = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
FULL = BARE | {"generation": 7}
PAGE = t.ListTasksResponse(tasks=[TASK], next_page_token="", page_size=1, total_size=1)


def test_path_fields_are_set_where_the_body_leaves_them_out() -> None:
    request = V10.decode(o.CANCEL, b'{"metadata":{"a":1}}', {"id": "x", "tenant": "acme"})
    assert request == t.CancelTaskRequest(id="x", tenant="acme", metadata={"a": 1})


def test_path_fields_may_be_repeated_in_the_body() -> None:
    body = b'{"taskId":"t","url":"https://e.com"}'
    assert V10.decode(o.CREATE_PUSH, body, {"task_id": "t"}).task_id == "t"


def test_a_body_that_contradicts_the_path_is_refused() -> None:
    with pytest.raises(e.InvalidParamsError) as caught:
        V10.decode(o.CREATE_PUSH, b'{"taskId":"u","url":"https://e.com"}', {"task_id": "t"})
    assert [path for path, _ in caught.value.violations] == ["taskId"]


@pytest.mark.parametrize(
    ("operation", "response", "under_10", "under_11"),
    [
        (o.GET_TASK, TASK, BARE, FULL),
        (o.CANCEL, TASK, BARE, FULL),
        (o.SEND, t.SendMessageResponse(task=TASK), {"task": BARE}, {"task": FULL}),
        (
            o.LIST_TASKS,
            PAGE,
            {"tasks": [BARE], "nextPageToken": "", "pageSize": 1, "totalSize": 1},
            {"tasks": [FULL], "nextPageToken": "", "pageSize": 1, "totalSize": 1},
        ),
        (o.DELETE_PUSH, None, {}, {}),
    ],
)
def test_generations_are_written_under_1_1_only(
    operation: o.Operation, response: Any, under_10: Any, under_11: Any
) -> None:
    assert json.loads(V10.encode(operation, response)) == under_10
    assert json.loads(V11.encode(operation, response)) == under_11


EVENTS = [
    t.StreamResponse(task=t.Task(id="t", status=t.TaskStatus(state=t.TaskState.SUBMITTED))),
    t.StreamResponse(
        status_update=t.TaskStatusUpdateEvent(
            task_id="t", context_id="c", status=t.TaskStatus(state=t.TaskState.WORKING)
        )
    ),
    t.StreamResponse(
        artifact_update=t.TaskArtifactUpdateEvent(
            task_id="t",
            context_id="c",
            artifact=t.Artifact(artifact_id="a", parts=[t.Part(data={"}}": "}}"})]),
            metadata={"last": {}},
        )
    ),
]


@pytest.mark.parametrize("response", EVENTS)
def test_events_carry_their_generation_under_1_1_and_nothing_more_under_1_0(
    response: t.StreamResponse,
) -> None:
    frame = Frame(9, response=response)
    bare = json.loads(V10.frame(frame))
    [member] = bare
    assert "generation" not in bare[member]
    assert json.loads(V11.frame(frame)) == {member: bare[member] | {"generation": 9}}
    assert V11.frame(frame) is V11.frame(frame), "encoded once, however many listen"


def test_a_direct_message_has_no_generation() -> None:
    message = t.Message(message_id="m", role=t.Role.AGENT, parts=[t.Part(text="hi")])
    frame = Frame(0, response=t.StreamResponse(message=message))
    assert V11.frame(frame) == V10.frame(frame)


@pytest.mark.parametrize("codec", [V10, V11])
def test_the_inputs_of_1_1_are_honoured_under_1_0_too(codec: Any) -> None:
    # As in the example of section 3.2.7 of the 1.1 draft, which names version 1.0.
    request = codec.decode(o.GET_TASK, b'{"id":"x","currentGeneration":3}')
    assert request.current_generation == 3


def test_an_invalid_parameter_is_told_as_in_section_9_5() -> None:
    with pytest.raises(e.InvalidParamsError) as caught:
        V10.decode(o.SEND, b'{"message":{"messageId":"m","role":"ROLE_USER"}}')
    error_body = V10.error(caught.value)
    assert error_body["code"] == -32602
    assert error_body["message"].startswith("Invalid parameters")
    reason, detail = error_body["data"]
    assert reason["reason"] == "INVALID_PARAMS", "clients of REST look for a reason"
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    [violation] = detail["fieldViolations"]
    assert violation == {"field": "message.parts", "description": "must have at least one part"}


# Section 5.4 and 9.5, and -32010 of the 1.1 draft.
CODES = [
    (e.ParseError, -32700, 400, ""),
    (e.InvalidRequestError, -32600, 400, ""),
    (e.MethodNotFoundError, -32601, 404, ""),
    (e.InvalidParamsError, -32602, 400, "INVALID_PARAMS"),
    (e.InternalError, -32603, 500, ""),
    (e.TaskNotFoundError, -32001, 404, "TASK_NOT_FOUND"),
    (e.TaskNotCancelableError, -32002, 400, "TASK_NOT_CANCELABLE"),
    (e.PushNotificationNotSupportedError, -32003, 400, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
    (e.UnsupportedOperationError, -32004, 400, "UNSUPPORTED_OPERATION"),
    (e.ContentTypeNotSupportedError, -32005, 400, "CONTENT_TYPE_NOT_SUPPORTED"),
    (e.InvalidAgentResponseError, -32006, 500, "INVALID_AGENT_RESPONSE"),
    (e.ExtendedAgentCardNotConfiguredError, -32007, 400, "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
    (e.ExtensionSupportRequiredError, -32008, 400, "EXTENSION_SUPPORT_REQUIRED"),
    (e.VersionNotSupportedError, -32009, 400, "VERSION_NOT_SUPPORTED"),
    (e.TaskGenerationMismatchError, -32010, 409, "TASK_GENERATION_MISMATCH"),
]


@pytest.mark.parametrize(("kind", "code", "http", "reason"), CODES)
def test_the_table_of_errors(kind: type[e.A2AError], code: int, http: int, reason: str) -> None:
    fault = kind("What happened")
    rpc = V10.error(fault)
    assert (rpc["code"], rpc["message"]) == (code, "What happened")
    rest = json.loads(V10.status(fault))["error"]
    assert (rest["code"], rest["status"], rest["message"]) == (http, kind.grpc, "What happened")
    if not reason:
        assert "data" not in rpc
        assert "details" not in rest
        return
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "a2a-protocol.org",
    }
    assert rpc["data"] == rest["details"] == [detail]


def test_the_metadata_of_an_error_is_told_and_nothing_else() -> None:
    fault = e.TaskNotFoundError(taskId="t")
    fault.__cause__ = RuntimeError("secret")
    assert json.loads(V10.status(fault)) == {
        "error": {
            "code": 404,
            "status": "NOT_FOUND",
            "message": "Task not found",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "TASK_NOT_FOUND",
                    "domain": "a2a-protocol.org",
                    "metadata": {"taskId": "t"},
                }
            ],
        }
    }


def test_every_class_of_errors_is_in_the_table_once() -> None:
    assert len(set(e.ERRORS)) == len(e.ERRORS)
    assert {kind.code for kind in e.ERRORS if kind.code != -32603 or kind is e.InternalError}
    assert {row[0] for row in CODES} <= set(e.ERRORS)
