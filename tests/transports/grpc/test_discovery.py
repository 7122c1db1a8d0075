"""What clients learn from the server alone: reflection, health, cards."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from greenroom import MemoryStore, Runtime
from greenroom.auth import ApiKeys, Security, new_key
from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.runtime.journal.store import StoreError
from greenroom.transports.errors import ServerError
from greenroom.transports.grpc.server import GrpcServer

from .serving import Serving, make_agents, said, serving, stub

V1 = "lf.a2a.v1.A2AService"


class Reflected:
    """A client that knows nothing but the address."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self.database)

    def call(self, service: str, name: str, request: dict[str, Any]) -> Any:
        method = self._pool.FindServiceByName(service).methods_by_name[name]
        make = GetMessageClass(method.input_type)
        read = GetMessageClass(method.output_type)
        path = f"/{service}/{name}"
        invoke = (
            self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        )(path, make.SerializeToString, read.FromString)
        answer = invoke(json_format.ParseDict(request, make()), timeout=10)
        if method.server_streaming:
            return [json_format.MessageToDict(one) for one in answer]
        return json_format.MessageToDict(answer)


@pytest.fixture
def reflected(channel: grpc.Channel) -> Reflected:
    return Reflected(channel)


def message(text: str, **fields: Any) -> dict[str, Any]:
    body = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
    return {"message": body | fields}


def test_a_client_with_reflection_alone_does_everything(reflected: Reflected) -> None:
    assert V1 in reflected.database.get_services()
    task = reflected.call(V1, "SendMessage", message("hello"))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert reflected.call(V1, "GetTask", {"id": task["id"]}) == task
    listed = reflected.call(V1, "ListTasks", {"contextId": task["contextId"]})
    assert [one["id"] for one in listed["tasks"]] == [task["id"]]
    events = reflected.call(V1, "SendStreamingMessage", message("count 3"))
    assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    running = message("wait") | {"configuration": {"returnImmediately": True}}
    waiting = reflected.call(V1, "SendMessage", running)["task"]
    ended = reflected.call(V1, "CancelTask", {"id": waiting["id"]})
    assert ended["status"]["state"] == "TASK_STATE_CANCELED"
    for name, request in (
        ("SubscribeToTask", {"id": task["id"]}),
        ("CreateTaskPushNotificationConfig", {"taskId": task["id"], "url": "https://x.example"}),
        ("GetTaskPushNotificationConfig", {"taskId": task["id"], "id": "p"}),
        ("ListTaskPushNotificationConfigs", {"taskId": task["id"]}),
        ("DeleteTaskPushNotificationConfig", {"taskId": task["id"], "id": "p"}),
        ("GetExtendedAgentCard", {}),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            reflected.call(V1, name, request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION, name
    old = message("hello")["message"]
    old["content"] = old.pop("parts")
    legacy = reflected.call("a2a.v1.A2AService", "SendMessage", {"message": old})
    assert "task" in legacy


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_speaks_both_versions(channel: grpc.Channel, version: str) -> None:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="lf.a2a.v1.Part"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{V1}.GetTask"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="no/such.proto"),
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="lf.a2a.v1.Task"),
    ]
    answers = list(call(iter(asked), timeout=10))
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        "file_descriptor_response",
        "file_descriptor_response",
        "error_response",
        "list_services_response",
        "all_extension_numbers_response",
    ]
    assert [answer.original_request for answer in answers] == asked
    assert reflection_pb2_grpc is not None


def health(channel: grpc.Channel, service: str) -> Any:
    return Reflected(channel).call("grpc.health.v1.Health", "Check", {"service": service})


def test_health_knows_each_service(channel: grpc.Channel) -> None:
    for service in ("", V1, "a2a.v1.A2AService"):
        assert health(channel, service) == {"status": "SERVING"}
    with pytest.raises(grpc.RpcError) as caught:
        health(channel, "no.Such")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    listed = Reflected(channel).call("grpc.health.v1.Health", "List", {})["statuses"]
    assert listed[V1] == {"status": "SERVING"}


def test_who_watches_the_health_hears_of_the_end() -> None:
    with serving() as running, running.channel() as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=10)
        assert next(watch) == b"\x08\x01"
        running.portal.call(running.server.drain, 1.0)
        assert list(watch) == [b"\x08\x02"]


class Full(MemoryStore):
    """Its disk may be full."""

    full = False

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        if self.full:
            raise StoreError("the disk is full")
        return await super().append(batch, now=now)


def test_who_watches_the_health_hears_that_the_store_refuses_and_that_it_does_no_more() -> None:
    store = Full()
    with serving(store=store) as running, running.channel() as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=30)
        assert next(watch) == b"\x08\x01"
        store.full = True
        with pytest.raises(grpc.RpcError):
            stub(channel).SendMessage(said("hello"), timeout=10)
        assert next(watch) == b"\x08\x02"
        store.full = False
        stub(channel).SendMessage(said("hello"), timeout=10)
        assert next(watch) == b"\x08\x01"
        running.portal.call(running.server.drain, 1.0)
        assert list(watch) == [b"\x08\x02"]


def test_an_agent_can_have_a_port_of_its_own() -> None:
    with serving(agent_ports=("direct=0",)) as running:
        port = running.server.ports["direct"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            reply = Reflected(channel).call(V1, "SendMessage", message("hello"))
        assert reply["message"]["parts"] == [{"text": "You said: hello"}]
        interfaces = running.server.interfaces("direct", "https://agents.example/x")
        assert [(one.url, one.tenant, one.protocol_version) for one in interfaces] == [
            (f"agents.example:{port}", None, "1.0"),
            (f"agents.example:{port}", None, "0.3"),
        ]


def test_cards_tell_the_tenant_of_agents_that_share_the_port(server: Serving) -> None:
    port = server.server.port
    desk = server.server.interfaces("desk", "http://[::1]:80")
    assert [(one.url, one.tenant) for one in desk] == [(f"[::1]:{port}", None)] * 2
    [strict] = server.server.interfaces("strict", "http://h")
    assert (strict.url, strict.tenant) == (f"h:{port}", "strict")


def test_grpc_is_not_offered_where_no_credential_could_come_over_it() -> None:
    """It has no query: a card that asks for a key there must not send clients here."""
    key, text = new_key("ada", now=0)
    query = ApiKeys([key], name="inQuery", field="key", location="query")
    security = Security(query)
    with pytest.raises(ServerError, match="API key of inQuery"):
        GrpcServer(Runtime(make_agents(), store=MemoryStore(), security=security))
    with serving(security=Security(query, ApiKeys([key]))) as running:
        with running.channel() as channel:
            metadata = [("x-api-key", text)]
            assert stub(channel).SendMessage(said("hello"), metadata=metadata, timeout=5).task.id
