"""The examples of the specifications, sent to the real application and made by a real agent.

``tests/protocol`` reads and writes every example by itself; here they meet the whole house. Numbers
are those of ``docs/conformance.md``: the code blocks of a specification in their order.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import Agent, Artifact, Part, TaskContext
from greenroom.protocol import protojson
from greenroom.protocol import types as t
from greenroom.protocol.cards.shapes import card_json, parse_card
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock
from greenroom.transports.http.asgi import Application
from tests.protocol.test_examples_v1 import CALLS, SENDS, URLS, merged, user
from tests.protocol.v03.test_examples import EXAMPLES
from tests.support.asgi import Headers, Response, request
from tests.support.servers import in_memory

from .conftest import START, kinds, state
from .dialects import JSONRPC_03, REST, Json

pytestmark = pytest.mark.anyio

GEO = "https://example.com/extensions/geolocation/v1"
CITE = "https://standards.org/extensions/citations/v1"
V1 = [("a2a-version", "1.0"), ("content-type", "application/a2a+json")]

agent = Agent("Examples", description="Answers as the examples do.", input_modes=["*/*"])


@agent.handler
async def answer(ctx: TaskContext) -> Any:
    match ctx.text:
        case "What is the weather today?":
            text = "Today will be sunny with a high of 75°F"
            return Artifact(artifact_id="a", name="Weather Report", parts=[Part(text=text)])
        case "Write a report":
            async with ctx.artifact("report") as out:
                await out.write("# Climate Change Report\n\n")
            return None
        case "Book me a flight":
            where = await ctx.ask("Where would you like to fly from and to?")
            return f"Booked: {where}"
        case "Show me a list of my open IT tickets":
            return [{"ticketNumber": "REQ12312"}]
    return "Done"


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    runtime = Runtime([agent], store=MemoryStore(), clock=LoopClock(START))
    async with in_memory(runtime=runtime) as server:
        yield server.app


async def sent(app: Application, path: str, body: Json, headers: Headers = ()) -> Response:
    raw = json.dumps(body).encode()
    return await request(app, "POST", path, headers=[*V1, *headers], body=raw)


# --- requests of 1.0 -----------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "path", "body"), SENDS, ids=[row[0] for row in SENDS])
async def test_sends_are_answered(app: Application, section: str, path: str, body: Json) -> None:
    answer = await sent(app, path, body)
    if "taskId" in body["message"]:  # nobody has begun that task here
        assert answer.status == 404
        assert b"TASK_NOT_FOUND" in answer.body
    elif "taskPushNotificationConfig" in body.get("configuration", {}):
        assert answer.status == 400
        assert b"PUSH_NOTIFICATION_NOT_SUPPORTED" in answer.body
    else:
        assert answer.status == 200, answer.body
        streamed = answer["content-type"] == "text/event-stream"
        assert streamed == path.endswith(":stream")
        answered = json.loads(answer.events[0].data) if streamed else answer.json
        assert answered["task"]["history"][0]["parts"] == body["message"]["parts"]


@pytest.mark.parametrize("row", URLS, ids=[f"{row[0]} {row[1]} {row[2]}" for row in URLS])
async def test_requests_in_the_url_are_answered(app: Application, row: tuple[Any, ...]) -> None:
    _, path, query, _ = row
    headers = [] if "A2A-Version" in query else [("a2a-version", "1.0")]
    answer = await request(app, "GET", f"{path}?{query}", headers=headers)
    if path.startswith("/tasks/"):
        assert answer.status == 404
        assert b"TASK_NOT_FOUND" in answer.body
    elif path == "/tasks" and "pageToken" in query:  # it is of another server
        assert answer.status == 400
        assert b'"field":"pageToken"' in answer.body
    elif path == "/tasks":
        assert answer.json["tasks"] == []
        assert answer.json["nextPageToken"] == ""
    else:
        assert b"UNSUPPORTED_OPERATION" in answer.body


@pytest.mark.parametrize("row", CALLS, ids=[row[1]["method"] for row in CALLS])
async def test_json_rpc_requests_are_answered(app: Application, row: tuple[Any, ...]) -> None:
    envelope = {"jsonrpc": "2.0"} | row[1]
    answer = (await sent(app, "/a2a", envelope)).json
    assert answer["id"] == envelope["id"]
    codes = {"GetTask": -32001, "CancelTask": -32001, "SubscribeToTask": -32001}
    codes |= {"GetExtendedAgentCard": -32004, "ListTasks": -32602}  # its token is another's
    if envelope["method"] in codes:
        assert answer["error"]["code"] == codes[envelope["method"]]
    else:
        assert answer["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_the_method_of_section_9_3_is_no_method(app: Application) -> None:
    envelope = {"jsonrpc": "2.0", "id": "unique-request-id", "method": "category/action"}
    body = (await sent(app, "/a2a", envelope)).json
    assert (body["id"], body["error"]["code"]) == ("unique-request-id", -32601)


LOCATED = {
    "role": "ROLE_USER",
    "parts": [{"text": "Find restaurants near me"}],
    "extensions": [GEO],
    "metadata": {GEO: {"latitude": 37.7749, "longitude": -122.4194}},
}


@pytest.mark.parametrize(
    "message",
    [
        LOCATED,
        LOCATED | {"metadata": {GEO: {"accuracy": 10.0, "timestamp": "2025-10-21T14:30:00Z"}}},
        {"role": "ROLE_USER", "parts": [{"text": "Find restaurants near me"}]},
    ],
    ids=["4.6.1", "4.6.2", "11.2"],
)
async def test_requests_with_extensions(app: Application, message: Json) -> None:
    """The specification forgets the required ``messageId`` in all three; with it they are taken."""
    headers = [("a2a-extensions", f"{GEO},{CITE}")]
    refused = await sent(app, "/message:send", {"message": message}, headers)
    assert refused.status == 400
    assert b'"field":"message.messageId"' in refused.body
    whole = message | {"messageId": "m-1"}
    answer = await sent(app, "/message:send", {"message": whole}, headers)
    assert answer.status == 200
    kept = answer.json["task"]["history"][0]
    assert {name: kept.get(name) for name in message} == message


async def test_the_json_rpc_request_of_section_9_2(app: Application) -> None:
    """It names 0.3 and a method of 1.0: which is which is said."""
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {}}
    headers = [("a2a-version", "0.3"), ("a2a-extensions", f"{GEO},{CITE}")]
    raw = json.dumps(envelope).encode()
    kind = ("content-type", "application/json")
    body = (await request(app, "POST", "/a2a", headers=[*headers, kind], body=raw)).json
    assert body["error"]["code"] == -32009
    assert "1.0" in body["error"]["message"]


async def test_the_unknown_version_of_section_6_4(app: Application) -> None:
    raw = json.dumps({"message": user("Hello", "msg-uuid")}).encode()
    headers = [("a2a-version", "0.5"), ("content-type", "application/a2a+json")]
    answer = await request(app, "POST", "/message:send", headers=headers, body=raw)
    assert answer.status == 400
    # The example has RFC 9457's form; the rule of section 11.6 has google.rpc.Status.
    detail = answer.json["error"]["details"][0]
    assert detail["reason"] == "VERSION_NOT_SUPPORTED"
    assert detail["metadata"] == {"supportedVersions": "0.3,1.0,1.1"}


async def test_the_refused_list_of_section_6_5(app: Application) -> None:
    query = "pageSize=150&historyLength=-5&status=TASK_STATE_RUNNING"
    answer = await request(app, "GET", f"/tasks?{query}", headers=[("a2a-version", "1.0")])
    assert answer.status == 400
    assert b'"field":"status"' in answer.body


# --- workflows of 1.0, section 6 -----------------------------------------------------------------


async def test_basic_execution(app: Application) -> None:
    body = (await sent(app, "/message:send", SENDS[0][2])).json["task"]
    assert body["status"]["state"] == "TASK_STATE_COMPLETED"
    artifact = body["artifacts"][0]
    assert artifact["name"] == "Weather Report"
    assert artifact["parts"] == [{"text": "Today will be sunny with a high of 75°F"}]


async def test_streaming_execution(app: Application) -> None:
    answer = await sent(app, "/message:stream", SENDS[1][2])
    assert answer["content-type"] == "text/event-stream"
    events = [json.loads(event.data) for event in answer.events]
    order = kinds(events)
    assert order[0].startswith("task ")
    assert order[-1] == "statusUpdate COMPLETED"
    chunks = [event["artifactUpdate"] for event in events if "artifactUpdate" in event]
    texts = [part["text"] for chunk in chunks for part in chunk["artifact"]["parts"]]
    assert "".join(texts) == "# Climate Change Report\n\n"
    assert {chunk["taskId"] for chunk in chunks} == {events[0]["task"]["id"]}


async def test_multi_turn_interaction(app: Application) -> None:
    asked = (await sent(app, "/message:send", SENDS[2][2])).json["task"]
    assert state(asked) == "INPUT_REQUIRED"
    said = asked["status"]["message"]
    assert said["role"] == "ROLE_AGENT"
    assert said["parts"] == [{"text": "Where would you like to fly from and to?"}]
    body = merged(SENDS[3][2], {"message": {"taskId": asked["id"]}})
    done = (await sent(app, "/message:send", body)).json["task"]
    assert done["id"] == asked["id"]
    assert done["artifacts"][0]["parts"] == [{"text": "Booked: From San Francisco to New York"}]


async def test_structured_data(app: Application) -> None:
    body = next(row[2] for row in SENDS if row[0] == "6.8")
    answered = (await sent(app, "/message:send", body)).json["task"]
    assert answered["artifacts"][0]["parts"][0]["data"] == [{"ticketNumber": "REQ12312"}]


async def test_listing_tasks(app: Application) -> None:
    for number in range(3):
        await sent(app, "/message:send", {"message": user("Hello", f"m-{number}", contextId="c")})
    first = (await REST.call(app, "ListTasks", {"contextId": "c", "pageSize": 2})).result
    assert (len(first["tasks"]), first["totalSize"], first["pageSize"]) == (2, 3, 2)
    params = {"contextId": "c", "pageSize": 2, "pageToken": first["nextPageToken"]}
    second = (await REST.call(app, "ListTasks", params)).result
    assert (len(second["tasks"]), second["nextPageToken"]) == (1, "")


# --- requests of 0.3 and 0.2 ---------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_old_requests_are_answered(app: Application, number: int) -> None:
    example = EXAMPLES[number]
    if example["kind"] != "request":
        assert example["kind"] in ("response", "card", "task")  # tests/protocol reads and writes it
        return
    method = example["method"]
    envelope = {"jsonrpc": "2.0", "id": "r-1", "method": method, "params": example["json"]}
    raw = json.dumps(envelope).encode()
    headers = [("content-type", "application/json")]
    answer = await request(app, "POST", "/", headers=headers, body=raw)
    if answer["content-type"] == "text/event-stream":
        found = JSONRPC_03.streamed(answer)
    else:
        found = JSONRPC_03.told(answer, answer.json)
    params = example["json"]
    if method.startswith("agent/"):
        assert found.fault is not None
        assert found.fault.code == -32007
    elif "taskId" in params["message"]:
        assert found.fault is not None
        assert found.fault.code == -32001
    elif "pushNotificationConfig" in params.get("configuration", {}):
        assert found.fault is not None
        assert found.fault.code == -32003
    elif method == "message/stream":
        assert found.response.status == 200
        assert b'"kind":"status-update"' in answer.body
    else:
        assert state(found.task) == "COMPLETED"


# --- objects that are no requests ----------------------------------------------------------------


def read_and_written(type_: type[t.Wire], plain: Json) -> Any:
    return json.loads(protojson.encode(protojson.decode(json.dumps(plain).encode(), type_)))


@pytest.mark.parametrize(
    "member",
    [
        {"task": {"id": "t", "status": {"state": "TASK_STATE_WORKING"}}},
        {"message": user("hi", "m")},
        {"statusUpdate": {"taskId": "t", "contextId": "c",
                          "status": {"state": "TASK_STATE_COMPLETED"}}},
        {"artifactUpdate": {"taskId": "t", "contextId": "c",
                            "artifact": {"artifactId": "a", "parts": [{"text": "x"}]}}},
    ],
)  # fmt: skip
def test_the_payload_of_section_4_3_3_is_a_stream_response(member: Json) -> None:
    assert read_and_written(t.StreamResponse, member) == member


def test_the_card_of_section_4_6_1() -> None:
    plain = {
        "name": "Research Assistant Agent",
        "description": "AI agent for academic research and fact-checking",
        "supportedInterfaces": [
            {
                "url": "https://research-agent.example.com/a2a/v1",
                "protocolBinding": "HTTP+JSON",
                "protocolVersion": "0.3",
            }
        ],
        "version": "1.0.0",  # which the example forgets
        "capabilities": {
            "streaming": False,
            "pushNotifications": False,
            "extensions": [
                {"uri": CITE, "description": "Citations", "required": False},
                {"uri": GEO, "description": "Places", "required": False},
            ],
        },
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [
            {
                "id": "academic-research",
                "name": "Academic Research Assistant",
                "description": "Provides research assistance",
                "tags": ["research", "citations", "academic"],
                "examples": ["Find peer-reviewed articles on climate change"],
                "inputModes": ["text/plain"],
                "outputModes": ["text/plain"],
            }
        ],
    }
    card = parse_card(json.dumps(plain).encode())
    assert [one.uri for one in card.capabilities.extensions or []] == [CITE, GEO]
    written = json.loads(card_json(card, "1.0"))
    for extension in plain["capabilities"]["extensions"]:  # type: ignore[index]
        del extension["required"]  # false is what absence means
    assert written == plain


def test_the_artifact_of_section_4_6_2() -> None:
    plain = {
        "artifactId": "research-summary-001",
        "name": "Climate Change Summary",
        "parts": [{"text": "Global temperatures have risen by 1.1°C."}],
        "extensions": [CITE],
        "metadata": {CITE: {"sources": [{"title": "Report", "authors": ["Smith, J."]}]}},
    }
    assert read_and_written(t.Artifact, plain) == plain


@pytest.mark.parametrize(
    "stamp", ["2025-10-28T10:30:00.000Z", "2025-10-28T14:25:33.142Z", "2025-10-31T17:45:22.891Z"]
)
async def test_the_timestamps_of_section_5_6_1(app: Application, stamp: str) -> None:
    status = {"state": "TASK_STATE_WORKING", "timestamp": stamp}
    assert read_and_written(t.TaskStatus, status) == status
    listed = await REST.call(app, "ListTasks", {"statusTimestampAfter": stamp})
    assert listed.fault is None


@pytest.mark.parametrize("version", [{"protocolVersion": "1.0"}, {}], ids=["5.8", "12.7"])
def test_custom_bindings_may_be_on_cards(version: Json) -> None:
    """Sections 5.8 and 12.7, where the second forgets the required version."""
    interface = {
        "url": "wss://agent.example.com/a2a/websocket",
        "protocolBinding": "https://example.com/bindings/websocket/v1",
    } | version
    plain = {
        "name": "n", "description": "d", "version": "1", "capabilities": {},
        "defaultInputModes": ["a/b"], "defaultOutputModes": ["a/b"], "skills": [],
        "supportedInterfaces": [interface],
    }  # fmt: skip
    card = parse_card(json.dumps(plain).encode())
    found = card.supported_interfaces[0]
    assert found.protocol_binding == interface["protocolBinding"]
    assert found.url == interface["url"]


OLD_AND_NEW = [
    ({"kind": "text", "text": "Hello, world!"}, {"text": "Hello, world!"}),
    (
        {"kind": "file", "file": {"name": "diagram.png", "mimeType": "image/png",
                                  "fileWithBytes": "iVBORw0KGgo="}},
        {"raw": "iVBORw0KGgo=", "filename": "diagram.png", "mediaType": "image/png"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW, ids=["text", "file"])
async def test_the_parts_of_appendix_a_2_1(app: Application, old: Json, new: Json) -> None:
    """What one says in 0.3 the other reads in 1.0."""
    message = {"kind": "message", "messageId": "m", "role": "user", "parts": [old]}
    envelope = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    kind = [("content-type", "application/json")]
    answer = await request(app, "POST", "/", headers=kind, body=json.dumps(envelope).encode())
    task = await REST.call(app, "GetTask", {"id": answer.json["result"]["id"]})
    assert task.task["history"][0]["parts"] == [new]


def test_the_extended_card_moved_into_the_capabilities() -> None:
    """Appendix A.2.2; what was released as 0.3 calls it ``supportsAuthenticatedExtendedCard``."""
    new = parse_card(
        b'{"name":"n","supportedInterfaces":[{"url":"https://a.example","protocolBinding":"JSONRPC",'
        b'"protocolVersion":"1.0"}],"capabilities":{"streaming":true,"extendedAgentCard":true}}'
    )
    old = parse_card(
        b'{"name":"n","url":"https://a.example","protocolVersion":"0.3.0",'
        b'"supportsAuthenticatedExtendedCard":true,"capabilities":{"streaming":true}}'
    )
    assert new.capabilities.extended_agent_card is True
    assert old.capabilities.extended_agent_card is True
