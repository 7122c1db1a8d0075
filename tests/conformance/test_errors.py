"""Every error over every binding: code, status, reason, details (3.3.2, 5.4, 9.5, 11.6)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from greenroom.protocol import errors as e
from tests.support.asgi import request

from .conftest import Served, said
from .dialects import DIALECTS, JSONRPC, JSONRPC_03, REST, REST_03, Dialect, Json
from .errors import ERRORS, refused

pytestmark = pytest.mark.anyio

CLASSES = {kind.__name__.removesuffix("Error"): kind for kind in e.ERRORS}


@pytest.mark.parametrize("operation", ["GetTask", "SendMessage", "SubscribeToTask"])
@pytest.mark.parametrize("name", ERRORS)
async def test_every_error_of_the_table(
    served: Served, dialect: Dialect, name: str, operation: str
) -> None:
    served.runtime.fault = CLASSES[name](taskId="t-1")
    params = said() if operation == "SendMessage" else {"id": "t-1"}
    fault = refused(dialect, await dialect.call(served.app, operation, params), name)
    if dialect in (JSONRPC, REST):
        assert fault.info["metadata"] == {"taskId": "t-1"}


def test_no_error_of_the_protocol_is_left_out() -> None:
    own = {name for name, kind in CLASSES.items() if -32009 <= kind.code <= -32001}
    assert own == set(ERRORS)


REFUSALS: list[tuple[type[e.RefusedError], int]] = [
    (e.UnauthenticatedError, 401),
    (e.PermissionDeniedError, 403),
    (e.ResourceExhaustedError, 429),
    (e.UnavailableError, 503),
]


@pytest.mark.parametrize(("kind", "status"), REFUSALS)
async def test_what_the_gate_refuses_is_a_status_on_every_binding(
    served: Served, dialect: Dialect, kind: type[e.RefusedError], status: int
) -> None:
    served.runtime.fault = kind(headers={"WWW-Authenticate": "Bearer", "Retry-After": "1"})
    answer = await dialect.call(served.app, "GetTask", {"id": "t"})
    assert answer.response.status == status
    assert answer.response["www-authenticate"] == "Bearer"
    assert answer.response["retry-after"] == "1"
    assert answer.fault is not None
    assert answer.fault.message


async def test_a_fault_of_the_server_tells_nothing_of_itself(
    served: Served, dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    served.runtime.fault = ZeroDivisionError("the secret cause")
    answer = await dialect.call(served.app, "GetTask", {"id": "t"})
    refused(dialect, answer, "Internal")
    assert b"secret" not in answer.response.body
    assert "secret" in caplog.text, "but the log has it"


BODIES = [
    (b"", -32700),
    (b"{", -32700),
    (b'{"jsonrpc": "2.0", "method": "GetTask", "params"', -32700),
    (b"\xff\xfe", -32700),
    (b'"GetTask"', -32600),
    (b"[]", -32600),
    (b'[{"jsonrpc": "2.0", "id": 1, "method": "GetTask"}]', -32600),
    (b'{"id": 1, "method": "GetTask"}', -32600),
    (b'{"jsonrpc": "1.0", "id": 1, "method": "GetTask"}', -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
    (b'{"jsonrpc": "2.0", "id": 1}', -32600),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "Nothing"}', -32601),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "sendmessage"}', -32601),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": 7}', -32602),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {}}', -32602),
]


@pytest.mark.parametrize(("body", "code"), BODIES)
@pytest.mark.parametrize("dialect", [JSONRPC, JSONRPC_03], ids=str)
async def test_the_standard_errors_of_json_rpc(
    served: Served, dialect: Dialect, body: bytes, code: int
) -> None:
    if dialect is JSONRPC_03:
        body = body.replace(b'"GetTask"', b'"tasks/get"')
    headers = dialect.headers([("content-type", "application/json")], None)
    answer = await request(served.app, "POST", "/a2a", headers=headers, body=body)
    assert answer.status == 200
    assert answer["content-type"] == "application/json"
    answered = answer.json
    assert set(answered) == {"jsonrpc", "id", "error"}
    assert answered["error"]["code"] == code
    assert isinstance(answered["error"]["message"], str)
    if code in (-32601, -32602):
        assert answered["id"] == 1
    if code == -32700:
        assert answered["id"] is None


STANDARD_MESSAGES = {
    -32700: "Invalid JSON payload",
    -32600: "Request payload validation error",
    -32601: "Method not found",
    -32602: "Invalid parameters",
    -32603: "Internal error",
}


def test_the_standard_messages_are_the_default_ones() -> None:
    found = {kind.code: kind.default for kind in e.ERRORS if kind.code < -32099}
    assert found == STANDARD_MESSAGES


INVALID: list[tuple[str, Json, str]] = [
    ("SendMessage", {}, "message"),
    ("SendMessage", {"message": {}}, "message.messageId"),
    ("SendMessage", said(parts=[]), "message.parts"),
    ("SendMessage", said(role="ROLE_CHIEF"), "message.role"),
    ("SendMessage", said(parts=[{"text": "a", "url": "b"}]), "message.parts[0]"),
    ("SendMessage", said(metadata=7), "message.metadata"),
    ("GetTask", {"id": ""}, "id"),
    ("CancelTask", {"id": "x" * 257}, "id"),
]


@pytest.mark.parametrize(("operation", "params", "field"), INVALID)
async def test_what_is_invalid_is_told_with_its_path(
    served: Served, operation: str, params: Json, field: str
) -> None:
    """Over JSON-RPC, and over REST where the path cannot say it."""
    answer = await JSONRPC.call(served.app, operation, params)
    assert field in refused(JSONRPC, answer, "InvalidParams").fields
    if operation == "SendMessage":
        answer = await REST.call(served.app, operation, params)
        assert field in refused(REST, answer, "InvalidParams").fields


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_everything_is_validated_before_anything_is_done(
    served: Served, dialect: Dialect
) -> None:
    wrong: list[Json] = [{"parts": []}, {"role": "ROLE_CHIEF"}]
    if dialect not in (JSONRPC_03, REST_03):  # there the server names a message without an id
        wrong.append({"messageId": ""})
    for message in wrong:
        for operation in ("SendMessage", "SendStreamingMessage"):
            answer = await dialect.call(served.app, operation, said(**message))
            refused(dialect, answer, "InvalidParams")
    listed = await REST.call(served.app, "ListTasks")
    assert listed.result["totalSize"] == 0


async def test_errors_over_rest_are_a_google_rpc_status(served: Served) -> None:
    answer = await REST.call(served.app, "GetTask", {"id": "task-123"})
    assert answer.response.status == 404
    error = answer.raw["error"]
    assert set(error) == {"code", "status", "message", "details"}
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    info = error["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["domain"]) == ("TASK_NOT_FOUND", "a2a-protocol.org")
    assert info["metadata"]["taskId"] == "task-123"


def test_reasons_are_the_names_of_the_errors() -> None:
    for name, (_, _, _, reason) in ERRORS.items():
        assert re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() == reason


async def test_errors_of_03_over_rest_have_code_and_message(served: Served) -> None:
    answer = await REST_03.call(served.app, "GetTask", {"id": "x"})
    assert answer.response.status == 404
    body: dict[str, Any] = json.loads(answer.response.body)
    assert body["code"] == -32001
    assert body["message"]
