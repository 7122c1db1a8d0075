# mypy: ignore-errors
"""What a program written with the official SDK 0.3.x does; see `driver` for how it is asked to."""

from __future__ import annotations

import asyncio
import base64
import uuid
from contextlib import asynccontextmanager

import driver
import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientHTTPError, A2AClientJSONRPCError
from a2a.client.middleware import ClientCallContext
from a2a.grpc import a2a_pb2
from a2a.types import (
    DataPart,
    FilePart,
    FileWithBytes,
    GetTaskPushNotificationConfigParams,
    Message,
    Part,
    PushNotificationAuthenticationInfo,
    PushNotificationConfig,
    TaskIdParams,
    TaskPushNotificationConfig,
    TaskQueryParams,
    TaskStatusUpdateEvent,
    TextPart,
)

BINDINGS = {"jsonrpc": "JSONRPC", "rest": "HTTP+JSON", "grpc": "GRPC"}
NAMES = {
    -32001: "TaskNotFoundError",
    -32002: "TaskNotCancelableError",
    -32003: "PushNotificationNotSupportedError",
    -32004: "UnsupportedOperationError",
    -32005: "ContentTypeNotSupportedError",
    -32006: "InvalidAgentResponseError",
    -32007: "AuthenticatedExtendedCardNotConfiguredError",
    -32600: "InvalidRequestError",
    -32601: "MethodNotFoundError",
    -32602: "InvalidParamsError",
    -32603: "InternalError",
}


@asynccontextmanager
async def connect(url, transport, *, streaming=False, polling=False):
    async with httpx.AsyncClient(timeout=15) as http:
        config = ClientConfig(
            streaming=streaming,
            polling=polling,
            httpx_client=http,
            supported_transports=[BINDINGS[transport]],
            grpc_channel_factory=grpc.aio.insecure_channel,
        )
        client = await ClientFactory.connect(url, config)
        try:
            yield client
        finally:
            if transport == "grpc":
                await client._transport.close()


def said(text="", *, parts=(), message_id=None, **ids):
    return Message(
        message_id=message_id or str(uuid.uuid4()),
        role="user",
        parts=[*([Part(root=TextPart(text=text))] if text else []), *parts],
        **ids,
    )


def texts(parts):
    return "".join(part.root.text for part in parts or () if isinstance(part.root, TextPart))


def summary(task):
    return {
        "id": task.id,
        "context": task.context_id,
        "state": task.status.state.value,
        "said": texts(task.status.message.parts) if task.status.message else "",
        "artifacts": {one.name: texts(one.parts) for one in task.artifacts or ()},
        "history": [[one.role.value, texts(one.parts)] for one in task.history or ()],
    }


def event(item):
    if isinstance(item, Message):
        return {"kind": "message", "text": texts(item.parts)}
    task, update = item
    if update is None:
        return {"kind": "task", **summary(task)}
    if isinstance(update, TaskStatusUpdateEvent):
        said = texts(update.status.message.parts) if update.status.message else ""
        return {
            "kind": "status",
            "state": update.status.state.value,
            "said": said,
            "final": update.final,
        }
    return {
        "kind": "artifact",
        "name": update.artifact.name,
        "text": texts(update.artifact.parts),
        "append": bool(update.append),
        "last": bool(update.last_chunk),
    }


async def send(client, message, context=None):
    """A send that is no stream: the one answer."""
    [answer] = [item async for item in client.send_message(message, context=context)]
    return event(answer)


async def card(url, transport):
    async with httpx.AsyncClient() as http:
        declared = await A2ACardResolver(http, url).get_agent_card()
    interfaces = [(declared.preferred_transport, declared.url)]
    interfaces += [(one.transport, one.url) for one in declared.additional_interfaces or ()]
    return {
        "name": declared.name,
        "description": declared.description,
        "version": declared.version,
        "streaming": declared.capabilities.streaming,
        "skills": [skill.id for skill in declared.skills],
        "protocol": declared.protocol_version,
        "bindings": sorted({transport for transport, _ in interfaces}),
    }


async def blocking(url, transport):
    async with connect(url, transport) as client:
        return await send(client, said("echo hello"))


