"""Every operation, every binding, everybody: nothing that is not the caller's can be seen."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc.aio
import msgspec
import pytest
from msgspec import structs

from greenroom.auth import Claims, Policy, Security, open_id_connect
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.transports.client.http import request
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, OLD_BINDINGS, Answer, send
from tests.support.issuer import Issuer
from tests.support.servers import OnSockets

pytestmark = pytest.mark.anyio

# Whose task: of ada at acme. The others, and what they must get for whatever touches it.
STRANGERS: dict[str, dict[str, Any]] = {
    "other user": {"sub": "eve", "tid": "acme", "scope": "desk"},
    "other tenant": {"sub": "ada", "tid": "evil", "scope": "desk"},
}
NOBODIES: dict[str, dict[str, Any]] = {
    "expired": {"exp": time.time() - 3600},
    "alg none": {"forge": "none"},
    "RS/HS confusion": {"forge": "confusion"},
    "wrong kid": {"header": {"kid": "nobody's"}},
    "wrong aud": {"aud": "others"},
    "jku injection": {"forge": "key", "header": {"kid": "mine", "jku": "http://127.0.0.1:1/jwks"}},
}
Make = Callable[[str, str], Any]
"""A request about (task, context)."""

Asked = tuple[str, ops.Operation, Make]

ABOUT_A_TASK: list[Asked] = [
    ("follow-up", ops.SEND, lambda task, context: send("mine now", task_id=task)),
    ("follow-up in its context", ops.SEND,
     lambda task, context: send("mine now", task_id=task, context_id=context)),
    ("streamed follow-up", ops.STREAM, lambda task, context: send("mine now", task_id=task)),
    ("get", ops.GET_TASK, lambda task, context: t.GetTaskRequest(id=task)),
    ("cancel", ops.CANCEL, lambda task, context: t.CancelTaskRequest(id=task)),
    ("subscribe", ops.SUBSCRIBE, lambda task, context: t.SubscribeToTaskRequest(id=task)),
    ("create push", ops.CREATE_PUSH, lambda task, context: t.TaskPushNotificationConfig(
        task_id=task, url="https://example.com/hook")),
    ("get push", ops.GET_PUSH,
     lambda task, context: t.GetTaskPushNotificationConfigRequest(task_id=task, id="x")),
    ("list push", ops.LIST_PUSH,
     lambda task, context: t.ListTaskPushNotificationConfigsRequest(task_id=task)),
    ("delete push", ops.DELETE_PUSH,
     lambda task, context: t.DeleteTaskPushNotificationConfigRequest(task_id=task, id="x")),
]  # fmt: skip
BESIDE_IT: list[Asked] = [
    ("send", ops.SEND, lambda task, context: send("hello")),
    ("send in its context", ops.SEND, lambda task, context: send("hello", context_id=context)),
    ("send that refers to it", ops.SEND,
     lambda task, context: send("hello", reference_task_ids=[task])),
    ("stream", ops.STREAM, lambda task, context: send("hello")),
    ("list", ops.LIST_TASKS, lambda task, context: t.ListTasksRequest()),
    ("list its context", ops.LIST_TASKS,
     lambda task, context: t.ListTasksRequest(context_id=context)),
    ("extended card", ops.EXTENDED_CARD, lambda task, context: t.GetExtendedAgentCardRequest()),
]  # fmt: skip
ALL = [*ABOUT_A_TASK, *BESIDE_IT]
EVERYWHERE = [*BINDINGS, *OLD_BINDINGS]
SECRET = "secret of the owner: top"


@pytest.fixture
async def server(issuer: Issuer) -> AsyncGenerator[OnSockets, None]:
    security = Security(
        open_id_connect(issuer.url, audience="agents", claims=Claims(tenant="tid")),
        policy=Policy(agents={"desk": ["desk"]}),
    )
    from greenroom.auth import Limits

    async with serving(security, limits=Limits(failures=10_000)) as running:
        yield running


def bearer(issuer: Issuer, **claims: Any) -> dict[str, str]:
    token = issuer.token(**{"sub": "ada", "tid": "acme", "scope": "desk", **claims})
    return {"Authorization": f"Bearer {token}"}


async def owned(server: OnSockets, issuer: Issuer) -> tuple[str, str, str]:
    """Ids of a task that waits and of one that is done, and their context."""
    mine = bearer(issuer)
    waiting = await server.call("rest", ops.SEND, send("ask"), mine)
    context = waiting.body["task"]["contextId"]
    done = await server.call("rest", ops.SEND, send("top", context_id=context), mine)
    assert SECRET in done.text
    return waiting.body["task"]["id"], done.body["task"]["id"], context


def over(binding: str, asked: list[Asked]) -> list[Asked]:
    """What a binding has words for: 0.3 lists tasks over REST alone."""
    lists = binding not in ("jsonrpc-0.3", "grpc-0.3")
    return [one for one in asked if lists or one[1] is not ops.LIST_TASKS]


def clean(answer: Answer) -> None:
    assert SECRET not in answer.text
    assert "acme" not in answer.text


@pytest.mark.parametrize("binding", EVERYWHERE)
@pytest.mark.parametrize("who", STRANGERS)
async def test_strangers(server: OnSockets, issuer: Issuer, who: str, binding: str) -> None:
    """What is somebody else's looks exactly like what is not there."""
    waiting, done, context = await owned(server, issuer)
    theirs = bearer(issuer, **STRANGERS[who])
    absent = "00000000-0000-4000-8000-000000000000"
    for name, operation, make in over(binding, ABOUT_A_TASK):
        for task in (waiting, done):
            answer = await server.call(binding, operation, make(task, context), theirs)
            nothing = await server.call(binding, operation, make(absent, context), theirs)
            assert answer.outcome != "ok", name
            assert (answer.outcome, answer.status) == (nothing.outcome, nothing.status), name
            assert answer.text.replace(task, "") == nothing.text.replace(absent, ""), name
            clean(answer)
    for name, operation, make in over(binding, BESIDE_IT):
        answer = await server.call(binding, operation, make(waiting, context), theirs)
        clean(answer)
        if operation is ops.LIST_TASKS:
            listed = await server.call("rest", operation, make(waiting, context), theirs)
            ids = {task["id"] for task in listed.body["tasks"]}
            assert not ids & {waiting, done}, name
    # And it changed nothing.
    kept = await server.call("rest", ops.GET_TASK, t.GetTaskRequest(id=waiting), bearer(issuer))
    assert kept.body["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert "mine now" not in kept.text


@pytest.mark.parametrize("binding", EVERYWHERE)
@pytest.mark.parametrize("who", [*NOBODIES, "anonymous"])
async def test_nobodies(server: OnSockets, issuer: Issuer, who: str, binding: str) -> None:
    waiting, done, context = await owned(server, issuer)
    headers = {} if who == "anonymous" else bearer(issuer, **NOBODIES[who])
    for name, operation, make in over(binding, ALL):
        for task in (waiting, done):
            answer = await server.call(binding, operation, make(task, context), headers)
            assert answer.outcome == "UNAUTHENTICATED", name
            assert answer.status in (401, "UNAUTHENTICATED"), name
            assert task not in answer.text
            clean(answer)


async def test_what_a_nobody_sends_is_not_decoded(server: OnSockets, issuer: Issuer) -> None:
    """Over gRPC too the caller is looked at before the message."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        seen = []
        for headers in ({}, bearer(issuer)):
            metadata = [(name.lower(), value) for name, value in headers.items()]
            call: Any = channel.unary_unary("/lf.a2a.v1.A2AService/SendMessage")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"\xff\xff\xff", metadata=metadata)
            seen.append(caught.value.code().name)
    assert seen == ["UNAUTHENTICATED", "INVALID_ARGUMENT"]


@pytest.mark.parametrize("binding", EVERYWHERE)
async def test_the_wrong_scope(server: OnSockets, issuer: Issuer, binding: str) -> None:
    waiting, done, context = await owned(server, issuer)
    headers = bearer(issuer, scope="other")
    for name, operation, make in over(binding, ALL):
        for task in (waiting, done):
            answer = await server.call(binding, operation, make(task, context), headers)
            assert answer.outcome == "PERMISSION_DENIED", name
            assert task not in answer.text
            clean(answer)


@pytest.mark.parametrize("binding", EVERYWHERE)
async def test_the_owner(server: OnSockets, issuer: Issuer, binding: str) -> None:
    """The same requests, so that the tests above cannot pass for another reason."""
    mine = bearer(issuer)
    for name, operation, make in over(binding, ALL):
        waiting, _, context = await owned(server, issuer)
        answer = await server.call(binding, operation, make(waiting, context), mine)
        if operation.push or operation is ops.EXTENDED_CARD:
            assert answer.outcome not in ("UNAUTHENTICATED", "PERMISSION_DENIED"), name
        else:
            assert answer.outcome == "ok", (name, answer.text)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_cursors_of_others(server: OnSockets, issuer: Issuer, binding: str) -> None:
    for _ in range(2):
        await owned(server, issuer)
    first = await server.call(
        "rest", ops.LIST_TASKS, t.ListTasksRequest(page_size=1), bearer(issuer)
    )
    token = first.body["nextPageToken"]
    assert token
    for claims in STRANGERS.values():
        asked = t.ListTasksRequest(page_size=1, page_token=token)
        answer = await server.call(binding, ops.LIST_TASKS, asked, bearer(issuer, **claims))
        clean(answer)
        assert "INPUT_REQUIRED" not in answer.text


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_tenant_on_the_wire_owns_nothing(
    server: OnSockets, issuer: Issuer, binding: str
) -> None:
    waiting, _, _ = await owned(server, issuer)
    theirs = bearer(issuer, **STRANGERS["other tenant"])
    asked = t.GetTaskRequest(id=waiting, tenant="acme")
    assert (await server.call(binding, ops.GET_TASK, asked, bearer(issuer))).outcome == "ok"
    for operation, one in (
        (ops.GET_TASK, asked),
        (ops.CANCEL, t.CancelTaskRequest(id=waiting, tenant="acme")),
        (ops.SEND, structs.replace(send("mine now", task_id=waiting), tenant="acme")),
        (ops.SEND, structs.replace(send("mine now"), tenant="acme")),
        (ops.SUBSCRIBE, t.SubscribeToTaskRequest(id=waiting, tenant="acme")),
        (ops.LIST_TASKS, t.ListTasksRequest(tenant="acme")),
    ):
        answer = await server.call(binding, operation, one, theirs)
        assert answer.outcome == "PERMISSION_DENIED", operation.name
        clean(answer)
    own = await server.call(binding, ops.GET_TASK, structs.replace(asked, tenant="evil"), theirs)
    assert own.outcome == "TASK_NOT_FOUND"


async def test_the_tenant_of_a_path_owns_nothing(server: OnSockets, issuer: Issuer) -> None:
    """REST has it in the path, too, which counts before what the query or the body says."""
    waiting, _, _ = await owned(server, issuer)
    theirs = {**bearer(issuer, **STRANGERS["other tenant"]), "A2A-Version": "1.0"}
    mine = {**bearer(issuer), "A2A-Version": "1.0"}

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
        fields = {**headers, "Content-Type": "application/json"}
        async with request(method, server.url + path, headers=fields, body=body) as answer:
            text = await answer.read()
            assert headers is mine or SECRET.encode() not in text
            return answer.status

    message = msgspec.json.encode(structs.replace(send("mine now"), tenant="acme"))
    assert await ask("GET", f"/acme/tasks/{waiting}", mine) == 200
    assert await ask("GET", f"/evil/tasks/{waiting}", mine) == 403
    assert await ask("GET", f"/acme/tasks/{waiting}", theirs) == 403
    assert await ask("POST", f"/acme/tasks/{waiting}:cancel", theirs, b"{}") == 403
    assert await ask("POST", f"/acme/tasks/{waiting}:subscribe", theirs) == 403
    assert await ask("POST", "/acme/message:send", theirs, message) == 403
    assert await ask("GET", "/acme/tasks", theirs) == 403
    assert await ask("GET", f"/evil/tasks/{waiting}", theirs) == 404
    assert await ask("GET", f"/evil/tasks/{waiting}?tenant=acme", theirs) == 404
    assert await ask("POST", "/evil/message:send", theirs, message) == 400  # which of the two?
    assert await ask("POST", "/evil/message:send", theirs, msgspec.json.encode(send("x"))) == 200
    for headers, count in ((theirs, 1), (mine, 2)):
        listed = await server.call("rest", ops.LIST_TASKS, t.ListTasksRequest(), headers)
        assert len(listed.body["tasks"]) == count
