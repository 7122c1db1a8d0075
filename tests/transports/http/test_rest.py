"""HTTP+JSON: resources, bodies, queries, versions, errors (section 11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.protocol.errors import UnauthenticatedError
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import Peer, message, request

pytestmark = pytest.mark.anyio

MESSAGE_03 = {
    "message": {"messageId": "m-1", "role": "ROLE_USER", "content": [{"text": "hi"}]},
}


async def made(app: Application, text: str = "hi", prefix: str = "") -> dict[str, Any]:
    """Send a message and return the task."""
    answer = await Peer(app).rest("POST", f"{prefix}/message:send", message(text))
    assert answer.status == 200, answer.body
    task: dict[str, Any] = answer.json["task"]
    return task


async def asked(app: Application) -> dict[str, Any]:
    """Return a task that waits for input."""
    return await made(app, "ask")


@pytest.mark.parametrize(
    "path",
    ["/message:send", "/message:send/", "/acme/message:send", "/a2a/agents/stage/message:send",
     "/a2a/agents/stage/acme/message:send"],
)  # fmt: skip
async def test_a_message_is_sent(app: Application, stage: Stage, path: str) -> None:
    answer = await Peer(app).rest("POST", path, message("hi"))
    assert answer.status == 200
    assert answer["content-type"] == "application/a2a+json"
    assert answer["a2a-version"] == "1.0"
    assert answer.json["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert stage.calls[0].binding == "HTTP+JSON"
    assert stage.calls[0].tenant == ("acme" if "acme" in path else None)


async def test_the_media_type_of_a2a_is_taken(app: Application) -> None:
    answer = await request(
        app,
        "POST",
        "/message:send",
        headers=[("content-type", "application/a2a+json"), ("a2a-version", "1.0")],
        body=json.dumps(message()).encode(),
    )
    assert answer.status == 200


async def test_tasks_are_read_listed_and_cancelled(app: Application) -> None:
    peer = Peer(app)
    task = await asked(app)
    path = f"/tasks/{task['id']}"
    assert (await peer.rest("GET", path)).json["id"] == task["id"]
    assert (await peer.rest("GET", f"{path}?historyLength=0")).json.get("history") is None
    assert (await peer.rest("GET", f"{path}?history_length=1")).status == 200
    listed = await peer.rest("GET", f"/tasks?contextId={task['contextId']}&pageSize=5")
    assert [found["id"] for found in listed.json["tasks"]] == [task["id"]]
    none = await peer.rest("GET", "/tasks?status=TASK_STATE_COMPLETED")
    assert none.json["totalSize"] == 0
    cancelled = await peer.rest("POST", f"{path}:cancel")
    assert cancelled.json["status"]["state"] == "TASK_STATE_CANCELED"
    again = await peer.rest("POST", f"{path}:cancel", {})
    assert again.status == 400
    assert again.json["error"]["details"][0]["reason"] == "TASK_NOT_CANCELABLE"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "name", "reason"),
    [
        ("GET", "/tasks/x", None, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
        ("GET", "/tasks/a%2Fb%3Ac", None, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
        ("POST", "/tasks/x:cancel", None, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
        ("POST", "/tasks/x:subscribe", None, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
        ("GET", "/tasks/x:subscribe", None, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
        ("GET", "/tasks?pageSize=many", None, 400, "INVALID_ARGUMENT", None),
        ("GET", "/tasks?pageSize=101", None, 400, "INVALID_ARGUMENT", None),
        ("GET", "/tasks?status=NOPE", None, 400, "INVALID_ARGUMENT", None),
        ("POST", "/message:send", {}, 400, "INVALID_ARGUMENT", None),
        ("POST", "/message:stream", {"message": 7}, 400, "INVALID_ARGUMENT", None),
        ("GET", "/tasks/x/pushNotificationConfigs", None, 400, "FAILED_PRECONDITION",
         "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("DELETE", "/tasks/x/pushNotificationConfigs/y", None, 400, "FAILED_PRECONDITION",
         "PUSH_NOTIFICATION_NOT_SUPPORTED"),
        ("GET", "/extendedAgentCard", None, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    ],
)  # fmt: skip
async def test_errors_are_statuses_with_details(
    app: Application,
    method: str,
    path: str,
    body: Any,
    status: int,
    name: str,
    reason: str | None,
) -> None:
    answer = await Peer(app).rest(method, path, body)
    assert answer.status == status
    assert answer["content-type"] == "application/json"
    assert answer["a2a-version"] == "1.0"
    error = answer.json["error"]
    assert (error["code"], error["status"]) == (status, name)
    assert isinstance(error["message"], str)
    reasons = [detail["reason"] for detail in error.get("details", []) if "reason" in detail]
    assert reason is None or reasons == [reason]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1", b'{"a":' + b"[" * 5000])
async def test_what_is_no_json_is_a_400(app: Application, body: bytes) -> None:
    answer = await request(
        app,
        "POST",
        "/message:send",
        headers=[("content-type", "application/json"), ("a2a-version", "1.0")],
        body=body,
    )
    assert answer.status == 400
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_form_is_refused(app: Application, stage: Stage) -> None:
    answer = await request(
        app,
        "POST",
        "/message:send",
        headers=[("content-type", "text/plain"), ("a2a-version", "1.0")],
        body=json.dumps(message()).encode(),
    )
    assert answer.status == 400
    assert answer.json["error"]["details"][0]["reason"] == "CONTENT_TYPE_NOT_SUPPORTED"
    assert not stage.calls


@pytest.mark.parametrize("version", [None, "", "0.3", "0.2"])
async def test_03_is_served_below_v1(app: Application, version: str | None) -> None:
    peer = Peer(app, version)
    sent = await peer.rest("POST", "/v1/message:send", MESSAGE_03)
    assert sent.status == 200, sent.body
    assert sent["content-type"] == "application/json"
    assert sent["a2a-version"] == "0.3"
    task = sent.json["task"]
    assert (await peer.rest("GET", f"/v1/tasks/{task['id']}")).json["id"] == task["id"]
    missing = await peer.rest("GET", "/v1/tasks/x?history_length=1")
    assert missing.status == 404
    assert missing["a2a-version"] == "0.3"


@pytest.mark.parametrize(
    ("version", "path", "advice"),
    [
        (None, "/tasks/x", "A2A-Version: 1.0"),
        ("0.3", "/tasks/x", "A2A-Version: 1.0"),
        ("1.0", "/v1/tasks/x", "/v1"),
        ("99.0", "/tasks/x", "not supported"),
        ("99.0", "/v1/tasks/x", "not supported"),
    ],
)
async def test_a_version_that_the_path_has_not_is_refused(
    app: Application, version: str | None, path: str, advice: str
) -> None:
    answer = await Peer(app, version).rest("GET", path)
    assert answer.status == 400
    assert b"VERSION_NOT_SUPPORTED" in answer.body
    assert advice in answer.body.decode()


async def test_the_version_may_come_in_the_query(app: Application) -> None:
    answer = await Peer(app, None).rest("GET", "/tasks?A2A-Version=1.0&pageSize=1")
    assert answer.status == 200
    assert answer.json["pageSize"] == 1


async def test_what_the_gate_refuses_keeps_its_challenge(app: Application) -> None:
    app.runtime.fault = UnauthenticatedError(  # type: ignore[attr-defined]
        headers={"WWW-Authenticate": "Bearer"}
    )
    answer = await Peer(app).rest("GET", "/tasks/x")
    assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
    assert answer.json["error"]["status"] == "UNAUTHENTICATED"


async def test_an_unexpected_error_is_a_500_with_an_id(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    app.runtime.fault = ValueError("the secret cause")  # type: ignore[attr-defined]
    answer = await Peer(app).rest("GET", "/tasks/x")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "the secret cause" in caplog.text
    record = next(record for record in caplog.records if record.exc_info)
    assert record.error_id in answer.json["error"]["message"]  # type: ignore[attr-defined]


async def test_activated_extensions_are_echoed(app: Application) -> None:
    app.runtime.activate = ("https://x.test/a",)  # type: ignore[attr-defined]
    answer = await Peer(app).rest("POST", "/message:send", message())
    assert answer["a2a-extensions"] == "https://x.test/a"