async def immediate(url, transport):
    async with connect(url, transport, polling=True) as client:
        first = await send(client, said("later hello"))
        task = await client.get_task(TaskQueryParams(id=first["id"]))
        while task.status.state.value in ("submitted", "working"):
            await asyncio.sleep(0.02)
            task = await client.get_task(TaskQueryParams(id=first["id"]))
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
        after = [event(item) async for item in client.resubscribe(TaskIdParams(id=before[0]["id"]))]
        final = await client.get_task(TaskQueryParams(id=before[0]["id"]))
    return {"before": before, "after": after, "final": summary(final)}


async def cancel(url, transport):
    async with connect(url, transport, polling=True) as client:
        first = await send(client, said("wait"))
        canceled = await client.cancel_task(TaskIdParams(id=first["id"]))
        final = await client.get_task(TaskQueryParams(id=first["id"]))
        return [summary(canceled), summary(final)]


async def history_length(url, transport):
    # 0.3: zero is "no limit" for no one, but the client drops it from a query; so only 1 and all
    async with connect(url, transport) as client:
        one = await send(client, said("ask"))
        await send(client, said("Ada", task_id=one["id"], context_id=one["context"]))
        last = await client.get_task(TaskQueryParams(id=one["id"], history_length=1))
        every = await client.get_task(TaskQueryParams(id=one["id"]))
        return [summary(task)["history"] for task in (last, every)]


async def direct(url, transport):
    async with connect(f"{url}/a2a/agents/direct", transport) as client:
        return await send(client, said("hello"))


async def direct_stream(url, transport):
    async with connect(f"{url}/a2a/agents/direct", transport, streaming=True) as client:
        return [event(item) async for item in client.send_message(said("hello"))]


