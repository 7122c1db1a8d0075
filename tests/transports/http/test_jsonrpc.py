"""JSON-RPC over HTTP: envelopes, versions, errors, statuses (section 9)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.protocol.errors import ResourceExhaustedError, UnauthenticatedError, UnavailableError
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import Peer, message, request

pytestmark = pytest.mark.anyio

PATHS = ["/a2a", "/a2a/", "/", "", "/a2a/agents/stage", "/a2a/agents/stage/"]
MESSAGE_03 = {
    "message": {
        "kind": "message",
        "messageId": "m-1",
        "role": "user",
        "parts": [{"kind": "text", "text": "hi"}],
    }
}


async def post(app: Application, body: Any, *headers: tuple[str, str], **extra: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if not any(name == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    return await request(app, "POST", "/a2a", headers=headers, body=raw, **extra)


@pytest.mark.parametrize("path", PATHS)
async def test_every_spelling_of_the_address_takes_requests(app: Application, path: str) -> None:
    answer = await Peer(app).call("SendMessage", message("hi"), path=path)
    assert answer.status == 200
    assert answer["content-type"] == "application/json"
    assert answer.json["result"]["task"]["artifacts"][0]["parts"] == [{"text": "You said: hi"}]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("1.0", "1.0"), ("1.0.1", "1.0"), ("1.1", "1.1"), (" 1.0 ", "1.0")],
)
async def test_the_negotiated_version_is_answered(
    app: Application, asked: str, answered: str
) -> None:
    answer = await Peer(app, asked).call("SendMessage", message())
    assert answer["a2a-version"] == answered
    assert ("generation" in answer.json["result"]["task"]) == (answered == "1.1")


@pytest.mark.parametrize("asked", [None, "", "0.3", "0.3.0", "0.2.6"])
async def test_no_version_and_the_old_ones_are_03(app: Application, asked: str | None) -> None:
    answer = await Peer(app, asked).call("message/send", MESSAGE_03)
    assert answer["a2a-version"] == "0.3"
    assert answer.json["result"]["kind"] == "task"
    assert answer.json["result"]["status"]["state"] == "completed"


async def test_the_version_may_come_as_a_query_parameter(app: Application) -> None:
    answer = await Peer(app, None).call("SendMessage", message(), path="/a2a?A2A-Version=1.0")
    assert answer["a2a-version"] == "1.0"
    assert "task" in answer.json["result"]


async def test_an_unknown_version_is_refused_with_the_requests_id(app: Application) -> None:
    answer = await Peer(app, "99.0").call("SendMessage", message(), id="mine")
    assert answer.status == 200
    assert answer.json["id"] == "mine"
    assert answer.json["error"]["code"] == -32009
    assert answer.json["error"]["data"][0]["reason"] == "VERSION_NOT_SUPPORTED"


async def test_a_10_call_without_its_version_is_told_what_to_send(app: Application) -> None:
    answer = await Peer(app, None).call("SendMessage", message())
    assert answer.status == 200
    assert "A2A-Version: 1.0" in answer.json["error"]["message"]


@pytest.mark.parametrize("id_", ['"a"', "1", "-7", "1.50", "12345678901234567890123", "null"])
async def test_ids_come_back_as_they_were_written(app: Application, id_: str) -> None:
    body = b'{"jsonrpc":"2.0","id":%b,"method":"GetTask","params":{"id":"x"}}' % id_.encode()
    answer = await post(app, body, ("a2a-version", "1.0"))
    assert b'"id":%b,' % id_.encode() in answer.body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc":' + b"[" * 5000, -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"GetTask"}]', -32600),
        (b'"text"', -32600),
        (b'{"id":1,"method":"GetTask"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"GetTask"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"GetTask"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"Nope"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":[1]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":5}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}', -32001),
        (b'{"jsonrpc":"2.0","id":1,"method":"CancelTask","params":{"id":"x"}}', -32001),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"}', -32004),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"ListTaskPushNotificationConfigs",'
            b'"params":{"taskId":"x"}}',
            -32003,
        ),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_errors_are_told_in_a_200(
    app: Application, body: bytes, code: int, version: str
) -> None:
    answer = await post(app, body, ("a2a-version", version))
    assert answer.status == 200
    assert answer["content-type"] == "application/json"
    assert answer["a2a-version"] == version
    assert answer.json["jsonrpc"] == "2.0"
    assert answer.json["error"]["code"] == code
    assert isinstance(answer.json["error"]["message"], str)
    assert "result" not in answer.json


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"nope"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"id":"x"}}', -32001),
        (b'{"jsonrpc":"2.0","id":1,"method":"message/send","params":{}}', -32602),
    ],
)
async def test_errors_of_03(app: Application, body: bytes, code: int) -> None:
    answer = await post(app, body)
    assert answer.status == 200
    assert answer["a2a-version"] == "0.3"
    assert answer.json["error"]["code"] == code


async def test_a_request_without_id_is_carried_out_and_not_answered(app: Application) -> None:
    body = {"jsonrpc": "2.0", "method": "SendMessage", "params": message("noted")}
    answer = await post(app, body, ("a2a-version", "1.0"))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.get("content-length") is None
    listed = await Peer(app).call("ListTasks", {"includeArtifacts": True})
    assert listed.json["result"]["tasks"][0]["artifacts"][0]["parts"] == [
        {"text": "You said: noted"}
    ]


async def test_a_faulty_notification_is_not_answered_either(app: Application) -> None:
    body = {"jsonrpc": "2.0", "method": "GetTask", "params": {"id": "x"}}
    answer = await post(app, body, ("a2a-version", "1.0"))
    assert (answer.status, answer.body) == (204, b"")


async def test_a_streaming_notification_starts_its_task(app: Application) -> None:
    body = {"jsonrpc": "2.0", "method": "SendStreamingMessage", "params": message("noted")}
    answer = await post(app, body, ("a2a-version", "1.0"))
    assert answer.status == 204
    listed = await Peer(app).call("ListTasks")
    assert listed.json["result"]["totalSize"] == 1
    assert not app.open_responses.open


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/a2a+json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json; profile=x",
    ],
)
async def test_json_is_taken_however_it_is_named(app: Application, kind: str) -> None:
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message()}
    answer = await post(app, envelope, ("content-type", kind), ("a2a-version", "1.0"))
    assert "result" in answer.json


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_what_a_plain_form_can_send_is_no_request(
    app: Application, stage: Stage, kind: str
) -> None:
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message()}
    answer = await post(app, envelope, ("content-type", kind), ("a2a-version", "1.0"))
    assert answer.json["error"]["code"] == -32005
    assert "application/json" in answer.json["error"]["message"]
    assert not stage.calls


async def test_another_charset_is_refused(app: Application) -> None:
    kind = "application/json; charset=iso-8859-1"
    answer = await post(app, b"{}", ("content-type", kind), ("a2a-version", "1.0"))
    assert answer.json["error"]["code"] == -32600


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_what_the_gate_refuses_is_refused_to_http(app: Application, version: str) -> None:
    method, params = ("GetTask", {"id": "x"}) if version == "1.0" else ("tasks/get", {"id": "x"})
    for fault, status, header in (
        (
            UnauthenticatedError(headers={"WWW-Authenticate": "Bearer"}),
            401,
            ("www-authenticate", "Bearer"),
        ),
        (ResourceExhaustedError(headers={"Retry-After": "3"}), 429, ("retry-after", "3")),
        (UnavailableError(), 503, ("content-type", "application/json")),
    ):
        app.runtime.fault = fault  # type: ignore[attr-defined]
        answer = await Peer(app, version).call(method, params, id=9)
        assert answer.status == status
        assert answer[header[0]] == header[1]
        assert answer.json["id"] == 9
        assert answer.json["error"]["message"] == fault.message


async def test_a_draining_server_says_503(app: Application) -> None:
    await app.runtime.drain(0)
    answer = await Peer(app).call("SendMessage", message())
    assert answer.status == 503
    assert answer["retry-after"] == "1"


async def test_an_unexpected_error_tells_its_id_and_nothing_else(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    app.runtime.fault = RuntimeError("the secret cause")  # type: ignore[attr-defined]
    answer = await Peer(app).call("GetTask", {"id": "x"}, id=5)
    error = answer.json["error"]
    assert (answer.status, answer.json["id"], error["code"]) == (200, 5, -32603)
    assert b"secret" not in answer.body
    record = next(record for record in caplog.records if record.exc_info)
    error_id = record.error_id  # type: ignore[attr-defined]
    assert error_id in error["message"]
    assert "the secret cause" in caplog.text


async def test_an_agents_own_failure_is_a_failed_task(app: Application) -> None:
    answer = await Peer(app).call("SendMessage", message("fail"))
    assert answer.json["result"]["task"]["status"]["state"] == "TASK_STATE_FAILED"
    assert b"secret" not in answer.body


async def test_a_direct_message_is_the_result(app: Application) -> None:
    answer = await Peer(app).call("SendMessage", message(), path="/a2a/agents/other")
    assert answer.json["result"]["message"]["parts"] == [{"text": "directly"}]


async def test_a_large_answer_arrives_whole(app: Application) -> None:
    answer = await Peer(app).call("SendMessage", message("large 300000"))
    assert answer["content-length"] == str(len(answer.body))
    assert len(answer.json["result"]["task"]["artifacts"][0]["parts"][0]["text"]) == 300_000


async def test_the_runtime_is_told_who_calls_and_how(app: Application, stage: Stage) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await Peer(app).call(
        "SendMessage",
        {**message(), "tenant": "acme"},
        path="/a2a/agents/stage?key=s%20t",
        headers=[
            ("A2A-Extensions", "https://x.test/a, https://x.test/b"),
            ("A2A-Extensions", "https://x.test/a"),
            ("X-A2A-Extensions", "https://x.test/c"),
            ("traceparent", parent),
            ("tracestate", "a=1"),
            ("Authorization", "Bearer token"),
            ("Accept", "a"),
            ("Accept", "b"),
        ],
    )
    call = stage.calls[0]
    assert (call.binding, call.version, call.agent, call.tenant) == (
        "JSONRPC",
        "1.0",
        "stage",
        "acme",
    )
    assert call.extensions == ("https://x.test/a", "https://x.test/b", "https://x.test/c")
    assert (call.traceparent, call.tracestate) == (parent, "a=1")
    assert call.headers["authorization"] == "Bearer token"
    assert call.headers["accept"] == "a, b"
    assert "cookie" not in call.headers
    assert dict(call.query) == {"key": "s t"}
    assert call.peer == "192.0.2.1"


@pytest.mark.parametrize(
    ("version", "method", "header"),
    [("1.0", "SendMessage", "a2a-extensions"), ("0.3", "message/send", "x-a2a-extensions")],
)
async def test_activated_extensions_are_echoed(
    app: Application, version: str, method: str, header: str
) -> None:
    app.runtime.activate = ("https://x.test/a", "https://x.test/b")  # type: ignore[attr-defined]
    params = message() if version == "1.0" else MESSAGE_03
    answer = await Peer(app, version).call(method, params)
    assert answer[header] == "https://x.test/a, https://x.test/b"
