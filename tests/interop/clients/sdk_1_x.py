# mypy: ignore-errors
"""What a program written with the official SDK 1.x does; see `driver` for how it is asked to."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager

import driver
import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, create_client
from a2a.client.client import ClientCallContext
from a2a.types import (
    AuthenticationInfo,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import A2AError
from google.protobuf import json_format

BINDINGS = {"jsonrpc": "JSONRPC", "rest": "HTTP+JSON", "grpc": "GRPC"}


@asynccontextmanager
async def connect(url, transport, *, streaming=False, polling=False):
    async with httpx.AsyncClient(timeout=15) as http:
        config = ClientConfig(
            streaming=streaming,
            polling=polling,
            httpx_client=http,
            supported_protocol_bindings=[BINDINGS[transport]],
            grpc_channel_factory=grpc.aio.insecure_channel,
        )
        client = await create_client(url, config)
        try:
            yield client
        finally:
            await client.close()


def said(text="", *, parts=(), message_id=None, **ids):
    return SendMessageRequest(
        message=Message(
            message_id=message_id or str(uuid.uuid4()),
            role=Role.ROLE_USER,
            parts=[*([Part(text=text)] if text else []), *parts],
            **ids,
        )
    )


def state(value):
    return TaskState.Name(value).removeprefix("TASK_STATE_").lower().replace("_", "-")


def texts(parts):
    return "".join(part.text for part in parts)


def summary(task):
    return {
        "id": task.id,
        "context": task.context_id,
        "state": state(task.status.state),
        "said": texts(task.status.message.parts),
        "artifacts": {one.name: texts(one.parts) for one in task.artifacts},
        "history": [
            ["user" if one.role == Role.ROLE_USER else "agent", texts(one.parts)]
            for one in task.history
        ],
    }


def event(item):
    match item.WhichOneof("payload"):
        case "task":
            return {"kind": "task", **summary(item.task)}
        case "message":
            return {"kind": "message", "text": texts(item.message.parts)}
        case "status_update":
            update = item.status_update
            said = texts(update.status.message.parts)
            return {"kind": "status", "state": state(update.status.state), "said": said}
        case "artifact_update":
            update = item.artifact_update
            return {
                "kind": "artifact",
                "name": update.artifact.name,
                "text": texts(update.artifact.parts),
                "append": update.append,
                "last": update.last_chunk,
            }


async def send(client, request, context=None):
    """A send that is no stream: the one answer."""
    [answer] = [item async for item in client.send_message(request, context=context)]
    return event(answer)


async def card(url, transport):
    async with httpx.AsyncClient() as http:
        declared = await A2ACardResolver(http, url).get_agent_card()
    return {
        "name": declared.name,
        "description": declared.description,
        "version": declared.version,
        "streaming": declared.capabilities.streaming,
        "skills": [skill.id for skill in declared.skills],
        "bindings": sorted(
            f"{one.protocol_binding} {one.protocol_version}"
            for one in declared.supported_interfaces
        ),
    }


async def blocking(url, transport):
    async with connect(url, transport) as client:
        return await send(client, said("echo hello"))


async def immediate(url, transport):
    async with connect(url, transport, polling=True) as client:
        first = await send(client, said("later hello"))
        task = await client.get_task(GetTaskRequest(id=first["id"]))
        while state(task.status.state) in ("submitted", "working"):
            await asyncio.sleep(0.02)
            task = await client.get_task(GetTaskRequest(id=first["id"]))
        return {"first": first["state"], "last": summary(task)}


async def streaming(url, transport):
    async with connect(url, transport, streaming=True) as client:
        return [event(item) async for item in client.send_message(said("count 5"))]


async def multi_turn(url, transport):
    async with connect(url, transport) as client:
        one = await send(client, said("ask"))
        ids = {"task_id": one["id"], "context_id": one["context"]}
        two = await send(client, said("Ada", **ids))
        three = await send(client, said("London", **ids))
        return [one, two, three]


async def multi_turn_task_only(url, transport):
    async with connect(url, transport) as client:
        one = await send(client, said("ask"))
        two = await send(client, said("Ada", task_id=one["id"]))
        three = await send(client, said("London", task_id=one["id"]))
        return [one, two, three]


async def multi_turn_stream(url, transport):
    turns = []
    async with connect(url, transport, streaming=True) as client:
        ids = {}
        for text in ("ask", "Ada", "London"):
            turn = [event(item) async for item in client.send_message(said(text, **ids))]
            ids = ids or {"task_id": turn[0]["id"], "context_id": turn[0]["context"]}
            turns.append(turn)
    return turns


async def subscribe(url, transport):
    before = []
    async with connect(url, transport, streaming=True) as client:
        stream = client.send_message(said("count 20"))
        async for item in stream:
            before.append(event(item))
            if len([one for one in before if one["kind"] == "artifact"]) == 3:
                break
        await stream.aclose()
    async with connect(url, transport, streaming=True) as client:
        request = SubscribeToTaskRequest(id=before[0]["id"])
        after = [event(item) async for item in client.subscribe(request)]
        final = await client.get_task(GetTaskRequest(id=before[0]["id"]))
    return {"before": before, "after": after, "final": summary(final)}


async def cancel(url, transport):
    async with connect(url, transport, polling=True) as client:
        first = await send(client, said("wait"))
        canceled = await client.cancel_task(CancelTaskRequest(id=first["id"]))
        final = await client.get_task(GetTaskRequest(id=first["id"]))
        return [summary(canceled), summary(final)]


async def history_length(url, transport):
    async with connect(url, transport) as client:
        one = await send(client, said("ask"))
        await send(client, said("Ada", task_id=one["id"], context_id=one["context"]))
        none = await client.get_task(GetTaskRequest(id=one["id"], history_length=0))
        last = await client.get_task(GetTaskRequest(id=one["id"], history_length=1))
        every = await client.get_task(GetTaskRequest(id=one["id"]))
        return [summary(task)["history"] for task in (none, last, every)]


async def list_tasks(url, transport):
    context = str(uuid.uuid4())
    async with connect(url, transport) as client:
        sent = [await send(client, said(f"echo {n}", context_id=context)) for n in range(3)]
        await send(client, said("echo elsewhere"))
        request = ListTasksRequest(context_id=context, page_size=2)
        pages = [await client.list_tasks(request)]
        while pages[-1].next_page_token:
            request.page_token = pages[-1].next_page_token
            pages.append(await client.list_tasks(request))
        working = await client.list_tasks(
            ListTasksRequest(context_id=context, status=TaskState.TASK_STATE_WORKING)
        )
        full = await client.list_tasks(ListTasksRequest(context_id=context, include_artifacts=True))
    return {
        "sent": [one["id"] for one in sent],
        "pages": [[task.id for task in page.tasks] for page in pages],
        "total": pages[0].total_size,
        "artifacts": [len(task.artifacts) for page in pages for task in page.tasks],
        "artifacts included": [len(task.artifacts) for task in full.tasks],
        "working": [task.id for task in working.tasks],
    }


async def direct(url, transport):
    async with connect(f"{url}/a2a/agents/direct", transport) as client:
        return await send(client, said("hello"))


async def direct_stream(url, transport):
    async with connect(f"{url}/a2a/agents/direct", transport, streaming=True) as client:
        return [event(item) async for item in client.send_message(said("hello"))]


async def parts(url, transport):
    given = [Part(text="parts"), Part(raw=b"\x00\xff<>", media_type="image/png", filename="a.png")]
    data = Part()
    json_format.ParseDict({"data": {"n": 1.5, "deep": [None, {"a": "ü"}]}}, data)
    async with connect(url, transport) as client:
        request = said(parts=[*given, data])
        [answer] = [item async for item in client.send_message(request)]
    back = answer.task.artifacts[0].parts
    return {
        "text": back[0].text,
        "raw": back[1].raw.hex(),
        "media_type": back[1].media_type,
        "filename": back[1].filename,
        "data": json_format.MessageToDict(back[2].data),
    }


async def retry(url, transport):
    message_id = str(uuid.uuid4())
    async with connect(url, transport) as client:
        one = await send(client, said("echo once", message_id=message_id))
        two = await send(client, said("echo once", message_id=message_id))
        return [one, two]


async def failed(url, transport):
    async with connect(url, transport) as client:
        return await send(client, said("fail"))


async def rejected(url, transport):
    async with connect(url, transport) as client:
        return await send(client, said("reject"))


async def task_not_found(url, transport):
    async with connect(url, transport) as client:
        await client.get_task(GetTaskRequest(id=str(uuid.uuid4())))


async def message_to_unknown_task(url, transport):
    async with connect(url, transport) as client:
        await send(client, said("hello", task_id=str(uuid.uuid4())))


async def subscribe_to_unknown_task(url, transport):
    async with connect(url, transport, streaming=True) as client:
        async for _ in client.subscribe(SubscribeToTaskRequest(id=str(uuid.uuid4()))):
            pass


async def not_cancelable(url, transport):
    async with connect(url, transport) as client:
        done = await send(client, said("echo done"))
        await client.cancel_task(CancelTaskRequest(id=done["id"]))


async def push(url, transport, hook):
    """Register, read, list, and delete twice; and say what was read."""
    async with connect(url, transport) as client:
        asked = await send(client, said("ask"))
        secret = AuthenticationInfo(scheme="Bearer", credentials="secret")
        config = TaskPushNotificationConfig(
            task_id=asked["id"], id="hook", url=hook, token="token", authentication=secret
        )
        made = await client.create_task_push_notification_config(config)
        named = {"task_id": asked["id"], "id": "hook"}
        read = await client.get_task_push_notification_config(
            GetTaskPushNotificationConfigRequest(**named)
        )
        listed = await client.list_task_push_notification_configs(
            ListTaskPushNotificationConfigsRequest(task_id=asked["id"])
        )
        ids = {"task_id": asked["id"], "context_id": asked["context"]}
        await send(client, said("Ada", **ids))
        last = await send(client, said("London", **ids))
        shown = [made, read, *listed.configs]
        return {
            "task": asked["id"],
            "last": last["state"],
            "urls": [one.url for one in shown],
            "secrets": [one.token + one.authentication.credentials for one in shown],
        }


async def push_deleted(url, transport, hook):
    async with connect(url, transport) as client:
        asked = await send(client, said("ask"))
        named = {"task_id": asked["id"], "id": "hook"}
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(**named, url=hook)
        )
        for _ in range(2):
            await client.delete_task_push_notification_config(
                DeleteTaskPushNotificationConfigRequest(**named)
            )
        listed = await client.list_task_push_notification_configs(
            ListTaskPushNotificationConfigsRequest(task_id=asked["id"])
        )
        return {"left": len(listed.configs)}


async def push_inline(url, transport, hook):
    async with httpx.AsyncClient(timeout=15) as http:
        config = ClientConfig(
            streaming=False,
            httpx_client=http,
            supported_protocol_bindings=[BINDINGS[transport]],
            grpc_channel_factory=grpc.aio.insecure_channel,
            push_notification_config=TaskPushNotificationConfig(url=hook, token="token"),
        )
        client = await create_client(url, config)
        try:
            return {"task": (await send(client, said("echo hello")))["id"]}
        finally:
            await client.close()


async def message_to_finished_task(url, transport):
    async with connect(url, transport) as client:
        done = await send(client, said("echo done"))
        await send(client, said("more", task_id=done["id"], context_id=done["context"]))


async def subscribe_to_finished_task(url, transport):
    async with connect(url, transport, streaming=True) as client:
        stream = [event(item) async for item in client.send_message(said("echo done"))]
        async for _ in client.subscribe(SubscribeToTaskRequest(id=stream[0]["id"])):
            pass


async def content_type_not_supported(url, transport):
    video = Part(raw=b"...", media_type="video/mp4", filename="cat.mp4")
    async with connect(url, transport) as client:
        await send(client, said("echo this", parts=[video]))


async def version_not_supported(url, transport):
    context = ClientCallContext(service_parameters={"A2A-Version": "99.0"})
    async with connect(url, transport) as client:
        await send(client, said("echo hello"), context)


async def version_not_supported_stream(url, transport):
    context = ClientCallContext(service_parameters={"A2A-Version": "99.0"})
    async with connect(url, transport, streaming=True) as client:
        async for _ in client.send_message(said("echo hello"), context=context):
            pass


async def invalid_params(url, transport):
    async with connect(url, transport) as client:
        await send(client, said())  # a message of no parts


async def invalid_params_stream(url, transport):
    async with connect(url, transport, streaming=True) as client:
        async for _ in client.send_message(said()):
            pass


async def negative_history_length(url, transport):
    async with connect(url, transport) as client:
        done = await send(client, said("echo done"))
        await client.get_task(GetTaskRequest(id=done["id"], history_length=-1))


async def method_not_found(url, transport):
    # no method of the client sends an unknown one; its transport does, asked directly
    async with connect(url, transport) as client:
        inner = client._transport
        if transport == "jsonrpc":
            await inner._send_request({"jsonrpc": "2.0", "id": 1, "method": "Nope", "params": {}})
        elif transport == "grpc":
            await inner.channel.unary_unary("/lf.a2a.v1.A2AService/Nope")(b"")
        else:
            await inner._execute_request("POST", "/nope/nope:nope", "", json={})


async def extension_required(url, transport):
    async with connect(f"{url}/a2a/agents/strict", transport) as client:
        await send(client, said("hello"))


SCENARIOS = {
    one.__name__: one
    for one in (
        *(card, blocking, immediate, streaming, subscribe, cancel, list_tasks, history_length),
        *(multi_turn, multi_turn_task_only, multi_turn_stream, direct, direct_stream, parts),
        *(retry, failed, rejected, task_not_found, message_to_unknown_task),
        *(subscribe_to_unknown_task, not_cancelable, push, push_deleted, push_inline),
        *(message_to_finished_task, subscribe_to_finished_task, content_type_not_supported),
        *(version_not_supported, version_not_supported_stream, invalid_params),
        *(invalid_params_stream, negative_history_length, method_not_found, extension_required),
    )
}


def describe_error(error):
    if isinstance(error, A2AError):
        return {"name": type(error).__name__, "message": str(error)}
    if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return {"name": "MethodNotFoundError", "message": error.details()}
    return None


if __name__ == "__main__":
    driver.serve(SCENARIOS, describe_error)
