"""The edges of 0.3: what its clients send, what is refused, what only one version can say."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.protocol import errors as e
from greenroom.protocol import operations as o
from greenroom.protocol import types as t
from greenroom.protocol.codec import HTTP_JSON
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.frame import Frame
from greenroom.protocol.v03 import V03, V03_REST, V03_REST_TEXT
from tests.protocol.strategies import VALUE

TEXT = {"kind": "text", "text": "hi"}


def message(**members: Any) -> dict[str, Any]:
    found = {"kind": "message", "messageId": "m", "role": "user", "parts": [TEXT], **members}
    return {name: value for name, value in found.items() if value is not ...}


def send(plain: Any, codec: Any = V03) -> t.SendMessageRequest:
    request = codec.decode(o.SEND, json.dumps(plain).encode())
    assert isinstance(request, t.SendMessageRequest)
    return request


def test_the_seam_finds_both_forms() -> None:
    assert codec_for("0.3") is V03
    assert codec_for("0.3", HTTP_JSON) is V03_REST
    assert V03.version == V03_REST.version == "0.3"


# --- sends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configuration", "waits"),
    [
        (None, True),
        ({}, True),
        ({"blocking": True}, True),
        ({"blocking": False}, False),
        ({"blocking": None, "acceptedOutputModes": ["text/plain"]}, True),
    ],
)
def test_a_json_rpc_send_waits_unless_told_not_to(configuration: Any, waits: bool) -> None:
    answer = send({"message": message(), "configuration": configuration}).configuration
    assert (answer is None or not answer.return_immediately) is waits


@pytest.mark.parametrize(
    ("configuration", "waits"), [(None, True), ({}, False), ({"blocking": True}, True)]
)
def test_a_rest_send_says_false_by_silence(configuration: Any, waits: bool) -> None:
    """Proto JSON leaves out what is false; the official clients send true when they wait."""
    plain = {"role": "ROLE_USER", "messageId": "m", "content": [{"text": "hi"}]}
    body: dict[str, Any] = {"message": plain}
    if configuration is not None:
        body["configuration"] = configuration
    answer = send(body, V03_REST).configuration
    assert (answer is None or not answer.return_immediately) is waits


@pytest.mark.parametrize(
    ("codec", "content"),
    [(V03, "AP8B"), (V03_REST, "AP8B"), (V03_REST_TEXT, "QVA4Qg==")],
    ids=["json-rpc", "rest", "rest-of-the-python-sdk"],
)
def test_either_codec_reads_what_the_rest_clients_send(codec: Any, content: str) -> None:
    answer = send(
        {
            "message": {
                "messageId": "m",
                "role": "ROLE_USER",
                "content": [
                    {"text": ""},
                    {"file": {"fileWithBytes": content, "mimeType": "a/b", "name": "n"}},
                    {"data": {"data": {"a": 1}}, "metadata": {"q": 1}},
                    {"file": {"fileWithUri": "http://x"}},
                ],
            },
            "configuration": {
                "blocking": True,
                "historyLength": "2",
                "pushNotification": {
                    "id": "",
                    "url": "http://h",
                    "authentication": {"schemes": ["Basic", "Bearer"], "credentials": "c"},
                },
            },
        },
        codec,
    )
    assert answer.message.parts == [
        t.Part(text=""),
        t.Part(raw=b"\x00\xff\x01", media_type="a/b", filename="n"),
        t.Part(data={"a": 1}, metadata={"q": 1}),
        t.Part(url="http://x"),
    ]
    assert answer.configuration == t.SendMessageConfiguration(
        history_length=2,
        task_push_notification_config=t.TaskPushNotificationConfig(
            url="http://h",
            authentication=t.AuthenticationInfo(scheme="Basic", credentials="c"),
        ),
    )


def test_leniency_is_that_of_proto_json() -> None:
    answer = send(
        {
            "message": {
                "message_id": "m",
                "role": 1,
                "context_id": "",
                "task_id": None,
                "parts": [
                    {"text": "", "metadata": None},
                    {"kind": "file", "file": {"bytes": "__8", "mime_type": "a/b"}},
                ],
                "reference_task_ids": ["r"],
                "unknown": {"x": 1},
            },
            "configuration": {"history_length": 3.0, "accepted_output_modes": None},
        }
    )
    assert answer.message == t.Message(
        message_id="m",
        role=t.Role.USER,
        parts=[t.Part(text=""), t.Part(raw=b"\xff\xff", media_type="a/b")],
        reference_task_ids=["r"],
    )
    assert answer.configuration is not None
    assert answer.configuration.history_length == 3


def test_history_length_zero_is_all_of_it() -> None:
    answer = send({"message": message(), "configuration": {"historyLength": 0}})
    assert answer.configuration is not None
    assert answer.configuration.history_length is None
    task = V03.decode(o.GET_TASK, b'{"id": "t", "historyLength": 0}')
    assert task == t.GetTaskRequest(id="t")


MALFORMED: list[tuple[str, Any, str]] = [
    ("no message", {}, "message"),
    ("message is null", {"message": None}, "message"),
    ("message is text", {"message": "hi"}, "message"),
    ("long id", {"message": message(messageId="x" * 300)}, "message.messageId"),
    ("raw and url", {"message": message(parts=[{"raw": "", "url": "u"}])}, "message.parts[0]"),
    ("raw and text", {"message": message(parts=[TEXT | {"raw": ""}])}, "message.parts[0]"),
    ("raw text", {"message": message(parts=[{"kind": "text", "raw": ""}])}, "message.parts[0]"),
    ("no base64 raw", {"message": message(parts=[{"raw": "%"}])}, "message.parts[0].raw"),
    ("no role", {"message": message(role=...)}, "message.role"),
    ("unknown role", {"message": message(role="system")}, "message.role"),
    ("role is a list", {"message": message(role=[])}, "message.role"),
    ("another kind", {"message": message(kind="task")}, "message.kind"),
    ("no parts", {"message": message(parts=...)}, "message.parts"),
    ("empty parts", {"message": message(parts=[])}, "message.parts"),
    ("empty part", {"message": message(parts=[{}])}, "message.parts[0]"),
    ("two contents", {"message": message(parts=[TEXT | {"data": {}}])}, "message.parts[0]"),
    ("kind alone", {"message": message(parts=[TEXT, {"kind": "data"}])}, "message.parts[1]"),
    ("kind lies", {"message": message(parts=[TEXT | {"kind": "file"}])}, "message.parts[0].file"),
    ("odd kind", {"message": message(parts=[TEXT | {"kind": "form"}])}, "message.parts[0]"),
    ("text is a number", {"message": message(parts=[{"text": 1}])}, "message.parts[0].text"),
    (
        "data is a list",
        {"message": message(parts=[{"kind": "data", "data": []}])},
        "message.parts[0].data",
    ),
    ("empty file", {"message": message(parts=[{"file": {}}])}, "message.parts[0].file"),
    (
        "file twice",
        {"message": message(parts=[{"file": {"bytes": "", "uri": "u"}}])},
        "message.parts[0].file",
    ),
    (
        "no base64",
        {"message": message(parts=[{"file": {"bytes": "%%"}}])},
        "message.parts[0].file.bytes",
    ),
    (
        "negative history",
        {"message": message(), "configuration": {"historyLength": -1}},
        "configuration.historyLength",
    ),
    (
        "blocking is text",
        {"message": message(), "configuration": {"blocking": "yes"}},
        "configuration.blocking",
    ),
    (
        "webhook without url",
        {"message": message(), "configuration": {"pushNotificationConfig": {}}},
        "configuration.taskPushNotificationConfig.url",
    ),
    ("metadata is a list", {"message": message(metadata=[])}, "message.metadata"),
    ("params is a list", [], ""),
]


@pytest.mark.parametrize(
    ("plain", "path"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
def test_malformed_sends_are_told_where(plain: Any, path: str) -> None:
    with pytest.raises(e.InvalidParamsError) as caught:
        send(plain)
    assert [field for field, _ in caught.value.violations] == ([path] if path else [])


@settings(max_examples=300)
@given(
    noise=VALUE,
    where=st.sampled_from(
        ["message", "configuration", "parts", "role", "kind", "part", "file", "data", "metadata"]
    ),
    operation=st.sampled_from(o.OPERATIONS),
)
def test_nothing_but_the_protocols_errors_comes_out(
    noise: Any, where: str, operation: o.Operation
) -> None:
    plain: dict[str, Any] = {"message": message(), "id": "t", "taskId": "t"}
    if where in ("message", "configuration"):
        plain[where] = noise
    elif where == "part":
        plain["message"]["parts"] = [noise]
    elif where in ("file", "data"):
        plain["message"]["parts"] = [{"kind": where, where: noise}]
    else:
        plain["message"][where] = noise
    for codec in (V03, V03_REST):
        for body in (plain, noise):
            with suppress(e.InvalidParamsError, e.ParseError):
                codec.decode(operation, json.dumps(body).encode())
            with suppress(e.InvalidAgentResponseError):
                codec.response(operation, json.dumps(body).encode())


# --- requests that name a task -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "plain", "expected"),
    [
        (o.GET_TASK, {"id": "t", "historyLength": 2}, t.GetTaskRequest(id="t", history_length=2)),
        (o.CANCEL, {"name": "tasks/t"}, t.CancelTaskRequest(id="t")),
        (o.CANCEL, {"id": "t"}, t.CancelTaskRequest(id="t")),
        (o.SUBSCRIBE, {"id": "t"}, t.SubscribeToTaskRequest(id="t")),
        (
            o.GET_PUSH,
            {"id": "t", "pushNotificationConfigId": "c"},
            t.GetTaskPushNotificationConfigRequest(task_id="t", id="c"),
        ),
        (
            o.GET_PUSH,
            {"id": "t"},
            t.GetTaskPushNotificationConfigRequest(task_id="t", id=""),
        ),
        (
            o.DELETE_PUSH,
            {"name": "tasks/t/pushNotificationConfigs/c"},
            t.DeleteTaskPushNotificationConfigRequest(task_id="t", id="c"),
        ),
        (o.LIST_PUSH, {"parent": "tasks/t"}, t.ListTaskPushNotificationConfigsRequest(task_id="t")),
    ],
)
def test_requests_that_name_a_task(operation: o.Operation, plain: Any, expected: t.Wire) -> None:
    assert V03.decode(operation, json.dumps(plain).encode()) == expected


@pytest.mark.parametrize(
    "plain",
    [
        {"taskId": "T", "pushNotificationConfig": {"url": "http://h", "id": "p"}},
        {"name": "tasks/T/pushNotificationConfigs/p"}
        | {"pushNotificationConfig": {"url": "http://h", "id": "p"}},
        {
            "parent": "tasks/T",
            "configId": "p",
            "config": {
                "name": "tasks/T/pushNotificationConfigs/None",
                "pushNotificationConfig": {"url": "http://h"},
            },
        },
    ],
    ids=["json-rpc", "javascript rest", "python rest"],
)
def test_push_configurations_arrive_bare_and_wrapped(plain: Any) -> None:
    expected = t.TaskPushNotificationConfig(url="http://h", id="p", task_id="T")
    body = json.dumps(plain).encode()
    assert V03.decode(o.CREATE_PUSH, body) == expected
    assert V03_REST.decode(o.CREATE_PUSH, body, {"task_id": "T"}) == expected
    with pytest.raises(e.InvalidParamsError):
        V03_REST.decode(o.CREATE_PUSH, body, {"task_id": "another"})


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (o.GET_TASK, b"{}"),
        (o.CANCEL, b'{"id": ""}'),
        (o.SUBSCRIBE, b'{"id": null}'),
        (o.GET_PUSH, b"{}"),
        (o.DELETE_PUSH, b'{"id": "t"}'),
        (o.LIST_PUSH, b'{"name": "nonsense"}'),
        (o.CREATE_PUSH, b'{"taskId": "t"}'),
        (o.CREATE_PUSH, b'{"taskId": "t", "pushNotificationConfig": {}}'),
        (o.GET_TASK, b'{"id": "t", "historyLength": -1}'),
    ],
)
def test_what_is_missing_is_said(operation: o.Operation, body: bytes) -> None:
    with pytest.raises(e.InvalidParamsError) as caught:
        V03.decode(operation, body)
    assert caught.value.violations


# --- answers and events --------------------------------------------------------------------------


def event(state: t.TaskState) -> Frame:
    status = t.TaskStatus(state=state)
    update = t.TaskStatusUpdateEvent(task_id="t", context_id="c", status=status)
    return Frame(3, response=t.StreamResponse(status_update=update))


@pytest.mark.parametrize("state", list(t.TaskState))
def test_final_is_where_the_stream_of_a_send_ends(state: t.TaskState) -> None:
    ends = state.terminal or state is t.TaskState.INPUT_REQUIRED
    assert json.loads(V03.frame(event(state)))["final"] is ends
    assert json.loads(V03_REST.frame(event(state)))["statusUpdate"]["final"] is ends


def test_states_have_their_old_names() -> None:
    names = [json.loads(V03.frame(event(state)))["status"]["state"] for state in t.TaskState]
    assert names == [
        "unknown", "submitted", "working", "completed", "failed", "canceled", "input-required",
        "rejected", "auth-required",
    ]  # fmt: skip
    written = json.loads(V03_REST.frame(event(t.TaskState.CANCELED)))
    assert written["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELLED"


def test_an_event_is_encoded_once_per_form() -> None:
    frame = event(t.TaskState.WORKING)
    assert V03.frame(frame) is V03.frame(frame)
    assert V03_REST.frame(frame) is V03_REST.frame(frame)
    assert V03.frame(frame) != V03_REST.frame(frame)


def test_answers_are_bare_in_json_rpc_and_wrapped_in_rest() -> None:
    task = t.Task(id="t", status=t.TaskStatus(state=t.TaskState.WORKING), generation=7)
    bare = {"kind": "task", "id": "t", "contextId": "", "status": {"state": "working"}}
    proto = {"id": "t", "contextId": "", "status": {"state": "TASK_STATE_WORKING"}}
    answer = t.SendMessageResponse(task=task)
    assert json.loads(V03.encode(o.SEND, answer)) == bare
    assert json.loads(V03_REST.encode(o.SEND, answer)) == {"task": proto}
    page = t.ListTasksResponse(tasks=[task], next_page_token="", page_size=50, total_size=1)
    assert json.loads(V03_REST.encode(o.LIST_TASKS, page)) == [proto]
    assert V03.encode(o.DELETE_PUSH, None) == b"null"
    assert V03_REST.encode(o.DELETE_PUSH, None) == b"{}"


def test_required_members_are_written_even_when_empty() -> None:
    artifact = t.Artifact(artifact_id="", parts=[])
    task = t.Task(id="t", status=t.TaskStatus(state=t.TaskState.UNSPECIFIED), artifacts=[artifact])
    written = json.loads(V03.encode(o.GET_TASK, task))
    assert written["status"] == {"state": "unknown"}
    assert written["artifacts"] == [{"artifactId": "", "parts": []}]


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", [], [{"a": 1}]])
def test_data_that_is_no_object_is_wrapped_as_the_official_sdk_does(value: Any) -> None:
    part = t.Part(data=value, metadata={"k": 1})
    response = t.StreamResponse(message=t.Message(message_id="m", role=t.Role.AGENT, parts=[part]))
    written = json.loads(V03.frame(Frame(0, response=response)))["parts"]
    assert written == [
        {"kind": "data", "data": {"value": value}, "metadata": {"k": 1, "data_part_compat": True}}
    ]
    assert send({"message": message(parts=written)}).message.parts == [part]


def test_metadata_that_only_looks_like_ours_is_the_users() -> None:
    plain = {"kind": "data", "data": {"a": 1}, "metadata": {"data_part_compat": True}}
    odd = TEXT | {"metadata": {"part_compat": "mine", "data_part_compat": True}}
    parts = send({"message": message(parts=[plain, odd])}).message.parts
    assert parts[0].data == {"a": 1}
    assert [part.metadata for part in parts] == [plain["metadata"], odd["metadata"]]


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (e.ParseError, -32700),
        (e.InvalidRequestError, -32600),
        (e.MethodNotFoundError, -32601),
        (e.InvalidParamsError, -32602),
        (e.InternalError, -32603),
        (e.TaskNotFoundError, -32001),
        (e.TaskNotCancelableError, -32002),
        (e.PushNotificationNotSupportedError, -32003),
        (e.UnsupportedOperationError, -32004),
        (e.ContentTypeNotSupportedError, -32005),
        (e.InvalidAgentResponseError, -32006),
        (e.ExtendedAgentCardNotConfiguredError, -32007),
        (e.ExtensionSupportRequiredError, -32010),
        (e.VersionNotSupportedError, -32009),
        (e.TaskGenerationMismatchError, -32004),
    ],
)
def test_codes(error: type[e.A2AError], code: int) -> None:
    error_body = V03.error(error("what happened"))
    assert (error_body["code"], error_body["message"]) == (code, "what happened")
    # REST clients of 0.3 read a top-level `code` (JavaScript) or `message` (Python)
    assert json.loads(V03_REST.status(error("what happened"))) == error_body
