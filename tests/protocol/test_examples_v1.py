"""The requests and responses that the specification of 1.0 shows, in its order.

Requests decode to what they say; responses come back as they were, once read and written again.
Where an example leaves a required field out (it says so with a comment, or forgets it), the
written form has it with its proto default, and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.protocol import errors as e
from greenroom.protocol import jsonrpc, protojson, rest, sse
from greenroom.protocol import operations as o
from greenroom.protocol import types as t
from greenroom.protocol.codecs import codec_for

V1 = codec_for("1.0")


def user(text: str, id_: str, **more: Any) -> dict[str, Any]:
    return {"role": "ROLE_USER", "parts": [{"text": text}], "messageId": id_} | more


# --- requests with a body ------------------------------------------------------------------------

SENDS: list[tuple[str, str, dict[str, Any]]] = [
    ("6.1", "/message:send", {"message": user("What is the weather today?", "msg-uuid")}),
    ("6.2", "/message:stream", {"message": user("Write a report", "msg-uuid")}),
    ("6.3 first", "/message:send", {"message": user("Book me a flight", "msg-1")}),
    (
        "6.3 second",
        "/message:send",
        {"message": user("From San Francisco to New York", "msg-2", taskId="task-uuid")},
    ),
    ("6.4", "/message:send", {"message": user("Hello", "msg-uuid")}),
    (
        "6.6",
        "/message:send",
        {
            "message": user("Generate the Q1 sales report.", "6dbc13b5"),
            "configuration": {
                "taskPushNotificationConfig": {
                    "url": "https://client.example.com/webhook/a2a-notifications",
                    "authentication": {
                        "scheme": "Bearer",
                        "credentials": "secure-client-token-for-task-aaa",
                    },
                }
            },
        },
    ),
    (
        "6.7",
        "/message:send",
        {
            "message": {
                "role": "ROLE_USER",
                "parts": [
                    {"text": "Analyze this image and highlight any faces."},
                    {
                        "raw": "iVBORw0KGgoAAAANSUhEUgAAAAUA",
                        "filename": "input_image.png",
                        "mediaType": "image/png",
                    },
                ],
                "messageId": "6dbc13b5",
            }
        },
    ),
    (
        "6.8",
        "/message:send",
        {
            "message": {
                "role": "ROLE_USER",
                "parts": [
                    {
                        "text": "Show me a list of my open IT tickets",
                        "metadata": {
                            "mediaType": "application/json",
                            "schema": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {"ticketNumber": {"type": "string"}},
                                },
                            },
                        },
                    }
                ],
                "messageId": "85b26db5",
            }
        },
    ),
    (
        "11.4",
        "/message:send",
        {
            "message": {"messageId": "uuid", "role": "ROLE_USER", "parts": [{"text": "Hello"}]},
            "configuration": {"acceptedOutputModes": ["text/plain"]},
        },
    ),
]


@pytest.mark.parametrize(("section", "path", "body"), SENDS, ids=[row[0] for row in SENDS])
def test_requests_with_a_body(section: str, path: str, body: dict[str, Any]) -> None:
    route = rest.match("POST", path)
    assert route is not None
    request = rest.request(V1, route, "", json.dumps(body).encode())
    assert json.loads(protojson.encode(request)) == body


def test_the_request_of_section_11_2_lacks_what_is_required() -> None:
    body = b'{"message":{"role":"ROLE_USER","parts":[{"text":"Find restaurants near me"}]}}'
    with pytest.raises(e.InvalidParamsError) as caught:
        V1.decode(o.SEND, body)
    assert [path for path, _ in caught.value.violations] == ["message.messageId"]


# --- requests in the URL -------------------------------------------------------------------------

URLS: list[tuple[str, str, str, t.Wire]] = [
    ("3.6.1", "/tasks/task-123", "", t.GetTaskRequest(id="task-123")),
    ("3.6.1", "/tasks/task-123", "A2A-Version=1.0", t.GetTaskRequest(id="task-123")),
    (
        "6.5",
        "/tasks",
        "contextId=c295ea44-7543-4f78-b524-7a38915ad6e4&pageSize=10&historyLength=3",
        t.ListTasksRequest(
            context_id="c295ea44-7543-4f78-b524-7a38915ad6e4", page_size=10, history_length=3
        ),
    ),
    (
        "6.5",
        "/tasks",
        "status=TASK_STATE_WORKING&pageSize=20",
        t.ListTasksRequest(status=t.TaskState.WORKING, page_size=20),
    ),
    (
        "6.5",
        "/tasks",
        "contextId=c295&pageSize=10&pageToken=base64-encoded-cursor-token",
        t.ListTasksRequest(
            context_id="c295", page_size=10, page_token="base64-encoded-cursor-token"
        ),
    ),
    ("6.9", "/extendedAgentCard", "", t.GetExtendedAgentCardRequest()),
    (
        "11.5",
        "/tasks",
        "contextId=uuid&status=TASK_STATE_WORKING&pageSize=50&pageToken=cursor",
        t.ListTasksRequest(
            context_id="uuid", status=t.TaskState.WORKING, page_size=50, page_token="cursor"
        ),
    ),
    ("11.5", "/tasks/x", "historyLength=10", t.GetTaskRequest(id="x", history_length=10)),
    (
        "1.1 draft, 3.2.7",
        "/tasks/task-abc",
        "currentGeneration=3",
        t.GetTaskRequest(id="task-abc", current_generation=3),
    ),
]


@pytest.mark.parametrize(("section", "path", "query", "expected"), URLS)
def test_requests_in_the_url(section: str, path: str, query: str, expected: t.Wire) -> None:
    route = rest.match("GET", path)
    assert route is not None
    assert rest.request(V1, route, query) == expected


def test_the_refused_list_of_section_6_5_names_all_its_faults() -> None:
    route = rest.match("GET", "/tasks")
    assert route is not None
    with pytest.raises(e.InvalidParamsError) as caught:
        rest.request(V1, route, "pageSize=150&historyLength=-5")
    assert [path for path, _ in caught.value.violations] == ["pageSize", "historyLength"]
    with pytest.raises(e.InvalidParamsError) as caught:
        rest.request(V1, route, "pageSize=150&historyLength=-5&status=TASK_STATE_RUNNING")
    assert "status" in [path for path, _ in caught.value.violations]
    assert "TASK_STATE_AUTH_REQUIRED" in caught.value.message


# --- JSON-RPC requests ---------------------------------------------------------------------------

CALLS: list[tuple[str, dict[str, Any], o.Operation, t.Wire]] = [
    (
        "9.4.1",
        {"id": 1, "method": "SendMessage", "params": {"message": user("Hello", "m")}},
        o.SEND,
        t.SendMessageRequest(
            message=t.Message(message_id="m", role=t.Role.USER, parts=[t.Part(text="Hello")])
        ),
    ),
    (
        "9.4.3",
        {"id": 2, "method": "GetTask", "params": {"id": "task-uuid", "historyLength": 10}},
        o.GET_TASK,
        t.GetTaskRequest(id="task-uuid", history_length=10),
    ),
    (
        "9.4.4",
        {
            "id": 3,
            "method": "ListTasks",
            "params": {
                "contextId": "context-uuid",
                "status": "TASK_STATE_WORKING",
                "pageSize": 50,
                "pageToken": "cursor-token",
            },
        },
        o.LIST_TASKS,
        t.ListTasksRequest(
            context_id="context-uuid",
            status=t.TaskState.WORKING,
            page_size=50,
            page_token="cursor-token",
        ),
    ),
    (
        "9.4.5",
        {"id": 4, "method": "CancelTask", "params": {"id": "task-uuid"}},
        o.CANCEL,
        t.CancelTaskRequest(id="task-uuid"),
    ),
    (
        "9.4.6",
        {"id": 5, "method": "SubscribeToTask", "params": {"id": "task-uuid"}},
        o.SUBSCRIBE,
        t.SubscribeToTaskRequest(id="task-uuid"),
    ),
    (
        "9.4.8",
        {"id": 6, "method": "GetExtendedAgentCard"},
        o.EXTENDED_CARD,
        t.GetExtendedAgentCardRequest(),
    ),
]


@pytest.mark.parametrize(("section", "call", "operation", "expected"), CALLS)
def test_json_rpc_requests(
    section: str, call: dict[str, Any], operation: o.Operation, expected: t.Wire
) -> None:
    request = jsonrpc.parse(json.dumps({"jsonrpc": "2.0"} | call).encode())
    assert request.id == str(call["id"]).encode()
    assert jsonrpc.operation(request, "1.0") is operation
    assert V1.decode(operation, request.params) == expected


# --- responses and events ------------------------------------------------------------------------

RESPONSES: list[tuple[str, type[t.Wire], dict[str, Any], dict[str, Any]]] = [
    (
        "6.1",
        t.SendMessageResponse,
        {
            "task": {
                "id": "task-uuid",
                "contextId": "context-uuid",
                "status": {"state": "TASK_STATE_COMPLETED"},
                "artifacts": [
                    {
                        "artifactId": "artifact-uuid",
                        "name": "Weather Report",
                        "parts": [{"text": "Today will be sunny with a high of 75°F"}],
                    }
                ],
            }
        },
        {},
    ),
    (
        "6.2 task",
        t.StreamResponse,
        {"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}},
        {},
    ),
    (
        "6.2 artifact",
        t.StreamResponse,
        {
            "artifactUpdate": {
                "taskId": "task-uuid",
                "contextId": "context-uuid",
                "artifact": {"parts": [{"text": "# Climate Change Report\n\n"}]},
            }
        },
        {"artifactUpdate": {"artifact": {"artifactId": ""}}},
    ),
    (
        "6.2 status",
        t.StreamResponse,
        {
            "statusUpdate": {
                "taskId": "task-uuid",
                "contextId": "context-uuid",
                "status": {"state": "TASK_STATE_COMPLETED"},
            }
        },
        {},
    ),
    (
        "6.3",
        t.SendMessageResponse,
        {
            "task": {
                "id": "task-uuid",
                "status": {
                    "state": "TASK_STATE_INPUT_REQUIRED",
                    "message": {
                        "role": "ROLE_AGENT",
                        "parts": [{"text": "Where would you like to fly from and to?"}],
                    },
                },
            }
        },
        {"task": {"status": {"message": {"messageId": ""}}}},
    ),
    (
        "6.5",
        t.ListTasksResponse,
        {
            "tasks": [
                {
                    "id": "3f36680c",
                    "contextId": "c295ea44",
                    "status": {
                        "state": "TASK_STATE_COMPLETED",
                        "timestamp": "2024-03-15T10:15:00Z",
                    },
                }
            ],
            "totalSize": 5,
            "pageSize": 10,
            "nextPageToken": "",
        },
        {},
    ),
    (
        "6.5 working",
        t.ListTasksResponse,
        {
            "tasks": [
                {
                    "id": "789abc",
                    "contextId": "another-context-id",
                    "status": {
                        "state": "TASK_STATE_WORKING",
                        "message": {
                            "role": "ROLE_AGENT",
                            "parts": [{"text": "Processing your document analysis..."}],
                            "messageId": "msg-status-update",
                        },
                        "timestamp": "2024-03-15T10:20:00Z",
                    },
                }
            ],
            "totalSize": 1,
            "pageSize": 20,
            "nextPageToken": "",
        },
        {},
    ),
    (
        "6.6 webhook",
        t.StreamResponse,
        {
            "statusUpdate": {
                "taskId": "43667960",
                "contextId": "c295ea44",
                "status": {
                    "state": "TASK_STATE_COMPLETED",
                    "timestamp": "2024-03-15T18:30:00Z",
                },
            }
        },
        {},
    ),
    (
        "6.7",
        t.SendMessageResponse,
        {
            "task": {
                "id": "43667960",
                "contextId": "c295ea44",
                "status": {
                    "state": "TASK_STATE_COMPLETED",
                    "timestamp": "2024-03-15T12:05:00Z",
                },
                "artifacts": [
                    {
                        "artifactId": "9b6934dd",
                        "name": "processed_image_with_faces.png",
                        "parts": [
                            {
                                "url": "https://storage.example.com/output.png?token=xyz",
                                "filename": "output.png",
                                "mediaType": "image/png",
                            }
                        ],
                    }
                ],
            }
        },
        {},
    ),
    (
        "6.8",
        t.SendMessageResponse,
        {
            "task": {
                "id": "d8c6243f",
                "contextId": "c295ea44",
                "status": {
                    "state": "TASK_STATE_COMPLETED",
                    "timestamp": "2025-04-17T17:47:09.680794Z",
                },
                "artifacts": [
                    {
                        "artifactId": "c5e0382f",
                        "parts": [{"text": '[{"ticketNumber":"REQ12312"}]'}],
                    }
                ],
            }
        },
        {},
    ),
    (
        "8.5",
        t.AgentCard,
        {
            "name": "GeoSpatial Route Planner Agent",
            "description": "Plans routes.",
            "supportedInterfaces": [
                {
                    "url": "https://georoute-agent.example.com/a2a/v1",
                    "protocolBinding": "JSONRPC",
                    "protocolVersion": "1.0",
                },
                {
                    "url": "https://georoute-agent.example.com/a2a/grpc",
                    "protocolBinding": "GRPC",
                    "protocolVersion": "1.0",
                },
            ],
            "provider": {
                "organization": "Example Geo Services Inc.",
                "url": "https://www.examplegeoservices.com",
            },
            "iconUrl": "https://georoute-agent.example.com/icon.png",
            "version": "1.2.0",
            "documentationUrl": "https://docs.examplegeoservices.com/georoute-agent/api",
            "capabilities": {
                "streaming": True,
                "pushNotifications": True,
                "extendedAgentCard": True,
            },
            "securitySchemes": {
                "google": {
                    "openIdConnectSecurityScheme": {
                        "openIdConnectUrl": "https://accounts.google.com/.well-known/openid-configuration"
                    }
                }
            },
            "securityRequirements": [
                {"schemes": {"google": {"list": ["openid", "profile", "email"]}}}
            ],
            "defaultInputModes": ["application/json", "text/plain"],
            "defaultOutputModes": ["application/json", "image/png"],
            "skills": [
                {
                    "id": "route-optimizer-traffic",
                    "name": "Traffic-Aware Route Optimizer",
                    "description": "Finds the best way between places.",
                    "tags": ["maps", "routing", "traffic"],
                    "examples": ["Plan a route avoiding tolls."],
                    "inputModes": ["application/json", "text/plain"],
                    "outputModes": ["application/json", "text/html"],
                }
            ],
            "signatures": [{"protected": "eyJhbGciOiJFUzI1NiJ9", "signature": "QFdkNLNszlGj3z3u"}],
        },
        {},
    ),
    (
        "11.4",
        t.SendMessageResponse,
        {
            "task": {
                "id": "task-uuid",
                "contextId": "context-uuid",
                "status": {"state": "TASK_STATE_COMPLETED"},
            }
        },
        {},
    ),
]


def merged(into: Any, more: Any) -> Any:
    if not isinstance(more, dict):
        return more
    return into | {name: merged(into.get(name, {}), value) for name, value in more.items()}


@pytest.mark.parametrize(
    ("section", "type_", "body", "filled"), RESPONSES, ids=[row[0] for row in RESPONSES]
)
def test_responses(
    section: str, type_: type[t.Wire], body: dict[str, Any], filled: dict[str, Any]
) -> None:
    read = protojson.decode(json.dumps(body).encode(), type_)
    assert json.loads(protojson.encode(read)) == merged(body, filled)


def test_the_partial_card_of_section_6_9_can_be_read() -> None:
    card = protojson.decode(b'{"capabilities":{"extendedAgentCard":true}}', t.AgentCard)
    assert card.capabilities.extended_agent_card


def test_streams_over_json_rpc_are_envelopes_in_events() -> None:
    # Section 9.4.2
    payload = jsonrpc.result(b"1", b'{"task":{"id":"t","status":{"state":"TASK_STATE_WORKING"}}}')
    decoder = sse.Decoder()
    decoder.receive_data(sse.event(payload, 1))
    event = decoder.next_event()
    assert event is not None
    assert json.loads(event.data) == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"task": {"id": "t", "status": {"state": "TASK_STATE_WORKING"}}},
    }


# --- errors --------------------------------------------------------------------------------------


def test_the_invalid_parameters_of_section_9_5() -> None:
    fault = e.InvalidParamsError("Invalid parameters")
    fault.violations = [("message.parts", "At least one part is required")]
    answer = json.loads(jsonrpc.error(b"1", V1, fault))
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
    assert (answer["error"]["code"], answer["error"]["message"]) == (-32602, "Invalid parameters")
    assert {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [
            {"field": "message.parts", "description": "At least one part is required"}
        ],
    } in answer["error"]["data"]


def test_the_unknown_task_of_section_9_5() -> None:
    fault = e.TaskNotFoundError(taskId="nonexistent-task-id", timestamp="2025-11-09T10:30:00.000Z")
    assert json.loads(jsonrpc.error(b"2", V1, fault)) == {
        "jsonrpc": "2.0",
        "id": 2,
        "error": {
            "code": -32001,
            "message": "Task not found",
            "data": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "TASK_NOT_FOUND",
                    "domain": "a2a-protocol.org",
                    "metadata": {
                        "taskId": "nonexistent-task-id",
                        "timestamp": "2025-11-09T10:30:00.000Z",
                    },
                }
            ],
        },
    }


def test_the_unknown_task_of_section_11_6() -> None:
    fault = e.TaskNotFoundError(
        "The specified task ID does not exist or is not accessible",
        taskId="task-123",
        timestamp="2025-11-09T10:30:00.000Z",
    )
    assert fault.http == 404
    assert json.loads(V1.status(fault)) == {
        "error": {
            "code": 404,
            "status": "NOT_FOUND",
            "message": "The specified task ID does not exist or is not accessible",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "TASK_NOT_FOUND",
                    "domain": "a2a-protocol.org",
                    "metadata": {
                        "taskId": "task-123",
                        "timestamp": "2025-11-09T10:30:00.000Z",
                    },
                }
            ],
        }
    }


def test_the_generation_mismatch_of_the_1_1_draft() -> None:
    fault = e.TaskGenerationMismatchError(
        "expected 3, found 5", taskId="task-abc", expectedGeneration="3", currentGeneration="5"
    )
    assert fault.http == 409
    assert json.loads(codec_for("1.1").status(fault))["error"] == {
        "code": 409,
        "status": "ABORTED",
        "message": "expected 3, found 5",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "TASK_GENERATION_MISMATCH",
                "domain": "a2a-protocol.org",
                "metadata": {
                    "taskId": "task-abc",
                    "expectedGeneration": "3",
                    "currentGeneration": "5",
                },
            }
        ],
    }