async def parts(url, transport):
    raw = base64.b64encode(b"\x00\xff<>").decode()
    file = FilePart(file=FileWithBytes(bytes=raw, mime_type="image/png", name="a.png"))
    data = DataPart(data={"n": 1.5, "deep": [None, {"a": "ü"}]})
    message = said("parts", parts=[Part(root=file), Part(root=data)])
    async with connect(url, transport) as client:
        [(task, _)] = [item async for item in client.send_message(message)]
    back = [part.root for part in task.artifacts[0].parts]
    return {
        "text": back[0].text,
        "raw": base64.b64decode(back[1].file.bytes).hex(),
        "media_type": back[1].file.mime_type,
        "filename": back[1].file.name,
        "data": back[2].data,
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
        await client.get_task(TaskQueryParams(id=str(uuid.uuid4())))


async def message_to_unknown_task(url, transport):
    async with connect(url, transport) as client:
        await send(client, said("hello", task_id=str(uuid.uuid4())))


async def subscribe_to_unknown_task(url, transport):
    async with connect(url, transport, streaming=True) as client:
        async for _ in client.resubscribe(TaskIdParams(id=str(uuid.uuid4()))):
            pass


async def not_cancelable(url, transport):
    async with connect(url, transport) as client:
        done = await send(client, said("echo done"))
        await client.cancel_task(TaskIdParams(id=done["id"]))


async def push(url, transport, hook):
    """Register and read, and say what was read; this client cannot list and delete."""
    async with connect(url, transport) as client:
        asked = await send(client, said("ask"))
        secret = PushNotificationAuthenticationInfo(schemes=["Bearer"], credentials="secret")
        config = PushNotificationConfig(id="hook", url=hook, token="token", authentication=secret)
        made = await client.set_task_callback(
            TaskPushNotificationConfig(task_id=asked["id"], push_notification_config=config)
        )
        read = await client.get_task_callback(
            GetTaskPushNotificationConfigParams(id=asked["id"], push_notification_config_id="hook")
        )
        ids = {"task_id": asked["id"], "context_id": asked["context"]}
        await send(client, said("Ada", **ids))
        last = await send(client, said("London", **ids))
        shown = [one.push_notification_config for one in (made, read)]
        return {
            "task": asked["id"],
            "last": last["state"],
            "urls": [one.url for one in shown],
            "secrets": [f"{one.token}{one.authentication.credentials}" for one in shown],
        }


async def push_inline(url, transport, hook):
    async with httpx.AsyncClient(timeout=15) as http:
        config = ClientConfig(
            streaming=False,
            httpx_client=http,
            supported_transports=[BINDINGS[transport]],
            grpc_channel_factory=grpc.aio.insecure_channel,
            push_notification_configs=[PushNotificationConfig(url=hook, token="token")],
        )
        client = await ClientFactory.connect(url, config)
        try:
            return {"task": (await send(client, said("echo hello")))["id"]}
        finally:
            if transport == "grpc":
                await client._transport.close()


async def message_to_finished_task(url, transport):
    async with connect(url, transport) as client:
        done = await send(client, said("echo done"))
        await send(client, said("more", task_id=done["id"], context_id=done["context"]))


async def subscribe_to_finished_task(url, transport):
    async with connect(url, transport, streaming=True) as client:
        stream = [event(item) async for item in client.send_message(said("echo done"))]
        async for _ in client.resubscribe(TaskIdParams(id=stream[0]["id"])):
            pass


async def content_type_not_supported(url, transport):
    raw = base64.b64encode(b"...").decode()
    file = FilePart(file=FileWithBytes(bytes=raw, mime_type="video/mp4", name="cat.mp4"))
    async with connect(url, transport) as client:
        await send(client, said("echo this", parts=[Part(root=file)]))


async def version_not_supported(url, transport):
    context = ClientCallContext(state={"http_kwargs": {"headers": {"A2A-Version": "99.0"}}})
    async with connect(url, transport) as client:
        if transport == "grpc":  # this client has no way to send metadata; its stub has
            hello = a2a_pb2.Message(message_id="m", role=1, content=[a2a_pb2.Part(text="echo")])
            request = a2a_pb2.SendMessageRequest(request=hello)
            stub = client._transport.stub
            await stub.SendMessage(request, metadata=[("a2a-version", "99.0")])
        await send(client, said("echo hello"), context)


async def invalid_params(url, transport):
    async with connect(url, transport) as client:
        await send(client, said())  # a message of no parts


async def method_not_found(url, transport):
    # no method of the client sends an unknown one; its transport does, asked directly
    async with connect(url, transport) as client:
        inner = client._transport
        if transport == "jsonrpc":
            request = {"jsonrpc": "2.0", "id": 1, "method": "nope/nope", "params": {}}
            answer = await inner._send_request(request)
            raise ProtocolError(answer["error"]["code"], answer["error"]["message"])
        if transport == "grpc":
            await inner.channel.unary_unary("/a2a.v1.A2AService/Nope")(b"")
        await inner._send_post_request("/v1/nope/nope:nope", {}, {})


class ProtocolError(Exception):
    """An error object that the client handed back instead of raising it."""


SCENARIOS = {
    one.__name__: one
    for one in (
        *(card, blocking, immediate, streaming, subscribe, cancel, history_length),
        *(multi_turn, multi_turn_task_only, multi_turn_stream, direct, direct_stream, parts),
        *(retry, failed, rejected, task_not_found, message_to_unknown_task),
        *(subscribe_to_unknown_task, not_cancelable, push, push_inline),
        *(message_to_finished_task, subscribe_to_finished_task, content_type_not_supported),
        *(version_not_supported, invalid_params, method_not_found),
    )
}


def describe_error(error):
    """JSON-RPC errors by name, as 1.x names them; over REST this client shows only the status."""
    if isinstance(error, A2AClientJSONRPCError):
        code = error.error.code
        return {"name": NAMES.get(code, str(code)), "message": str(error.error.message)}
    if isinstance(error, grpc.aio.AioRpcError):
        name, _, message = error.details().partition(": ")
        unknown = error.code() is grpc.StatusCode.UNIMPLEMENTED
        return {"name": "MethodNotFoundError" if unknown else name, "message": message}
    if isinstance(error, ProtocolError):
        code, message = error.args
        return {"name": NAMES.get(code, str(code)), "message": message}
    if isinstance(error, A2AClientHTTPError):
        return {"status": error.status_code, "message": error.message}
    return None


if __name__ == "__main__":
    driver.serve(SCENARIOS, describe_error)
