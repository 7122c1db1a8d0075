"""What the reader takes beside strict JSON of the types, and how it refuses the rest."""

from __future__ import annotations

import json as stdlib
from typing import Any

import pytest
from msgspec import UNSET

from greenroom.protocol import protojson
from greenroom.protocol import types as t
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.errors import InvalidParamsError, ParseError
from greenroom.protocol.operations import SEND


def send(**message: Any) -> bytes:
    whole = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]} | message
    return stdlib.dumps({"message": whole}).encode()


PLAIN = protojson.decode(send(), t.SendMessageRequest)


def test_ordinary_json_takes_the_strict_way() -> None:
    assert protojson.strict(send(), t.SendMessageRequest) == PLAIN
    assert PLAIN.message.text == "hi"


@pytest.mark.parametrize(
    ("body", "same_as"),
    [
        (b'{"id":"x","historyLength":"10"}', b'{"id":"x","historyLength":10}'),
        (b'{"id":"x","historyLength":10.0}', b'{"id":"x","historyLength":10}'),
        (b'{"id":"x","historyLength":1e1}', b'{"id":"x","historyLength":10}'),
        (b'{"id":"x","historyLength":"1e1"}', b'{"id":"x","historyLength":10}'),
        (b'{"id":"x","history_length":10}', b'{"id":"x","historyLength":10}'),
        (b'{"id":"x","historyLength":null,"tenant":null}', b'{"id":"x"}'),
        (b'{"id":"x","tenant":""}', b'{"id":"x"}'),
        (b'{"id":"x","unknown":{"a":[1]},"_":1}', b'{"id":"x"}'),
        (b'{"id":"a","id":"x"}', b'{"id":"x"}'),
        (
            b'{"id":"x","currentGeneration":"9007199254740993"}',
            b'{"id":"x","currentGeneration":9007199254740993}',
        ),
    ],
)
def test_the_lenient_forms_of_protojson_are_read(body: bytes, same_as: bytes) -> None:
    assert protojson.decode(body, t.GetTaskRequest) == protojson.decode(same_as, t.GetTaskRequest)


def test_zero_false_and_absent_differ() -> None:
    assert protojson.decode(b'{"id":"x","historyLength":0}', t.GetTaskRequest).history_length == 0
    assert protojson.decode(b'{"id":"x"}', t.GetTaskRequest).history_length is None
    assert (
        protojson.decode(b'{"includeArtifacts":false}', t.ListTasksRequest).include_artifacts
        is False
    )
    assert protojson.decode(b"{}", t.ListTasksRequest).include_artifacts is None


@pytest.mark.parametrize("state", [b"3", b"3.0", b'"TASK_STATE_COMPLETED"'])
def test_enums_are_read_by_name_and_by_number(state: bytes) -> None:
    request = protojson.decode(b'{"status":%b}' % state, t.ListTasksRequest)
    assert request.status is t.TaskState.COMPLETED


@pytest.mark.parametrize("state", [b"0", b'"TASK_STATE_UNSPECIFIED"', b'""', b"null"])
def test_an_unspecified_enum_is_absent_where_it_may_be(state: bytes) -> None:
    assert protojson.lenient(b'{"status":%b}' % state, t.ListTasksRequest) == t.ListTasksRequest()


@pytest.mark.parametrize("text", ["+/+/", "-_-_", "+_-/"])
def test_base64_is_read_in_both_alphabets(text: str) -> None:
    message = protojson.decode(send(parts=[{"raw": text}]), t.SendMessageRequest).message
    assert message.parts[0].raw == b"\xfb\xff\xbf"


@pytest.mark.parametrize("text", ["aGk=", "aGk", "aGk=="])
def test_base64_is_read_with_and_without_padding(text: str) -> None:
    message = protojson.decode(send(parts=[{"raw": text}]), t.SendMessageRequest).message
    assert message.parts[0].raw == b"hi"


def test_snake_case_names_are_read_at_every_depth() -> None:
    body = (
        b'{"message":{"message_id":"m","task_id":"t","context_id":"c","role":"ROLE_USER",'
        b'"reference_task_ids":["r"],"parts":[{"text":"hi","media_type":"text/plain"}]},'
        b'"configuration":{"accepted_output_modes":["a/b"],"return_immediately":true,'
        b'"task_push_notification_config":{"url":"https://example.com"}}}'
    )
    camel = (
        b'{"message":{"messageId":"m","taskId":"t","contextId":"c","role":"ROLE_USER",'
        b'"referenceTaskIds":["r"],"parts":[{"text":"hi","mediaType":"text/plain"}]},'
        b'"configuration":{"acceptedOutputModes":["a/b"],"returnImmediately":true,'
        b'"taskPushNotificationConfig":{"url":"https://example.com"}}}'
    )
    assert protojson.decode(body, t.SendMessageRequest) == protojson.strict(
        camel, t.SendMessageRequest
    )


