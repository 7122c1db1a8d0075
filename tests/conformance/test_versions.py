"""Which version is spoken (section 3.6), and that each is spoken to the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.asgi import Headers, Response, request

from .conftest import Served, said
from .dialects import DIALECTS, JSONRPC, JSONRPC_03, REST, REST_03, Dialect, JsonRpc
from .errors import refused

pytestmark = pytest.mark.anyio


def speaks(answer: Response) -> str:
    """The version whose words the answer to a send is in."""
    body = answer.json
    if "error" in body:
        return f"error {body['error']['code']}"
    result = body.get("result", body)
    return "0.3" if "kind" in result else "1.0"


async def posted(served: Served, dialect: JsonRpc, query: str, headers: Headers) -> Response:
    """Send over JSON-RPC with exactly these headers."""
    _, path, body = dialect.request("SendMessage", said())
    headers = [("content-type", "application/json"), *headers]
    raw = json.dumps(body).encode()
    return await request(served.app, "POST", f"{path}{query}", headers=headers, body=raw)


@pytest.mark.parametrize("asked", ["1.0", "1.0.0", "1.0.1", "1.0.99", " 1.0 ", "1.1", "1.1.7"])
async def test_patch_numbers_take_no_part(served: Served, asked: str) -> None:
    answer = await posted(served, JSONRPC, "", [("a2a-version", asked)])
    assert speaks(answer) == "1.0"
    assert answer["a2a-version"] == asked.strip()[:3]


@pytest.mark.parametrize("asked", [None, "", "0.3", "0.3.0", "0.3.9"])
async def test_no_version_is_03(served: Served, asked: str | None) -> None:
    headers = [] if asked is None else [("a2a-version", asked)]
    answer = await posted(served, JSONRPC_03, "", headers)
    assert speaks(answer) == "0.3"
    assert answer["a2a-version"] == "0.3"
    assert speaks(await posted(served, JSONRPC, "", headers)) == "error -32009"
    over_rest = await request(served.app, "GET", "/v1/tasks/x", headers=headers)
    assert over_rest.status == 404
    assert over_rest["a2a-version"] == "0.3"


@pytest.mark.parametrize("name", ["A2A-Version", "a2a-version", "A2A-VERSION"])
async def test_the_version_may_be_a_parameter(served: Served, name: str) -> None:
    assert speaks(await posted(served, JSONRPC, f"?{name}=1.0", [])) == "1.0"
    assert speaks(await posted(served, JSONRPC_03, f"?{name}=", [])) == "0.3"
    assert speaks(await posted(served, JSONRPC_03, f"?{name}=0.3", [])) == "0.3"
    assert speaks(await posted(served, JSONRPC, f"?{name}=99.0", [])) == "error -32009"
    sent = (await served.send(REST)).task
    over_rest = await request(served.app, "GET", f"/tasks/{sent['id']}?{name}=1.0")
    assert over_rest.json == sent


async def test_the_header_counts_before_the_parameter(served: Served) -> None:
    headers = [("a2a-version", "1.0")]
    assert speaks(await posted(served, JSONRPC, "?A2A-Version=0.3", headers)) == "1.0"


@pytest.mark.parametrize("asked", ["0.4", "0.5", "0.1", "1", "2.0", "99.0", "1.0.0.0", "v1.0", "x"])
@pytest.mark.parametrize(
    "operation", ["SendMessage", "SendStreamingMessage", "GetTask", "GetExtendedAgentCard"]
)
async def test_unknown_versions_are_refused(
    served: Served, dialect: Dialect, asked: str, operation: str
) -> None:
    params: Any = said() if operation.startswith("Send") else {"id": "x"}
    if operation == "GetExtendedAgentCard":
        params = {}
    headers = [("a2a-version", asked)]
    answer = await dialect.call(served.app, operation, params, headers=headers)
    fault = refused(dialect, answer, "VersionNotSupported")
    assert "1.0" in fault.message, "it says what to send"
    assert (await REST.call(served.app, "ListTasks")).result["totalSize"] == 0


async def test_each_answer_is_in_the_words_of_its_version(served: Served) -> None:
    task = (await served.send(REST, "three")).task["id"]
    plain = (await JSONRPC.call(served.app, "GetTask", {"id": task})).raw["result"]
    old = (await JSONRPC_03.call(served.app, "GetTask", {"id": task})).raw["result"]
    proto = (await REST_03.call(served.app, "GetTask", {"id": task})).raw
    assert "kind" not in json.dumps([plain, proto])
    assert old["kind"] == "task"
    assert (plain["status"]["state"], old["status"]["state"]) == (
        "TASK_STATE_COMPLETED",
        "completed",
    )
    assert [one["kind"] for one in old["artifacts"][0]["parts"]] == ["text"]
    assert old["history"][0]["role"] == "user"
    assert proto["history"][0]["role"] == "ROLE_USER"
    assert "content" in proto["history"][0]


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_generations_are_of_1_1_only(served: Served, dialect: Dialect) -> None:
    answer = await dialect.call(served.app, "SendStreamingMessage", said("three"))
    assert b"generation" not in answer.response.body
    again = await dialect.call(served.app, "GetTask", {"id": answer.result[0]["task"]["id"]})
    assert b"generation" not in again.response.body
