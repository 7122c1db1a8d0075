"""Each operation, its success and each of its errors, means the same over every binding."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenroom import Agent, Message, TaskContext
from greenroom.auth import Limits, Security, static_tokens
from greenroom.protocol import errors
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.operations import Operation
from greenroom.transports.http.asgi import Application
from tests.transports.grpc.serving import Serving, make_agents, serving

from .bindings import BINDINGS, Binding, JsonRpc, ProtocolError

NOW = t.SendMessageConfiguration(return_immediately=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Serving]:
    broken = Agent("Broken", description="Fails before it has answered.", slug="broken")

    @broken.handler
    async def fail(ctx: TaskContext) -> Message:
        raise RuntimeError("the secret cause")

    names = [f"token-of-{kind.name}-{kind.version}" for kind in BINDINGS]
    tokens = {name: name for one in names for name in (one, f"hasty-{one}")}
    with serving(
        [*make_agents(), broken],
        agent_ports=("direct=0", "strict=0", "broken=0"),
        security=Security(static_tokens(tokens)),
        limits=Limits(operations={ops.GET_PUSH.name: 0.01}, burst=200),  # two of each caller
    ) as value:
        yield value


@pytest.fixture(scope="module")
def app(running: Serving) -> Application:
    return Application(running.runtime)


@pytest.fixture(params=BINDINGS, ids=lambda kind: f"{kind.name}-{kind.version}")
def binding(request: pytest.FixtureRequest, running: Serving, app: Application) -> Binding:
    chosen: Binding = request.param(running, app)
    return chosen


def said(text: str, *parts: t.Part, **fields: Any) -> t.SendMessageRequest:
    configuration = fields.pop("configuration", None)
    message = t.Message(
        message_id=str(uuid.uuid4()),
        role=t.Role.USER,
        parts=[*([t.Part(text=text)] if text else []), *parts],
        **fields,
    )
    return t.SendMessageRequest(message=message, configuration=configuration)


def sent(binding: Binding, text: str, **fields: Any) -> t.Task:
    task: t.Task = binding.call(ops.SEND, said(text, **fields)).task
    return task


def waiting(binding: Binding) -> t.Task:
    return sent(binding, "wait", configuration=NOW)


def finished(binding: Binding) -> t.Task:
    return sent(binding, "hello")


def texts(parts: list[t.Part]) -> str:
    return "".join(part.text or "" for part in parts)


def meaning(found: Any) -> Any:
    """What an answer says, without ids and times."""
    if isinstance(found, list):
        return [meaning(one) for one in found]
    if isinstance(found, t.SendMessageResponse | t.StreamResponse):
        [one] = [value for name in found.__struct_fields__ if (value := getattr(found, name))]
        return meaning(one)
    if isinstance(found, t.Message):
        return ("message", found.role, texts(found.parts))
    if isinstance(found, t.TaskStatusUpdateEvent):
        return ("status", found.status.state)
    if isinstance(found, t.TaskArtifactUpdateEvent):
        return ("artifact", texts(found.artifact.parts), found.append, found.last_chunk)
    assert isinstance(found, t.Task)
    return (
        "task",
        found.status.state,
        [(one.name, texts(one.parts)) for one in found.artifacts or ()],
        [(one.role, texts(one.parts)) for one in found.history or ()],
    )


USER, AGENT = t.Role.USER, t.Role.AGENT
DONE, ASKS, CANCELED = t.TaskState.COMPLETED, t.TaskState.INPUT_REQUIRED, t.TaskState.CANCELED
HELLO = ("task", DONE, [("reply", "You said: hello")], [(USER, "hello")])


def _send(binding: Binding) -> Any:
    return binding.call(ops.SEND, said("hello"))


def _direct(binding: Binding) -> Any:
    return binding.call(ops.SEND, said("hello"), agent="direct")


def _direct_stream(binding: Binding) -> Any:
    return binding.call(ops.STREAM, said("hello"), agent="direct")


def _turns(binding: Binding) -> Any:
    asked = sent(binding, "ask")
    assert asked.status.state is ASKS
    assert asked.status.message is not None
    assert asked.status.message.text == "What is your name?"
    return sent(binding, "Ada", task_id=asked.id).artifacts[0].text  # type: ignore[index]


def _parts(binding: Binding) -> Any:
    parts = [
        t.Part(raw=b"\0\xff", filename="a.png", media_type="image/png"),
        t.Part(url="https://example.com/b.png", media_type="image/png"),
        t.Part(data={"n": 1.5, "deep": [None, {"a": "ü"}]}, metadata={"k": [1, "v"]}),
    ]
    task: t.Task = binding.call(ops.SEND, said("parts", *parts)).task
    assert task.artifacts is not None
    assert task.artifacts[0].parts[1:] == parts
    return texts(task.artifacts[0].parts)


def _stream(binding: Binding) -> Any:
    events = meaning(binding.call(ops.STREAM, said("count 2")))
    first, *rest = events
    assert first[0] == "task"
    written = [event for event in rest if event[0] == "artifact"]
    return "".join(event[1] for event in written), written[0][2], written[-1][3], rest[-1]


def _get(binding: Binding) -> Any:
    return binding.call(ops.GET_TASK, t.GetTaskRequest(id=finished(binding).id))


def _get_last(binding: Binding) -> Any:
    asked = sent(binding, "ask")
    sent(binding, "Ada", task_id=asked.id)
    answer = binding.call(ops.GET_TASK, t.GetTaskRequest(id=asked.id, history_length=1))
    return len(answer.history)


def _cancel(binding: Binding) -> Any:
    return binding.call(ops.CANCEL, t.CancelTaskRequest(id=waiting(binding).id)).status.state


SUCCESSES: list[tuple[Callable[[Binding], Any], Any]] = [
    (_send, HELLO),
    (_direct, ("message", AGENT, "You said: hello")),
    (_direct_stream, [("message", AGENT, "You said: hello")]),
    (_turns, "Hello Ada"),
    (_parts, "parts"),
    (_stream, ("0 1 ", False, True, ("status", DONE))),
    (_get, HELLO),
    (_get_last, 1),
    (_cancel, CANCELED),
]


@pytest.mark.parametrize(
    ("act", "expected"), SUCCESSES, ids=[act.__name__[1:] for act, _ in SUCCESSES]
)
def test_success(binding: Binding, act: Callable[[Binding], Any], expected: Any) -> None:
    found = act(binding)
    if isinstance(found, t.Wire) or (isinstance(found, list) and isinstance(found[0], t.Wire)):
        found = meaning(found)
    assert found == expected


def test_list(binding: Binding) -> None:
    task = finished(binding)
    asked = t.ListTasksRequest(context_id=task.context_id)
    if binding.old and binding.name != "rest":  # 0.3 has this operation in REST alone
        with pytest.raises(ProtocolError) as caught:
            binding.call(ops.LIST_TASKS, asked)
        assert caught.value.kind is errors.MethodNotFoundError
        return
    listed = binding.call(ops.LIST_TASKS, asked)
    assert [one.id for one in listed.tasks] == [task.id]
    if binding.old:  # where the answer is the bare list
        return
    assert (listed.page_size, listed.total_size, listed.next_page_token) == (50, 1, "")
    assert listed.tasks[0].artifacts is None


def test_subscribe(binding: Binding, running: Serving) -> None:
    """A stream opened over this binding hears what another caller does to the task."""
    task = waiting(binding)
    before = running.runtime.statistics()["streams_open"]
    seen: list[Any] = []

    def listen() -> None:
        seen.extend(binding.call(ops.SUBSCRIBE, t.SubscribeToTaskRequest(id=task.id)))

    listening = threading.Thread(target=listen)
    listening.start()
    running.until(lambda: running.runtime.statistics()["streams_open"] > before, "it listens")
    binding.call(ops.CANCEL, t.CancelTaskRequest(id=task.id))
    listening.join(timeout=20)
    said_ = meaning(seen)
    assert said_[0][:2] == ("task", t.TaskState.WORKING)
    assert said_[-1] == ("status", CANCELED)


Request = Callable[[Binding], Any]
NONE = "00000000-0000-4000-8000-000000000000"
GET_PUSH = t.GetTaskPushNotificationConfigRequest(task_id=NONE, id="p")
PUSH = t.TaskPushNotificationConfig(task_id=NONE, id="p", url="https://example.com/hook")


def _without_credentials(binding: Binding) -> Any:
    binding.token = ""
    return said("hello")


def _with_a_strangers(binding: Binding) -> Any:
    binding.token = "token-of-somebody-unknown"
    return t.GetTaskRequest(id=NONE)


def _too_often(binding: Binding) -> Any:
    binding.token = binding.hasty
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            binding.call(ops.GET_PUSH, GET_PUSH)
        assert caught.value.kind is errors.PushNotificationNotSupportedError
    return GET_PUSH


ERRORS: list[tuple[str, Operation, Request, type[errors.A2AError]]] = [
    ("no credentials", ops.SEND, _without_credentials, errors.UnauthenticatedError),
    ("no credentials", ops.STREAM, _without_credentials, errors.UnauthenticatedError),
    ("unknown token", ops.GET_TASK, _with_a_strangers, errors.UnauthenticatedError),
    ("too often", ops.GET_PUSH, _too_often, errors.ResourceExhaustedError),
    ("broken: handler raises", ops.SEND, lambda b: said("hello"), errors.InternalError),
    ("broken: handler raises", ops.STREAM, lambda b: said("hello"), errors.InternalError),
    ("unknown task", ops.GET_TASK, lambda b: t.GetTaskRequest(id=NONE), errors.TaskNotFoundError),
    ("unknown task", ops.CANCEL, lambda b: t.CancelTaskRequest(id=NONE), errors.TaskNotFoundError),
    (
        "unknown task",
        ops.SUBSCRIBE,
        lambda b: t.SubscribeToTaskRequest(id=NONE),
        errors.TaskNotFoundError,
    ),
    ("unknown task", ops.SEND, lambda b: said("x", task_id=NONE), errors.TaskNotFoundError),
    ("unknown task", ops.STREAM, lambda b: said("x", task_id=NONE), errors.TaskNotFoundError),
    (
        "finished task",
        ops.CANCEL,
        lambda b: t.CancelTaskRequest(id=finished(b).id),
        errors.TaskNotCancelableError,
    ),
    (
        "finished task",
        ops.SUBSCRIBE,
        lambda b: t.SubscribeToTaskRequest(id=finished(b).id),
        errors.UnsupportedOperationError,
    ),
    (
        "finished task",
        ops.SEND,
        lambda b: said("x", task_id=finished(b).id),
        errors.UnsupportedOperationError,
    ),
    (
        "content type",
        ops.SEND,
        lambda b: said("", t.Part(raw=b"x", filename="x.mp4", media_type="video/mp4")),
        errors.ContentTypeNotSupportedError,
    ),
    ("no parts", ops.SEND, lambda b: said(""), errors.InvalidParamsError),
    ("no parts", ops.STREAM, lambda b: said(""), errors.InvalidParamsError),
    (
        "long id",
        ops.GET_TASK,
        lambda b: t.GetTaskRequest(id="x" * 300),
        errors.InvalidParamsError,
    ),
    (
        "negative history",
        ops.GET_TASK,
        lambda b: t.GetTaskRequest(id=NONE, history_length=-1),
        errors.InvalidParamsError,
    ),
    ("no push", ops.CREATE_PUSH, lambda b: PUSH, errors.PushNotificationNotSupportedError),
    (
        "no push",
        ops.GET_PUSH,
        lambda b: GET_PUSH,
        errors.PushNotificationNotSupportedError,
    ),
    (
        "no push",
        ops.LIST_PUSH,
        lambda b: t.ListTaskPushNotificationConfigsRequest(task_id=NONE),
        errors.PushNotificationNotSupportedError,
    ),
    (
        "no push",
        ops.DELETE_PUSH,
        lambda b: t.DeleteTaskPushNotificationConfigRequest(task_id=NONE, id="p"),
        errors.PushNotificationNotSupportedError,
    ),
]


@pytest.mark.parametrize(
    ("name", "operation", "make", "expected"),
    [pytest.param(*row, id=f"{row[1].name}: {row[0]}") for row in ERRORS],
)
def test_error(
    binding: Binding,
    name: str,
    operation: Operation,
    make: Request,
    expected: type[errors.A2AError],
) -> None:
    request = make(binding)
    with pytest.raises(ProtocolError) as caught:
        binding.call(operation, request, agent="broken" if name.startswith("broken") else "desk")
    assert caught.value.kind is expected


def test_extended_card(binding: Binding) -> None:
    """Not configured: refused, but by 0.3 in gRPC, whose GetAgentCard gives the public card."""
    asked = t.GetExtendedAgentCardRequest()
    if binding.old and binding.name == "grpc":
        assert binding.call(ops.EXTENDED_CARD, asked).name == "Desk"
        return
    with pytest.raises(ProtocolError) as caught:
        binding.call(ops.EXTENDED_CARD, asked)
    # 0.3 has one error for it; 1.0 keeps that for agents that promise such a card and have none.
    unsupported = errors.UnsupportedOperationError
    assert caught.value.kind is (
        errors.ExtendedAgentCardNotConfiguredError if binding.old else unsupported
    )


@pytest.mark.parametrize("operation", [ops.SEND, ops.STREAM])
def test_required_extension(binding: Binding, operation: Operation) -> None:
    with pytest.raises(ProtocolError) as caught:
        binding.call(operation, said("hello"), agent="strict")
    assert caught.value.kind is errors.ExtensionSupportRequiredError
    manners = "https://example.com/manners"
    assert binding.call(operation, said("hello"), agent="strict", extensions=manners)


@pytest.mark.parametrize("operation", [ops.SEND, ops.STREAM])
def test_unknown_version(binding: Binding, operation: Operation) -> None:
    with pytest.raises(ProtocolError) as caught:
        binding.call(operation, said("hello"), version="99.0")
    assert caught.value.kind is errors.VersionNotSupportedError


def test_every_operation_is_compared(running: Serving, app: Application) -> None:
    """Whatever a binding asks over, the tables above have asked it of every operation."""
    tried: set[str] = set()

    class Listening(JsonRpc):
        def call(self, operation: Operation, request: Any, **options: Any) -> Any:
            tried.add(operation.name)
            return super().call(operation, request, **options)

    for act, _ in SUCCESSES:
        act(Listening(running, app))
    test_list(Listening(running, app))
    test_extended_card(Listening(running, app))
    test_subscribe(Listening(running, app), running)
    succeeded = {operation.name for operation in ops.OPERATIONS if not operation.push}
    assert tried == succeeded
    refused = {operation.name for _, operation, *_ in ERRORS}
    assert refused >= {one.name for one in ops.OPERATIONS} - {
        ops.LIST_TASKS.name,
        ops.EXTENDED_CARD.name,
    }
    assert [(kind.name, kind.version) for kind in BINDINGS] == [
        (name, version) for version in ("1.0", "0.3", "1.1") for name in ("jsonrpc", "rest", "grpc")
    ]