USERS_OWN: dict[str, Any] = {
    "task_id": "not ours",
    "empty": "",
    "none": None,
    "float": 1.0,
    "big": 2**80,
    "nested": [{"message_id": [None, "", {}]}],
}


def test_the_users_own_json_is_never_touched() -> None:
    body = send(metadata=USERS_OWN, parts=[{"data": USERS_OWN, "metadata": USERS_OWN}])
    read = protojson.lenient(body, t.SendMessageRequest)
    assert protojson.strict(body, t.SendMessageRequest) is None, "the names are there: look closer"
    assert read.message.metadata == USERS_OWN
    assert read.message.parts[0].data == USERS_OWN
    assert read.message.parts[0].metadata == USERS_OWN
    back = stdlib.loads(protojson.encode(read))
    assert back["message"]["parts"][0]["data"] == USERS_OWN


@pytest.mark.parametrize("data", [None, 0, "", False, [], {}, "x", 1.5])
def test_any_json_value_is_data_null_included(data: Any) -> None:
    part = protojson.decode(stdlib.dumps({"data": data}).encode(), t.Part)
    assert part.data == data
    assert stdlib.loads(protojson.encode(part)) == {"data": data}


def test_data_null_beside_another_member_is_absent() -> None:
    part = protojson.lenient(b'{"text":"hi","raw":null,"url":null,"data":null}', t.Part)
    assert part == t.Part(text="hi")
    assert part.data is UNSET


def test_an_empty_text_is_a_text() -> None:
    assert protojson.decode(b'{"text":""}', t.Part).text == ""
    assert protojson.decode(b'{"text":"","filename":""}', t.Part) == t.Part(text="")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"message":{"messageId":5}}', "message.messageId"),
        (b'{"message":[]}', "message"),
        (b"{}", "message"),
        (b'{"message":null}', "message"),
        (send(role="ROLE_ROBOT"), "message.role"),
        (send(role=7), "message.role"),
        (send(role=True), "message.role"),
        (send(role=None, parts="hi"), "message.parts"),
        (send(parts=[{"text": "a"}, 3]), "message.parts[1]"),
        (send(parts=[{"text": 3}]), "message.parts[0].text"),
        (send(parts=[{"raw": "a!b"}]), "message.parts[0].raw"),
        (send(parts=[{"raw": "a"}]), "message.parts[0].raw"),
        (send(parts=[{"raw": 1}]), "message.parts[0].raw"),
        (send(parts=[None]), "message.parts[0]"),
        (send(metadata=[]), "message.metadata"),
        (send(extensions=["a", 1]), "message.extensions[1]"),
        (b'{"configuration":{"historyLength":1.5},"message":{}}', "configuration.historyLength"),
        (b'{"configuration":{"historyLength":"x"},"message":{}}', "configuration.historyLength"),
        (b'{"configuration":{"historyLength":true},"message":{}}', "configuration.historyLength"),
        (b'{"configuration":{"historyLength":1e99},"message":{}}', "configuration.historyLength"),
        (
            b'{"configuration":{"returnImmediately":1},"message":{}}',
            "configuration.returnImmediately",
        ),
    ],
)
def test_a_wrong_type_is_told_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        protojson.decode(body, t.SendMessageRequest)
    assert [found for found, _ in caught.value.violations] == [path]
    assert path in caught.value.message


def test_every_fault_is_told_up_to_a_bound() -> None:
    with pytest.raises(InvalidParamsError) as caught:
        protojson.decode(b'{"pageSize":"x","status":"RUNNING","tenant":1}', t.ListTasksRequest)
    assert {path for path, _ in caught.value.violations} == {"pageSize", "status", "tenant"}
    with pytest.raises(InvalidParamsError) as caught:
        protojson.decode(send(parts=[1] * 10_000), t.SendMessageRequest)
    assert len(caught.value.violations) == 20


@pytest.mark.parametrize("version", ["0.3", "1.0"])
def test_a_long_list_of_a_request_is_refused_before_its_items_are_read(version: str) -> None:
    part = {"kind": "text", "text": ""} if version == "0.3" else {"text": ""}
    role = "user" if version == "0.3" else "ROLE_USER"
    for count, taken in ((10_000, True), (10_001, False)):
        body = send(messageId="m", role=role, parts=[part] * count)
        if taken:
            assert len(codec_for(version).decode(SEND, body).message.parts) == count
            continue
        with pytest.raises(InvalidParamsError, match="may have 10000 items, not 10001") as caught:
            codec_for(version).decode(SEND, body)
        assert [path for path, _ in caught.value.violations] == ["message.parts"]


