"""The JSON-RPC envelope to the letter (JSON-RPC 2.0; A2A sections 9.3 to 9.5)."""

from __future__ import annotations

import json

import pytest

from greenroom.protocol import jsonrpc
from greenroom.protocol import operations as o
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.errors import (
    A2AError,
    InvalidParamsError,
    InvalidRequestError,
    MethodNotFoundError,
    ParseError,
    TaskNotFoundError,
    VersionNotSupportedError,
)

V1 = codec_for("1.0")
GET = b'{"jsonrpc":"2.0","id":%b,"method":"GetTask","params":{"id":"t"}}'


@pytest.mark.parametrize(
    "id_",
    [
        b'"a"',
        b'""',
        b"1",
        b"0",
        b"-7",
        b"1.50",
        b"1e3",
        b"123456789012345678901234567890",
        b"null",
        b'"\\u00e9\\n\\""',
        '"é 🎭"'.encode(),
    ],
)
def test_ids_of_every_kind_come_back_as_they_were_written(id_: bytes) -> None:
    request = jsonrpc.parse(GET % id_)
    assert not request.notification, "an explicit null is an id"
    assert request.id == id_
    answer = jsonrpc.result(request.id, b'{"ok":true}')
    assert answer == b'{"jsonrpc":"2.0","id":' + id_ + b',"result":{"ok":true}}'
    refusal = jsonrpc.error(request.id, V1, TaskNotFoundError())
    assert b'"id":' + id_ + b',"error":{' in refusal
    assert json.loads(refusal)["error"]["code"] == -32001


def test_params_are_left_as_they_came() -> None:
    body = b'{"params": {"id" : "t" },"method":"GetTask","id":1,"jsonrpc":"2.0","more":[]}'
    request = jsonrpc.parse(body)
    assert request.params == b'{"id" : "t" }'
    assert jsonrpc.operation(request, "1.0") is o.GET_TASK


@pytest.mark.parametrize("params", [b"", b',"params":null', b',"params":{}'])
def test_missing_params_are_empty(params: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"GetExtendedAgentCard"%b}' % params
    assert jsonrpc.parse(body).params == b"{}"


def test_a_request_without_id_is_a_notification() -> None:
    request = jsonrpc.parse(b'{"jsonrpc":"2.0","method":"CancelTask","params":{"id":"t"}}')
    assert request.notification
    assert jsonrpc.operation(request, "1.0") is o.CANCEL


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nope", b'{"id":"\xff"}', b"[" * 5000, b"\xef\xbb\xbf{"]
)
def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ParseError):
        jsonrpc.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[1e999]",
        b" \n[" + GET % b"1" + b"]",
        b'"GetTask"',
        b"1",
        b"null",
        b"{}",
        b'{"method":"GetTask"}',
        b'{"jsonrpc":"2.0"}',
        GET % b"{}",
        GET % b"[1]",
        GET % b"true",
        GET % b"false",
        GET % (b'"%b"' % (b"x" * 2000)),
    ],
)
def test_what_is_no_request_is_refused_without_an_id(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        jsonrpc.parse(body)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"id":1,"method":"GetTask"}', InvalidRequestError),
        (b'{"jsonrpc":"1.0","id":1,"method":"GetTask"}', InvalidRequestError),
        (b'{"jsonrpc":2.0,"id":1,"method":"GetTask"}', InvalidRequestError),
        (b'{"jsonrpc":null,"id":1,"method":"GetTask"}', InvalidRequestError),
        (b'{"jsonrpc":"2.0","id":1}', InvalidRequestError),
        (b'{"jsonrpc":"2.0","id":1,"method":1}', InvalidRequestError),
        (b'{"jsonrpc":"2.0","id":1,"method":null}', InvalidRequestError),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":[]}', InvalidParamsError),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":"x"}', InvalidParamsError),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":0}', InvalidParamsError),
        (b'{"jsonrpc":"2.0","id":1,"method":""}', MethodNotFoundError),
        (b'{"jsonrpc":"2.0","id":1,"method":"gettask"}', MethodNotFoundError),
        (b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}', MethodNotFoundError),
    ],
)
def test_other_faults_are_answered_with_the_id(body: bytes, kind: type[A2AError]) -> None:
    request = jsonrpc.parse(body)
    assert request.id == b"1"
    with pytest.raises(kind):
        jsonrpc.operation(request, "1.0")


@pytest.mark.parametrize("operation", o.OPERATIONS, ids=lambda operation: operation.name)
def test_methods_belong_to_their_version(operation: o.Operation) -> None:
    def asked(method: str, version: str) -> o.Operation:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode()
        return jsonrpc.operation(jsonrpc.parse(body), version)

    assert asked(operation.name, "1.0") is operation
    assert asked(operation.name, "1.1") is operation
    with pytest.raises(VersionNotSupportedError, match=r"A2A-Version: 1\.0"):
        asked(operation.name, "0.3")
    if operation.method_03 is not None:
        assert asked(operation.method_03, "0.3") is operation
        with pytest.raises(VersionNotSupportedError, match=r"A2A-Version: 0\.3"):
            asked(operation.method_03, "1.0")


def test_the_extended_card_of_0_2_has_its_own_name() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"agent/authenticatedExtendedCard"}'
    assert jsonrpc.operation(jsonrpc.parse(body), "0.3") is o.EXTENDED_CARD
