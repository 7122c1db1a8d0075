"""What callers see: every method, errors with details, metadata, deadlines, cancellation."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from a2a.compat.v0_3 import a2a_v0_3_pb2 as legacy_pb
from a2a.compat.v0_3 import a2a_v0_3_pb2_grpc as legacy_stubs
from a2a.types import a2a_pb2 as pb
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from greenroom.protocol.errors import InvalidParamsError
from greenroom.transports.grpc.status import trailers

from .serving import Serving, said


def error_of(call: Any, request: Any, **options: Any) -> grpc.RpcError:
    try:
        list(call(request, timeout=10, **options))
    except grpc.RpcError as error:
        return error
    raise AssertionError("there was no error")


def details_of(error: Any) -> tuple[dict[str, str], list[str]]:
    """(ErrorInfo as a dict, fields of BadRequest)."""
    found = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    info: dict[str, str] = {}
    violations: list[str] = []
    if found is not None:
        status = status_pb2.Status.FromString(found)
        assert status.code == error.code().value[0]
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                message = error_details_pb2.ErrorInfo()
                detail.Unpack(message)
                info = {"reason": message.reason, "domain": message.domain, **message.metadata}
            else:
                broken = error_details_pb2.BadRequest()
                assert detail.Unpack(broken)
                violations += [one.field for one in broken.field_violations]
    return info, violations


def test_a_send_answers_with_the_task(client: Any) -> None:
    task = client.SendMessage(said("hello"), timeout=10).task
    assert task.status.state == pb.TASK_STATE_COMPLETED
    assert task.artifacts[0].parts[0].text == "You said: hello"
    assert client.GetTask(pb.GetTaskRequest(id=task.id), timeout=10) == task
    listed = client.ListTasks(pb.ListTasksRequest(context_id=task.context_id), timeout=10)
    assert [one.id for one in listed.tasks] == [task.id]


def test_parts_come_back_as_they_went(client: Any) -> None:
    data = {"n": 1.5, "whole": 3, "deep": [None, {"a": "ü"}, []]}
    parts = [
        pb.Part(text="parts", metadata={"k": 1}),
        pb.Part(raw=b"\0\xff", media_type="image/png", filename="a.png"),
        pb.Part(url="https://example.com/x", media_type="text/plain"),
        json_format.ParseDict({"data": data}, pb.Part()),
        json_format.ParseDict({"data": None}, pb.Part()),
    ]
    request = said("parts")
    del request.message.parts[:]
    request.message.parts.extend(parts)
    task = client.SendMessage(request, timeout=10).task
    assert list(task.artifacts[0].parts) == parts


def test_a_stream_is_a_snapshot_and_every_event(client: Any) -> None:
    events = list(client.SendStreamingMessage(said("count 50"), timeout=10))
    kinds = [event.WhichOneof("payload") for event in events]
    assert kinds[0] == "task"
    text = "".join(part.text for event in events for part in event.artifact_update.artifact.parts)
    assert text == "".join(f"{number} " for number in range(50))
    assert events[-1].status_update.status.state == pb.TASK_STATE_COMPLETED


def test_a_task_that_asks_is_answered(client: Any) -> None:
    task = client.SendMessage(said("ask"), timeout=10).task
    assert task.status.state == pb.TASK_STATE_INPUT_REQUIRED
    answer = client.SendMessage(said("Ada", task_id=task.id), timeout=10).task
    assert answer.artifacts[0].parts[0].text == "Hello Ada"


def test_subscribe_and_cancel(client: Any) -> None:
    request = said("wait")
    request.configuration.return_immediately = True
    task = client.SendMessage(request, timeout=10).task
    events = client.SubscribeToTask(pb.SubscribeToTaskRequest(id=task.id), timeout=10)
    assert next(events).task.id == task.id
    done = client.CancelTask(pb.CancelTaskRequest(id=task.id), timeout=10)
    assert done.status.state == pb.TASK_STATE_CANCELED
    assert list(events)[-1].status_update.status.state == pb.TASK_STATE_CANCELED


def test_the_tenant_names_the_agent_on_the_port_of_all(client: Any) -> None:
    reply = client.SendMessage(said("hello", tenant="direct"), timeout=10)
    assert reply.message.parts[0].text == "You said: hello"


ERRORS = [
    ("GetTask", pb.GetTaskRequest(id="none"), "NOT_FOUND", "TASK_NOT_FOUND"),
    ("CancelTask", pb.CancelTaskRequest(id="none"), "NOT_FOUND", "TASK_NOT_FOUND"),
    ("SubscribeToTask", pb.SubscribeToTaskRequest(id="none"), "NOT_FOUND", "TASK_NOT_FOUND"),
    (
        "GetTaskPushNotificationConfig",
        pb.GetTaskPushNotificationConfigRequest(task_id="t", id="p"),
        "FAILED_PRECONDITION",
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    ("GetTask", pb.GetTaskRequest(), "INVALID_ARGUMENT", "id"),
    ("SendMessage", pb.SendMessageRequest(), "INVALID_ARGUMENT", "message"),
]


@pytest.mark.parametrize(("method", "request_", "status", "reason"), ERRORS)
def test_errors_have_their_status_and_details(
    client: Any, method: str, request_: Any, status: str, reason: str
) -> None:
    error: Any = error_of(getattr(client, method), request_)
    info, violations = details_of(error)
    assert error.code().name == status
    if status == "INVALID_ARGUMENT":
        assert violations == [reason]
    else:
        assert info["reason"] == reason
        assert info["domain"] == "a2a-protocol.org"


def test_of_many_faults_the_first_are_told_in_trailers_that_any_client_takes(client: Any) -> None:
    request = said("x")
    request.message.parts.extend([pb.Part()] * 200)
    error: Any = error_of(client.SendMessage, request)
    assert error.code().name == "INVALID_ARGUMENT"
    _, violations = details_of(error)
    assert violations == [f"message.parts[{index}]" for index in range(1, 21)]


@pytest.mark.parametrize("letter", ["x", "%", "ü", "\U0001f600", "\ud800"])
def test_trailers_stay_small_however_much_an_error_has_to_say(letter: str) -> None:
    long = letter * 100_000
    error = InvalidParamsError.of([("a", long), (long, "b")])
    error.metadata["key"] = long
    assert 1000 < sum(len(name) + len(value) + 32 for name, value in trailers(error)) < 8192


def test_a_handler_that_fails_says_nothing_of_the_cause(client: Any) -> None:
    task = client.SendMessage(said("fail"), timeout=10).task
    assert task.status.state == pb.TASK_STATE_FAILED
    assert "secret" not in str(task)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("1.0", None),
        ("1.0.7", None),
        ("1.1", None),
        ("", None),
        ("99.0", "FAILED_PRECONDITION"),
        ("0.3", "FAILED_PRECONDITION"),
        ("what", "FAILED_PRECONDITION"),
    ],
)
def test_the_version_is_negotiated(client: Any, version: str, status: str | None) -> None:
    metadata = [("a2a-version", version)]
    if status is None:
        _, call = client.SendMessage.with_call(said("hi"), metadata=metadata, timeout=10)
        answered = dict(call.initial_metadata())["a2a-version"]
        assert answered == (version[:3] or "1.0")
    else:
        error: Any = error_of(client.SendMessage, said("hi"), metadata=metadata)
        assert error.code().name == status
        assert details_of(error)[0]["reason"] == "VERSION_NOT_SUPPORTED"


def test_1_1_has_generations(client: Any) -> None:
    metadata = [("a2a-version", "1.1")]
    task = client.SendMessage(said("hi"), metadata=metadata, timeout=10).task
    # the official classes do not know the field: it is the unknown seventh of the task
    assert b"\x38" in task.SerializeToString()
    plain = client.SendMessage(said("hi"), timeout=10).task
    plain.DiscardUnknownFields()
    assert plain == pb.Task.FromString(plain.SerializeToString())


@pytest.mark.parametrize("name", ["a2a-extensions", "x-a2a-extensions"])
def test_extensions_are_asked_for_and_told(client: Any, name: str) -> None:
    request = said("hello", tenant="strict")
    error: Any = error_of(client.SendMessage, request)
    assert details_of(error)[0]["reason"] == "EXTENSION_SUPPORT_REQUIRED"
    metadata = [(name, "https://example.com/manners, https://example.com/other")]
    again = said("hello", tenant="strict")
    _, call = client.SendMessage.with_call(again, metadata=metadata, timeout=10)
    assert dict(call.initial_metadata())["a2a-extensions"] == "https://example.com/manners"


def test_a_deadline_ends_the_wait_and_not_the_task(client: Any) -> None:
    request = said("wait")
    with pytest.raises(grpc.RpcError) as caught:
        client.SendMessage(request, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    working = pb.ListTasksRequest(status=pb.TASK_STATE_WORKING)
    listed = client.ListTasks(working, timeout=10).tasks
    mine = [task for task in listed if "wait" in str(task.history)]
    everything = mine or listed
    assert everything
    for task in everything:
        client.CancelTask(pb.CancelTaskRequest(id=task.id), timeout=10)


def test_a_client_that_leaves_ends_its_stream_and_not_the_task(
    server: Serving, client: Any
) -> None:
    events = client.SendStreamingMessage(said("wait"), timeout=10)
    task = next(events).task
    before = server.runtime.statistics()["streams_open"]
    events.cancel()
    server.until(
        lambda: server.runtime.statistics()["streams_open"] < before, "the stream is closed"
    )
    assert client.GetTask(pb.GetTaskRequest(id=task.id), timeout=10).status.state in (
        pb.TASK_STATE_SUBMITTED,
        pb.TASK_STATE_WORKING,
    )
    client.CancelTask(pb.CancelTaskRequest(id=task.id), timeout=10)


def test_methods_that_are_not_there(channel: grpc.Channel) -> None:
    for path in ("/lf.a2a.v1.A2AService/Nothing", "/no.Such/Service"):
        call = channel.unary_unary(path)
        error: Any = error_of(call, b"")
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_gzip_requests_are_read(client: Any) -> None:
    task = client.SendMessage(said("hello" * 100), timeout=10, compression=grpc.Compression.Gzip)
    assert task.task.artifacts[0].parts[0].text.startswith("You said: hello")


def test_other_compressions_are_refused_with_what_is_accepted(client: Any) -> None:
    error: Any = error_of(
        client.SendMessage, said("hello" * 100), compression=grpc.Compression.Deflate
    )
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "gzip" in error.details()


def test_0_3_clients_are_served_on_the_same_port(channel: grpc.Channel) -> None:
    client: Any = legacy_stubs.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
    request = legacy_pb.SendMessageRequest(
        request=legacy_pb.Message(
            message_id="legacy-1", role="ROLE_USER", content=[legacy_pb.Part(text="count 3")]
        ),
        configuration=legacy_pb.SendMessageConfiguration(blocking=True),
    )
    task = client.SendMessage(request, timeout=10).task
    assert task.status.state == legacy_pb.TASK_STATE_COMPLETED
    assert "".join(part.text for part in task.artifacts[0].parts) == "0 1 2 "
    name = f"tasks/{task.id}"
    assert client.GetTask(legacy_pb.GetTaskRequest(name=name), timeout=10).id == task.id
    request.request.message_id = "legacy-2"
    events = list(client.SendStreamingMessage(request, timeout=10))
    assert events[0].WhichOneof("payload") == "task"
    assert events[-1].status_update.final
    error: Any = error_of(client.CancelTask, legacy_pb.CancelTaskRequest(name=name))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details().startswith("TaskNotCancelableError: ")
    card = client.GetAgentCard(legacy_pb.GetAgentCardRequest(), timeout=10)
    assert card.name == "Desk"
    assert "GRPC" in {one.transport for one in card.additional_interfaces}
