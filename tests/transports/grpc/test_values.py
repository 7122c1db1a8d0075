"""A value that one binding takes is read over all, or is refused where it comes in."""

from __future__ import annotations

import json
import uuid
from typing import Any

import grpc
import pytest
from a2a.compat.v0_3 import a2a_v0_3_pb2 as old_pb
from a2a.compat.v0_3 import a2a_v0_3_pb2_grpc as old_stubs
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict

from greenroom import Agent, Part, TaskContext
from greenroom.protocol.values import MAX_DEPTH
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import request

from .serving import serving, stub

VERSION = [("a2a-version", "1.0")]


def old_stub(channel: grpc.Channel) -> Any:
    return old_stubs.A2AServiceStub(channel)  # type: ignore[no-untyped-call]


def nested(levels: int, *, objects: bool = False, inside: Any = 1) -> Any:
    for _ in range(levels):
        inside = {"a": inside} if objects else [inside]
    return inside


def echo() -> Agent:
    agent = Agent("Echo", input_modes=["*/*"])

    @agent.handler
    async def handle(ctx: TaskContext) -> Any:
        data = [Part(data=part.data, metadata=part.metadata) for part in ctx.parts]
        await ctx.status(data)
        await ctx.artifact("back", data)
        return None

    return agent


def post(server: Any, path: str, body: dict[str, Any] | bytes, version: str = "1.0") -> Any:
    """POST to the runtime of the gRPC server, in its loop."""
    headers = [("content-type", "application/json"), ("a2a-version", version)]
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def ask() -> Any:
        app = Application(server.runtime, HttpSettings())
        return await request(app, "POST", path, headers=headers, body=sent)

    return server.portal.call(ask)