def test_an_answer_may_have_lists_of_any_length() -> None:
    body = b'{"parts":[%b{"text":""}]}' % (b'{"text":""},' * 10_000)
    artifact = b'{"artifactId":"a",%b' % body[1:]
    assert len(protojson.decode(artifact, t.Artifact).parts) == 10_001


def test_a_wrong_enum_is_told_the_names_there_are() -> None:
    with pytest.raises(InvalidParamsError, match="TASK_STATE_WORKING"):
        protojson.decode(b'{"status":"TASK_STATE_RUNNING"}', t.ListTasksRequest)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_what_is_no_object_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidParamsError, match="must be an object") as caught:
        protojson.decode(body, t.GetTaskRequest)
    assert caught.value.violations == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"id":"x"',
        b'{"id":"x"} x',
        b"{'id':'x'}",
        b'{"id":"x",}',
        b'{"id":"\xff"}',
        b'{"id":"x","zz":"\xff"}',
        b'{"\xff":1,"id":"x"}',
        b'{"id":"\\ud800"}',
        b'{"id":"a\nb"}',
        b'{"id":"x","historyLength":NaN}',
        b'{"id":"x","zz":Infinity}',
        b'{"id":"x","historyLength":01}',
        '{"id":"x"}'.encode("utf-16"),
        b"\x00",
    ],
)
def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ParseError):
        protojson.decode(body, t.GetTaskRequest)


@pytest.mark.parametrize("number", [b"1e400", b"9" * 5000])
def test_numbers_beyond_all_bounds_are_refused_as_parameters(number: bytes) -> None:
    with pytest.raises(InvalidParamsError):
        protojson.decode(b'{"id":"x","historyLength":%b}' % number, t.GetTaskRequest)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"id":"x","zz":%b}' % (b"[" * 100 + b"]" * 100),
        b'{"parts":[{"data":%b}]}' % (b"[" * 98 + b"]" * 98),
    ],
)
def test_deep_nesting_is_refused(body: bytes) -> None:
    with pytest.raises(ParseError, match="nested deeper than 100"):
        protojson.decode(body, t.GetTaskRequest)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"x","zz":%b}' % (b"[" * 99 + b"]" * 99),
        b'{"id":"%b"}' % (b"[{" * 1000),
        b'{"id":"%b"}' % (b'\\"[' * 1000),
        b'{"id":"x\\\\","zz":%b}' % (b"[" + b"[]," * 500 + b"[]]"),
    ],
)
def test_brackets_that_do_not_nest_deeply_are_no_matter(body: bytes) -> None:
    assert protojson.decode(body, t.GetTaskRequest).id


def test_the_depth_of_a_hostile_body_is_found_in_linear_time() -> None:
    body = b"[" * 200 + b'"' + b'\\"' * 500_000  # a string that never ends
    with pytest.raises(ParseError):
        protojson.guard(body)


def test_a_view_of_a_buffer_is_as_good_as_bytes() -> None:
    assert protojson.decode(memoryview(send()), t.SendMessageRequest) == PLAIN
    assert protojson.decode(bytearray(send()), t.SendMessageRequest) == PLAIN


def test_required_fields_read_as_their_proto_default_where_they_are_missing() -> None:
    artifact = protojson.decode(b'{"parts":[{"text":"x"}]}', t.Artifact)
    assert artifact == t.Artifact(artifact_id="", parts=[t.Part(text="x")])


def test_defaults_are_not_written() -> None:
    event = t.TaskArtifactUpdateEvent(
        task_id="t", context_id="c", artifact=t.Artifact(artifact_id="a", parts=[t.Part(text="x")])
    )
    assert stdlib.loads(protojson.encode(event)) == {
        "taskId": "t",
        "contextId": "c",
        "artifact": {"artifactId": "a", "parts": [{"text": "x"}]},
    }


def test_a_list_of_tasks_always_says_its_numbers() -> None:
    # Section 3.1.4: nextPageToken must be there, empty on the last page.
    page = t.ListTasksResponse(tasks=[], next_page_token="", page_size=50, total_size=0)
    assert stdlib.loads(protojson.encode(page)) == {
        "tasks": [],
        "nextPageToken": "",
        "pageSize": 50,
        "totalSize": 0,
    }


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (rb'"x\ud83d"', "x\ufffd"),
        (rb'"\uDE00x"', "\ufffdx"),
        (rb'"\ud83dx\ude00"', "\ufffdx\ufffd"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\\ud83d"', "\\ud83d"),
        (rb'"\\\ud83d"', "\\\ufffd"),
        (rb'"\u00e9\n\""', 'é\n"'),
        (b'"caf\xe9"', "caf\ufffd"),
        ('"é"'.encode("utf-8-sig"), "é"),
        ('"é"'.encode("utf-16"), "é"),
    ],
)
def test_half_a_character_takes_nothing_else_along(given: bytes, text: str) -> None:
    assert protojson.plain(protojson.tolerated(given)) == text
