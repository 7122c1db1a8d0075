"""The rules of section 5.7 on requests, through the codec that peers meet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.protocol import operations as o
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.errors import InvalidParamsError
from greenroom.protocol.operations import Operation

V1 = codec_for("1.0")
HI = {"text": "hi"}
MESSAGE: dict[str, Any] = {"messageId": "m", "role": "ROLE_USER", "parts": [HI]}
LONG = "x" * 257


def decode(operation: Operation, request: Any) -> Any:
    return V1.decode(operation, json.dumps(request).encode())


def message(**changes: Any) -> dict[str, Any]:
    whole = {name: value for name, value in (MESSAGE | changes).items() if value is not ...}
    return {"message": whole}


def configured(**configuration: Any) -> dict[str, Any]:
    return message() | {"configuration": configuration}


VALID: list[tuple[Operation, Any]] = [
    (o.SEND, message()),
    (o.SEND, message(role="ROLE_AGENT")),
    (o.SEND, message(taskId="", contextId="", referenceTaskIds=[])),
    (o.SEND, message(messageId="x" * 256)),
    (o.SEND, message(parts=[HI, {"raw": ""}, {"url": "https://e.com"}, {"data": None}])),
    (o.SEND, configured(historyLength=0)),
    (o.SEND, configured(historyLength=2**31 - 1)),
    (o.SEND, configured(ifGenerationMatch=2**63 - 1)),
    (o.SEND, configured(taskPushNotificationConfig={"url": "https://e.com"})),
    (o.GET_TASK, {"id": "x", "historyLength": 0, "currentGeneration": "3"}),
    (o.LIST_TASKS, {}),
    (o.LIST_TASKS, {"pageSize": 1}),
    (o.LIST_TASKS, {"pageSize": 100, "status": "TASK_STATE_UNSPECIFIED"}),
    (o.LIST_TASKS, {"statusTimestampAfter": "2025-10-28T10:30:00Z"}),
    (o.LIST_TASKS, {"statusTimestampAfter": "2025-10-28T10:30:00.123456789Z"}),
    (o.LIST_TASKS, {"statusTimestampAfter": "2025-10-28T12:30:00+02:00"}),
    (o.CANCEL, {"id": "x", "metadata": {"why": None}}),
    (o.CREATE_PUSH, {"taskId": "t", "url": "https://e.com", "authentication": {"scheme": "Basic"}}),
    (o.LIST_PUSH, {"taskId": "t", "pageSize": 0}),
    (o.EXTENDED_CARD, {}),
]


@pytest.mark.parametrize(("operation", "request_"), VALID)
def test_what_the_specification_allows_is_taken(operation: Operation, request_: Any) -> None:
    assert isinstance(decode(operation, request_), operation.request)


INVALID: list[tuple[Operation, Any, str]] = [
    (o.SEND, message(messageId=...), "message.messageId"),
    (o.SEND, message(messageId=""), "message.messageId"),
    (o.SEND, message(messageId=LONG), "message.messageId"),
    (o.SEND, message(messageId="a\0b"), "message.messageId"),
    (o.SEND, message(role=...), "message.role"),
    (o.SEND, message(role="ROLE_UNSPECIFIED"), "message.role"),
    (o.SEND, message(role=0), "message.role"),
    (o.SEND, message(parts=...), "message.parts"),
    (o.SEND, message(parts=[]), "message.parts"),
    (o.SEND, message(parts=None), "message.parts"),
    (o.SEND, message(parts=[HI, {}]), "message.parts[1]"),
    (o.SEND, message(parts=[{"metadata": {"text": "no"}}]), "message.parts[0]"),
    (o.SEND, message(parts=[{"text": "a", "url": "b"}]), "message.parts[0]"),
    (o.SEND, message(parts=[{"text": "", "data": {}}]), "message.parts[0]"),
    (o.SEND, message(parts=[{"raw": "", "data": False}]), "message.parts[0]"),
    (o.SEND, message(taskId=LONG), "message.taskId"),
    (o.SEND, message(contextId=LONG), "message.contextId"),
    (o.SEND, message(referenceTaskIds=["t", ""]), "message.referenceTaskIds[1]"),
    (o.SEND, configured(historyLength=-1), "configuration.historyLength"),
    (o.SEND, configured(historyLength=2**31), "configuration.historyLength"),
    (o.SEND, configured(historyLength=10**30), "configuration.historyLength"),
    (o.SEND, configured(ifGenerationMatch=-1), "configuration.ifGenerationMatch"),
    (o.SEND, configured(ifGenerationMatch=2**63), "configuration.ifGenerationMatch"),
    (
        o.SEND,
        configured(taskPushNotificationConfig={}),
        "configuration.taskPushNotificationConfig.url",
    ),
    (
        o.SEND,
        configured(taskPushNotificationConfig={"url": "u", "authentication": {}}),
        "configuration.taskPushNotificationConfig.authentication.scheme",
    ),
    (o.STREAM, message(parts=[]), "message.parts"),
    (o.GET_TASK, {}, "id"),
    (o.GET_TASK, {"id": ""}, "id"),
    (o.GET_TASK, {"id": LONG}, "id"),
    (o.GET_TASK, {"id": "x", "historyLength": -5}, "historyLength"),
    (o.GET_TASK, {"id": "x", "currentGeneration": -1}, "currentGeneration"),
    (o.LIST_TASKS, {"pageSize": 0}, "pageSize"),
    (o.LIST_TASKS, {"pageSize": 101}, "pageSize"),
    (o.LIST_TASKS, {"pageSize": -1}, "pageSize"),
    (o.LIST_TASKS, {"historyLength": -1}, "historyLength"),
    (o.LIST_TASKS, {"contextId": LONG}, "contextId"),
    (o.LIST_TASKS, {"status": "TASK_STATE_RUNNING"}, "status"),
    (o.LIST_TASKS, {"statusTimestampAfter": "yesterday"}, "statusTimestampAfter"),
    (o.LIST_TASKS, {"statusTimestampAfter": "2025-10-28T10:30:00"}, "statusTimestampAfter"),
    (o.LIST_TASKS, {"statusTimestampAfter": "2025-13-28T10:30:00Z"}, "statusTimestampAfter"),
    (o.CANCEL, {}, "id"),
    (o.SUBSCRIBE, {}, "id"),
    (o.CREATE_PUSH, {"url": "https://e.com"}, "taskId"),
    (o.CREATE_PUSH, {"taskId": "t"}, "url"),
    (o.CREATE_PUSH, {"taskId": "t", "url": "u", "id": LONG}, "id"),
    (o.GET_PUSH, {"taskId": "t"}, "id"),
    (o.GET_PUSH, {"id": "c"}, "taskId"),
    (o.DELETE_PUSH, {"taskId": "t"}, "id"),
    (o.DELETE_PUSH, {"id": "c"}, "taskId"),
    (o.LIST_PUSH, {}, "taskId"),
    (o.LIST_PUSH, {"taskId": "t", "pageSize": -1}, "pageSize"),
]


@pytest.mark.parametrize(("operation", "request_", "path"), INVALID)
def test_what_it_forbids_is_refused_with_its_path(
    operation: Operation, request_: Any, path: str
) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        decode(operation, request_)
    assert [found for found, _ in caught.value.violations] == [path]


def test_all_faults_of_the_example_in_section_6_5_are_told() -> None:
    with pytest.raises(InvalidParamsError) as caught:
        decode(o.LIST_TASKS, {"pageSize": 150, "historyLength": -5})
    assert [path for path, _ in caught.value.violations] == ["pageSize", "historyLength"]


def test_of_many_faults_the_first_are_told() -> None:
    with pytest.raises(InvalidParamsError) as caught:
        decode(o.SEND, message(parts=[{}] * 1000))
    assert [path for path, _ in caught.value.violations] == [
        f"message.parts[{index}]" for index in range(20)
    ]


def test_empty_optional_ids_are_absent() -> None:
    request = decode(o.SEND, message(taskId="", contextId=""))
    assert request.message.task_id is None
    assert request.message.context_id is None
