"""How objects and parameters are written (sections 4, 5.5 to 5.7, 9.1 to 9.3, 11.1 to 11.5)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.agents import EXTENSION
from tests.support.asgi import request

from .conftest import Served, said, state, text_of
from .dialects import DIALECTS, JSONRPC, JSONRPC_03, LISTING, MODERN, REST, REST_03, Dialect, Json
from .errors import refused

pytestmark = pytest.mark.anyio

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
NAME = re.compile(r"@type|[a-z][a-zA-Z0-9]*")
TEXTS = ("hi", "three", "data", "file", "ask", "auth", "fail", "reject")


def members(plain: Any) -> Iterator[tuple[str, Any]]:
    """Every member of every protocol object; what users put into maps is theirs."""
    if isinstance(plain, list):
        for one in plain:
            yield from members(one)
    elif isinstance(plain, dict):
        for name, value in plain.items():
            yield name, value
            if name not in ("metadata", "data", "params", "schemes", "scopes"):
                yield from members(value)


async def everything(served: Served, dialect: Dialect) -> list[Any]:
    """Everything that the agent says in this dialect, as it was sent."""
    collected: list[Any] = []
    for text in TEXTS:
        task = (await served.send(dialect, text)).task
        collected.append((await dialect.call(served.app, "GetTask", {"id": task["id"]})).raw)
        if text == "auth":  # its stream stays open: the task goes on when somebody signs in
            continue
        answer = await dialect.call(served.app, "SendStreamingMessage", said(text))
        collected += [json.loads(event.data) for event in answer.response.events]
    collected.append((await served.send(dialect, at="/a2a/agents/direct")).raw)
    if dialect in LISTING:
        collected.append((await dialect.call(served.app, "ListTasks")).raw)
    collected.append((await dialect.call(served.app, "GetTask", {"id": "x"})).raw)
    return collected


async def test_names_are_camel_case(served: Served, dialect: Dialect) -> None:
    names = {name for plain in await everything(served, dialect) for name, _ in members(plain)}
    assert {"contextId", "messageId", "artifactId", "taskId", "lastChunk"} <= names
    assert all(NAME.fullmatch(name) for name in names), names


async def test_enums_are_their_names(served: Served, dialect: Dialect) -> None:
    answers = await everything(served, dialect)
    told = [(name, value) for plain in answers for name, value in members(plain)]
    states = {value for name, value in told if name == "state"}
    roles = {value for name, value in told if name == "role"}
    if dialect is JSONRPC_03:
        assert {"completed", "input-required", "auth-required", "failed", "rejected"} <= states
        assert roles == {"user", "agent"}
    else:
        assert all(value.startswith("TASK_STATE_") for value in states)
        assert {"TASK_STATE_INPUT_REQUIRED", "TASK_STATE_COMPLETED"} <= states
        assert roles == {"ROLE_USER", "ROLE_AGENT"}


async def test_timestamps_are_utc_with_a_z(served: Served, dialect: Dialect) -> None:
    answers = await everything(served, dialect)
    stamps = {v for plain in answers for name, v in members(plain) if name == "timestamp"}
    assert stamps
    assert all(TIMESTAMP.fullmatch(stamp) for stamp in stamps), stamps
    moments = [datetime.fromisoformat(stamp) for stamp in stamps]
    assert {moment.tzinfo for moment in moments} == {UTC}


REQUIRED = {  # a2a.proto, field_behavior = REQUIRED, of what an agent says
    "task": ("id", "status"),
    "status": ("state",),
    "message": ("messageId", "role", "parts"),
    "artifact": ("artifactId", "parts"),
    "statusUpdate": ("taskId", "contextId", "status"),
    "artifactUpdate": ("taskId", "contextId", "artifact"),
}


@pytest.mark.parametrize("dialect", MODERN, ids=str)
async def test_required_members_are_there(served: Served, dialect: Dialect) -> None:
    seen: set[str] = set()

    def check(kind: str, plain: Json) -> None:
        seen.add(kind)
        for name in REQUIRED[kind]:
            assert plain[name] not in ("", [], None), (kind, name, plain)

    for plain in await everything(served, dialect):
        for name, value in members({"": plain}):
            if name in REQUIRED and isinstance(value, dict):
                check(name, value)
            elif name in ("history", "artifacts"):
                for one in value:
                    check("message" if name == "history" else "artifact", one)
    assert seen == set(REQUIRED)


SEND = said()["message"]
MISSING = [
    ("SendMessage", {}, "message"),
    *(
        (
            "SendMessage",
            {"message": {k: v for k, v in SEND.items() if k != name}},
            f"message.{name}",
        )
        for name in ("messageId", "role", "parts")
    ),
    ("SendMessage", {"message": SEND | {"parts": []}}, "message.parts"),
    ("SendMessage", {"message": SEND | {"messageId": ""}}, "message.messageId"),
    ("SendMessage", {"message": SEND | {"role": "ROLE_UNSPECIFIED"}}, "message.role"),
    ("SendMessage", {"message": SEND | {"parts": [{}]}}, "message.parts[0]"),
    ("SendMessage", {"message": SEND | {"parts": [{"metadata": {}}]}}, "message.parts[0]"),
    ("GetTask", {}, "id"),
    ("CancelTask", {}, "id"),
    ("SubscribeToTask", {}, "id"),
]
PUSH: list[tuple[str, Json]] = [
    ("CreateTaskPushNotificationConfig", {"taskId": "t"}),
    ("CreateTaskPushNotificationConfig", {"url": "https://c.org"}),
    ("GetTaskPushNotificationConfig", {"taskId": "t"}),
    ("GetTaskPushNotificationConfig", {"id": "c"}),
    ("DeleteTaskPushNotificationConfig", {"taskId": "t"}),
    ("DeleteTaskPushNotificationConfig", {"id": "c"}),
    ("ListTaskPushNotificationConfigs", {}),
]


@pytest.mark.parametrize(("operation", "params", "field"), MISSING)
async def test_required_members_are_asked_for(
    served: Served, operation: str, params: Json, field: str
) -> None:
    answer = await JSONRPC.call(served.app, operation, params)
    fault = refused(JSONRPC, answer, "InvalidParams")
    assert field in fault.fields or field.rpartition(".")[0] in fault.fields
    if operation == "SendMessage":
        answer = await REST.call(served.app, operation, params)
        assert field in refused(REST, answer, "InvalidParams").fields


@pytest.mark.parametrize(("operation", "params"), PUSH)
async def test_a_missing_capability_comes_before_missing_members(
    served: Served, operation: str, params: Json
) -> None:
    """The server has no push, and says so first (section 3.3.4)."""
    answer = await JSONRPC.call(served.app, operation, params)
    refused(JSONRPC, answer, "PushNotificationNotSupported")


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_unknown_members_are_ignored(served: Served, dialect: Dialect) -> None:
    params = said(novelty={"deep": [1]}) | {"another": None}
    params["configuration"] = {"fresh": True}
    assert state((await dialect.call(served.app, "SendMessage", params)).task) == "COMPLETED"
    task = (await served.send(dialect)).task["id"]
    answer = await dialect.call(served.app, "GetTask", {"id": task, "novelty": "x"})
    assert answer.task["id"] == task


async def test_parts_of_every_kind_go_in_and_out(served: Served, dialect: Dialect) -> None:
    parts = [
        {"text": "see"},
        {"data": {"a": [1, 2.5, None, True]}},
        {"url": "https://example.com/a.json", "mediaType": "application/json", "filename": "a"},
        {"raw": "eyJhIjogMX0=", "mediaType": "application/json", "filename": "b"},
    ]
    task = (await served.send(dialect, parts=parts)).task
    assert task["history"][0]["parts"] == parts
    out = (await served.send(dialect, "file")).task["artifacts"][0]["parts"]
    assert out == [{"raw": "AP8=", "filename": "two.bin", "mediaType": "application/pdf"}]
    out = (await served.send(dialect, "data")).task["artifacts"][0]["parts"]
    assert [part["data"] for part in out] == [{"answer": 42}]


async def test_the_same_request_means_the_same_everywhere(served: Served) -> None:
    """Section 5.1: but for ids and times the four bindings answer alike."""

    def same(task: Json) -> str:
        text = json.dumps(task, sort_keys=True)
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}", "ID", text)
        return TIMESTAMP.sub("TIME", text)

    for text in TEXTS:
        if text == "fail":  # its message has an id of its own
            continue
        found = {same((await served.send(dialect, text)).task) for dialect in DIALECTS}
        assert len(found) == 1, found
        if text == "auth":
            continue
        streams = set()
        for dialect in DIALECTS:
            answer = await dialect.call(served.app, "SendStreamingMessage", said(text))
            streams.add(same({"": answer.result}))
        assert len(streams) == 1, streams


# --- service parameters (3.2.6, 9.2, 11.2) -------------------------------------------------------


@pytest.mark.parametrize("name", ["A2A-Version", "a2a-version", "A2a-vErSiOn"])
@pytest.mark.parametrize("dialect", MODERN, ids=str)
async def test_names_of_service_parameters_have_no_case(
    served: Served, dialect: Dialect, name: str
) -> None:
    # ASGI servers lower the names of header fields; a query keeps them as they were.
    _, path, body = dialect.request("SendMessage", said())
    raw = json.dumps(body).encode()
    kind = [("content-type", "application/json")]
    answer = await request(served.app, "POST", f"{path}?{name}=1.0", headers=kind, body=raw)
    assert b"TASK_STATE_COMPLETED" in answer.body
    answer = await request(
        served.app, "POST", path, headers=[*kind, (name, "1.0")], body=raw.replace(b"hi", b"ho")
    )
    assert b"TASK_STATE_COMPLETED" in answer.body


@pytest.mark.parametrize("binding", MODERN, ids=str)
async def test_several_extensions_come_in_one_field_or_in_several(
    served: Served, binding: Dialect
) -> None:
    one = [("a2a-extensions", f"{EXTENSION},https://b.example/x")]
    two = [("a2a-extensions", EXTENSION), ("a2a-extensions", " https://b.example/x ")]
    for headers in (one, two):
        await binding.call(served.app, "GetTask", {"id": "x"}, headers=headers)
    found = [call.extensions for call in served.runtime.calls]
    assert found == [(EXTENSION, "https://b.example/x")] * 2


# --- JSON-RPC (9.1, 9.3; 6.11 of 0.3) ------------------------------------------------------------


@pytest.mark.parametrize("id_", ['"a"', "7", "-1", "1.5", "null", '"\\u00e9"', '""'])
@pytest.mark.parametrize("dialect", [JSONRPC, JSONRPC_03], ids=str)
async def test_the_id_comes_back_as_it_was(served: Served, dialect: Dialect, id_: str) -> None:
    for task in ("x", "y"):
        _, path, body = dialect.request("GetTask", {"id": task})
        raw = json.dumps(body).replace('"r-1"', id_).encode()
        headers = dialect.headers([("content-type", "application/json")], None)
        answer = await request(served.app, "POST", path, headers=headers, body=raw)
        assert f'"id":{id_},'.encode() in answer.body


@pytest.mark.parametrize("dialect", [JSONRPC, JSONRPC_03], ids=str)
async def test_the_envelope_is_that_of_json_rpc_2(served: Served, dialect: Dialect) -> None:
    good = await dialect.call(served.app, "SendMessage", said())
    assert list(good.raw) == ["jsonrpc", "id", "result"]
    bad = await dialect.call(served.app, "GetTask", {"id": "x"})
    assert list(bad.raw) == ["jsonrpc", "id", "error"]
    for answer in (good, bad):
        assert answer.raw["jsonrpc"] == "2.0"
        assert answer.response.status == 200
        assert answer.response["content-type"] == "application/json"


# --- REST (11.1 to 11.5; 3.2.3 of 0.3) -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/a2a+json", "application/json"])
async def test_media_types_over_rest(served: Served, kind: str) -> None:
    answer = await REST.call(served.app, "SendMessage", said(), headers=[("content-type", kind)])
    assert answer.response.status == 200
    assert answer.response["content-type"] == "application/a2a+json"
    old = await REST_03.call(served.app, "SendMessage", said(), headers=[("content-type", kind)])
    assert old.response["content-type"] == "application/json"


async def test_query_parameters_are_typed_and_decoded(served: Served) -> None:
    context = "a b/c&d=é%+?"
    task = (await served.send(REST, "three", context=context)).task
    params: Json = {
        "contextId": context,
        "status": "TASK_STATE_COMPLETED",
        "pageSize": 5,
        "includeArtifacts": True,
        "historyLength": 1,
        "statusTimestampAfter": "2020-11-09T10:30:00Z",
    }
    page = (await REST.call(served.app, "ListTasks", params)).result
    assert [one["id"] for one in page["tasks"]] == [task["id"]]
    assert text_of(page["tasks"][0]) == "onetwothree"
    assert page["pageSize"] == 5
    params["includeArtifacts"] = False
    page = (await REST.call(served.app, "ListTasks", params)).result
    assert "artifacts" not in page["tasks"][0]


@pytest.mark.parametrize(
    "query", ["includeArtifacts=yes", "pageSize=ten", "pageSize=1.5", "historyLength=x",
              "status=COMPLETED", "contextId=%ff"],
)  # fmt: skip
async def test_query_parameters_that_mean_nothing_are_refused(served: Served, query: str) -> None:
    headers = [("a2a-version", "1.0")]
    answer = await request(served.app, "GET", f"/tasks?{query}", headers=headers)
    assert answer.status == 400
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"


async def test_ids_in_paths_are_decoded(served: Served) -> None:
    for dialect in (REST, REST_03):
        fault = refused(
            dialect,
            await dialect.call(served.app, "GetTask", {"id": "a/b:cancel ü%"}),
            "TaskNotFound",
        )
        assert fault.info["metadata"] == {"taskId": "a/b:cancel ü%"}


VERBS = [
    ("GET", "/message:send"),
    ("GET", "/message:stream"),
    ("POST", "/tasks"),
    ("DELETE", "/tasks/x"),
    ("GET", "/tasks/x:cancel"),
    ("PUT", "/tasks/x/pushNotificationConfigs/y"),
    ("POST", "/tasks/x/pushNotificationConfigs/y"),
]


@pytest.mark.parametrize(("method", "path"), VERBS)
@pytest.mark.parametrize("dialect", [REST, REST_03], ids=str)
async def test_each_path_has_its_verbs(
    served: Served, dialect: Dialect, method: str, path: str
) -> None:
    if dialect is REST_03:
        path = f"/v1{path}"
    headers = dialect.headers([], None)
    answer = await request(served.app, method, path, headers=headers)
    assert answer.status == 405
    assert method not in answer["allow"].split(", ")