def message(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messageId": uuid.uuid4().hex, "role": "ROLE_USER", "parts": [part], **more}


FIT: list[tuple[str, Any]] = [
    ("arrays", nested(MAX_DEPTH)),
    ("objects", nested(MAX_DEPTH, objects=True)),
    ("mixed", nested(MAX_DEPTH - 4, inside={"a": [1e300, -1.5, None, "ü😀", {}]})),
    ("wide", {str(n): [n] for n in range(2000)}),
]


@pytest.mark.parametrize("value", [row[1] for row in FIT], ids=[row[0] for row in FIT])
def test_what_is_taken_is_read_over_grpc_of_both_versions(value: Any) -> None:
    metadata = value if isinstance(value, dict) else {"m": value[0]}
    with serving([echo()]) as server, server.channel() as channel:
        sent = message({"data": value, "metadata": metadata}, metadata=metadata)
        answer = post(server, "/message:send", {"message": sent, "metadata": metadata})
        assert answer.status == 200, answer.body
        task = answer.json["task"]
        assert task["artifacts"][0]["parts"][0]["data"] == value
        client = stub(channel)
        page = client.ListTasks(
            pb.ListTasksRequest(history_length=10, include_artifacts=True), metadata=VERSION
        )
        assert MessageToDict(page.tasks[0].artifacts[0].parts[0].data) == value
        old = old_stub(channel)
        found = old.GetTask(old_pb.GetTaskRequest(name=f"tasks/{task['id']}"))
        assert metadata.items() <= MessageToDict(found.artifacts[0].parts[0].metadata).items()
        again = pb.SendMessageRequest(message=ParseDict(sent, pb.Message()))
        again.message.message_id = "again"
        events = [*client.SendStreamingMessage(again, metadata=VERSION)]
        assert events[-1].HasField("status_update")


UNFIT: list[tuple[str, Any]] = [
    ("arrays", nested(MAX_DEPTH + 1)),
    ("objects", nested(MAX_DEPTH + 1, objects=True)),
    ("sixty", nested(60)),
    ("huge", {"n": 10**400}),
    ("minus", [-(10**400)]),
    ("edge", 2**1024),
]


@pytest.mark.parametrize("where", ["data", "part", "message", "request"])
@pytest.mark.parametrize("value", [row[1] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_what_not_every_binding_holds_is_refused_where_it_comes_in(value: Any, where: str) -> None:
    metadata = value if isinstance(value, dict) else {"m": value}
    part: dict[str, Any] = {"data": value} if where == "data" else {"text": "hi"}
    if where == "part":
        part["metadata"] = metadata
    sent = message(part, **({"metadata": metadata} if where == "message" else {}))
    params = {"message": sent, **({"metadata": metadata} if where == "request" else {})}
    old_part = {"kind": "text", **part} if "text" in part else {"kind": "data", "data": metadata}
    if where == "part":
        old_part["metadata"] = metadata
    old = {**params, "message": {**sent, "kind": "message", "role": "user", "parts": [old_part]}}
    with serving([echo()]) as server, server.channel() as channel:
        rest = post(server, "/message:send", params)
        assert (rest.status, rest.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
        for version, method, body in (
            ("1.0", "SendMessage", params), ("1.0", "SendStreamingMessage", params),
            ("0.3", "message/send", old),
        ):  # fmt: skip
            envelope = {"jsonrpc": "2.0", "id": 1, "method": method, "params": body}
            answer = post(server, "/a2a", envelope, version)
            assert answer.json["error"]["code"] == -32602, answer.body
            assert where in answer.body.decode() or where in ("part", "request", "data")
        page = stub(channel).ListTasks(pb.ListTasksRequest(), metadata=VERSION)
        assert not page.tasks


@pytest.mark.parametrize("objects", [False, True])
def test_grpc_refuses_the_same(objects: bool) -> None:
    with serving([echo()]) as server, server.channel() as channel:
        sent = pb.Message(message_id="m", role=pb.ROLE_USER)
        inner = sent.parts.add().data
        for _ in range(MAX_DEPTH + 1):
            inner = inner.struct_value.fields["a"] if objects else inner.list_value.values.add()
        inner.number_value = 1
        with pytest.raises(grpc.RpcError) as refused:
            stub(channel).SendMessage(pb.SendMessageRequest(message=sent), metadata=VERSION)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        sent.parts[0].data.number_value = float("inf")
        with pytest.raises(grpc.RpcError) as refused:
            stub(channel).SendMessage(pb.SendMessageRequest(message=sent), metadata=VERSION)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_half_a_character_goes_out_whole_on_every_binding() -> None:
    agent = Agent("Halves")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        await ctx.artifact("n\ud83d", {"k\ud83d": "\ud83d\ude00"}, metadata={"m": "\ud83d"})
        return "half \ud83d of it"

    with serving([agent]) as server, server.channel() as channel:
        sent = {"message": message({"text": "go"})}
        task = post(server, "/message:send", sent).json["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        found = stub(channel).GetTask(pb.GetTaskRequest(id=task["id"]), metadata=VERSION)
        assert found.artifacts[0].name == "n\ufffd"
        assert MessageToDict(found.artifacts[0].parts[0].data) == {"k\ufffd": "😀"}
        assert found.artifacts[1].parts[0].text == "half \ufffd of it"
        old = old_stub(channel)
        assert old.GetTask(old_pb.GetTaskRequest(name=f"tasks/{task['id']}")).artifacts


def test_a_date_in_data_that_a_handler_made_itself_is_read_over_grpc() -> None:
    import datetime

    agent = Agent("Dates")

    @agent.handler
    async def handle(ctx: TaskContext) -> Part:
        return Part(data={"on": datetime.date(2026, 1, 2), "all": {1}}, metadata={"t": (1, 2)})

    with serving([agent]) as server, server.channel() as channel:
        sent = pb.Message(message_id="m", role=pb.ROLE_USER, parts=[pb.Part(text="go")])
        answer = stub(channel).SendMessage(pb.SendMessageRequest(message=sent), metadata=VERSION)
        [part] = answer.task.artifacts[0].parts
        assert MessageToDict(part.data) == {"on": "2026-01-02", "all": [1.0]}
        assert MessageToDict(part.metadata) == {"t": [1.0, 2.0]}
