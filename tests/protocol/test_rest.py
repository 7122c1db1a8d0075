"""Routes and queries of HTTP+JSON (sections 5.3, 11.3 and 11.5; the annotations of the protos)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.protocol import operations as o
from greenroom.protocol import rest
from greenroom.protocol import types as t
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.errors import (
    InvalidParamsError,
    ParseError,
    TaskNotFoundError,
    VersionNotSupportedError,
)

V1 = codec_for("1.0")
NOON = "2025-11-09T12:00:00Z"
PUSH = "pushNotificationConfigs"

ROUTES: list[tuple[str, str, o.Operation, dict[str, str]]] = [
    ("POST", "/message:send", o.SEND, {}),
    ("POST", "/message:stream", o.STREAM, {}),
    ("GET", "/tasks/t", o.GET_TASK, {"id": "t"}),
    ("GET", "/tasks", o.LIST_TASKS, {}),
    ("POST", "/tasks/t:cancel", o.CANCEL, {"id": "t"}),
    ("POST", "/tasks/t:subscribe", o.SUBSCRIBE, {"id": "t"}),
    ("GET", "/tasks/t:subscribe", o.SUBSCRIBE, {"id": "t"}),
    ("POST", f"/tasks/t/{PUSH}", o.CREATE_PUSH, {"task_id": "t"}),
    ("GET", f"/tasks/t/{PUSH}", o.LIST_PUSH, {"task_id": "t"}),
    ("GET", f"/tasks/t/{PUSH}/c", o.GET_PUSH, {"task_id": "t", "id": "c"}),
    ("DELETE", f"/tasks/t/{PUSH}/c", o.DELETE_PUSH, {"task_id": "t", "id": "c"}),
]
V1_ROUTES = [*ROUTES, ("GET", "/extendedAgentCard", o.EXTENDED_CARD, {})]
V03_ROUTES = [*ROUTES, ("GET", "/card", o.EXTENDED_CARD, {})]


@pytest.mark.parametrize(("method", "path", "operation", "params"), V1_ROUTES)
def test_routes_of_1_0(
    method: str, path: str, operation: o.Operation, params: dict[str, str]
) -> None:
    for written in (path, f"{path}/"):
        assert rest.match(method, written) == (operation, "1.0", params)
    route = rest.match(method, f"/ac%20me{path}")
    assert route == (operation, "1.0", params | {"tenant": "ac me"})
    assert route is not None
    assert route.tenant == "ac me"


@pytest.mark.parametrize(("method", "path", "operation", "params"), V03_ROUTES)
def test_routes_of_0_3(
    method: str, path: str, operation: o.Operation, params: dict[str, str]
) -> None:
    assert rest.match(method, f"/v1{path}") == (operation, "0.3", params)


def test_every_operation_has_its_routes() -> None:
    assert {row[2] for row in V1_ROUTES} == set(o.OPERATIONS)


@pytest.mark.parametrize(
    ("segment", "id_"),
    [
        ("a:b", "a:b"),
        ("a%3Acancel", "a:cancel"),
        ("a%2Fb%2F..", "a/b/.."),
        ("%F0%9F%8E%AD", "🎭"),
        ("a+b", "a+b"),
        ("100%25", "100%"),
        ("tasks", "tasks"),
        ("cancel", "cancel"),
    ],
)
def test_ids_are_what_was_encoded(segment: str, id_: str) -> None:
    assert rest.match("GET", f"/tasks/{segment}") == (o.GET_TASK, "1.0", {"id": id_})
    assert rest.match("POST", f"/tasks/{segment}:cancel") == (o.CANCEL, "1.0", {"id": id_})


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/message:send", ("POST",)),
        ("/tasks", ("GET",)),
        ("/tasks/t", ("GET",)),
        ("/tasks/t:cancel", ("POST",)),
        ("/tasks/t:subscribe", ("GET", "POST")),
        (f"/tasks/t/{PUSH}", ("GET", "POST")),
        (f"/tasks/t/{PUSH}/c", ("DELETE", "GET")),
        ("/acme/tasks/t:cancel", ("POST",)),
        ("/v1/card", ("GET",)),
    ],
)
def test_other_methods_are_told_which_ones_there_are(path: str, methods: tuple[str, ...]) -> None:
    assert rest.match("PATCH", path) is None
    assert rest.allowed(path) == methods


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "/v1",
        "/v1/",
        "/message",
        "/message:other",
        "/tasks/t/other",
        "/tasks//pushNotificationConfigs",
        f"/tasks/t/{PUSH}/c/d",
        "/extendedAgentCard/x",
        "/card",
        "/v1/extendedAgentCard",
        "/v1/acme/tasks",
        "/a/b/tasks",
        "//tasks",
        "/%FF/tasks",
        "/tasks/%FF",
        "/a2a/tasks",
        "/health/message:send",
        "/tasks/tasks/t:cancel",
        "/%76%31/tasks",
        "/.well-known/tasks",
        "/message:send/tasks",
    ],
)
def test_other_paths_are_nothing(path: str) -> None:
    assert rest.match("GET", path) is None
    assert rest.match("POST", path) is None
    assert rest.allowed(path) == ()


def matched(method: str, path: str) -> rest.Match:
    route = rest.match(method, path)
    assert route is not None
    return route


def test_the_path_and_the_version_must_agree() -> None:
    new, old = matched("GET", "/tasks"), matched("GET", "/v1/tasks")
    assert rest.version(new, "1.0.1") == "1.0"
    assert rest.version(new, "1.1") == "1.1"
    assert rest.version(old, None) == "0.3"
    with pytest.raises(VersionNotSupportedError, match=r"send the header A2A-Version: 1\.0"):
        rest.version(new, "")
    with pytest.raises(VersionNotSupportedError, match="leave out /v1"):
        rest.version(old, "1.0")
    with pytest.raises(VersionNotSupportedError):
        rest.version(new, "99.0")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("historyLength=3", {"history_length": 3}),
        ("contextId=c&pageSize=10", {"context_id": "c", "page_size": 10}),
        ("context_id=c&page_size=10", {"context_id": "c", "page_size": 10}),
        ("status=TASK_STATE_WORKING", {"status": t.TaskState.WORKING}),
        ("includeArtifacts=true", {"include_artifacts": True}),
        ("includeArtifacts=FALSE", {"include_artifacts": False}),
        ("pageToken=a%2Bb%3D%3D", {"page_token": "a+b=="}),
        ("contextId=a+b&&=x&flag", {"context_id": "a b"}),
        ("contextId=&pageToken=", {}),
        ("pageSize=5&pageSize=7", {"page_size": 7}),
        ("A2A-Version=1.0&unknown=1&unknown=2", {}),
        ("statusTimestampAfter=2025-11-09T12:00:00Z", {"status_timestamp_after": NOON}),
    ],
)  # fmt: skip
def test_queries_are_typed_by_the_request(query: str, expected: dict[str, Any]) -> None:
    request = rest.request(V1, matched("GET", "/tasks"), query)
    assert request == t.ListTasksRequest(**expected)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("pageSize=150", "pageSize"),
        ("pageSize=ten", "pageSize"),
        ("page_size=0", "pageSize"),
        ("historyLength=-5", "historyLength"),
        ("status=TASK_STATE_RUNNING", "status"),
        ("includeArtifacts=yes", "includeArtifacts"),
        ("statusTimestampAfter=now", "statusTimestampAfter"),
    ],
)
def test_wrong_values_are_told_with_their_names(query: str, path: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        rest.request(V1, matched("GET", "/tasks"), query)
    assert [found for found, _ in caught.value.violations] == [path]


@pytest.mark.parametrize("query", ["contextId=%FF", "a=%C3%28&contextId=c", "x=" + "y" * 20_000])
def test_queries_that_cannot_be_read_are_refused(query: str) -> None:
    with pytest.raises(InvalidParamsError):
        rest.request(V1, matched("GET", "/tasks"), query)


def test_the_path_wins_over_the_query() -> None:
    request = rest.request(V1, matched("GET", "/acme/tasks/t"), "id=u&tenant=x&historyLength=2")
    assert request == t.GetTaskRequest(id="t", tenant="acme", history_length=2)


def test_lower_case_states_are_known_below_v1() -> None:
    request = rest.request(codec_for("0.3"), matched("GET", "/v1/tasks"), "status=input-required")
    assert request.status is t.TaskState.INPUT_REQUIRED


def test_bodies_are_read_with_what_the_path_says() -> None:
    request = rest.request(V1, matched("POST", "/acme/tasks/t:cancel"), "", b"")
    assert request == t.CancelTaskRequest(id="t", tenant="acme")
    body = json.dumps({"url": "https://e.com"}).encode()
    request = rest.request(V1, matched("POST", f"/tasks/t/{PUSH}"), "", body)
    assert request == t.TaskPushNotificationConfig(task_id="t", url="https://e.com")


def test_a_subscription_needs_no_body() -> None:
    for method in ("GET", "POST"):
        request = rest.request(V1, matched(method, "/tasks/t:subscribe"), "", b"")
        assert request == t.SubscribeToTaskRequest(id="t")


def test_malformed_bodies_are_parse_errors() -> None:
    with pytest.raises(ParseError):
        rest.request(V1, matched("POST", "/message:send"), "", b"{")
    with pytest.raises(InvalidParamsError):
        rest.request(V1, matched("POST", "/message:send"), "", b"")


def test_errors_are_told_in_the_form_of_the_version() -> None:
    fault = TaskNotFoundError("No such task")
    assert json.loads(V1.status(fault))["error"]["status"] == "NOT_FOUND"
    assert json.loads(codec_for("0.3", "HTTP+JSON").status(fault))["message"] == "No such task"


@pytest.mark.parametrize("word", [*sorted(rest.RESERVED), ".well-known", "message:send"])
def test_words_with_a_meaning_are_no_tenants(word: str) -> None:
    assert rest.reserved(word)
    assert rest.match("GET", f"/{word}/tasks/t:subscribe") is None or word == "v1"


def test_every_first_word_of_a_route_is_reserved() -> None:
    for operation in o.OPERATIONS:
        for _, path in operation.rest:
            assert rest.reserved(path.split("/")[1])
