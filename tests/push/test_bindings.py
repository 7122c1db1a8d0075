"""Configurations over every binding and version, and what their webhooks are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.runtime.call import TaskScope
from tests.support.clients import BINDINGS, OLD_BINDINGS, Answer, send
from tests.support.receiver import Delivery, Receiver
from tests.support.servers import OnSockets

from .serving import serving, until

pytestmark = pytest.mark.anyio
ALL = (*BINDINGS, *OLD_BINDINGS)
SCOPE = TaskScope("", "teller", "anonymous")


@pytest.fixture
async def served(receiver: Receiver) -> AsyncIterator[OnSockets]:
    async with serving() as found:
        yield found


def config(receiver: Receiver, path: str = "/hook", **more: Any) -> t.TaskPushNotificationConfig:
    secret = t.AuthenticationInfo(scheme="Bearer", credentials="let-me-in")
    return t.TaskPushNotificationConfig(
        url=receiver.url + path, token="its-token", authentication=secret, **more
    )


async def asking(served: OnSockets) -> str:
    """Begin a task that waits for input; return its id."""
    answer = await served.call("jsonrpc", ops.SEND, send("ask"))
    assert answer.outcome == "ok", answer.text
    return str(answer.body["task"]["id"])


def ended(ledger: list[Delivery], path: str = "/hook") -> bool:
    return any(one.path == path and state_of(one) in ENDS for one in ledger)


ENDS = ("completed", "TASK_STATE_COMPLETED")


def state_of(delivery: Delivery) -> str:
    body = delivery.json
    status = body.get("statusUpdate", body).get("status", {})
    return str(status.get("state", ""))


def named(answer: Answer) -> Any:
    """The configuration of an answer, whatever the version: (url, id) where JSON tells them."""
    assert answer.outcome == "ok", answer.text
    body = answer.body
    if isinstance(body, dict):
        inner = body.get("pushNotificationConfig", body)
        return inner.get("url"), inner.get("id")
    return None


@pytest.mark.parametrize("binding", ALL)
async def test_registered_configurations_are_read_listed_deleted_and_told(
    binding: str, served: OnSockets, receiver: Receiver
) -> None:
    task = await asking(served)
    made = await served.call(binding, ops.CREATE_PUSH, config(receiver, task_id=task, id="mine"))
    assert made.outcome == "ok", made.text
    asked = t.GetTaskPushNotificationConfigRequest(task_id=task, id="mine")
    read = await served.call(binding, ops.GET_PUSH, asked)
    assert named(read) in ((receiver.url + "/hook", "mine"), None)
    listed = await served.call(
        binding, ops.LIST_PUSH, t.ListTaskPushNotificationConfigsRequest(task_id=task)
    )
    for answer in (made, read, listed):
        assert answer.outcome == "ok", answer.text
        assert "let-me-in" not in answer.text
        assert "its-token" not in answer.text
        assert "/hook" in answer.text
    follow = send("go on", task_id=task)
    assert (await served.call("jsonrpc", ops.SEND, follow)).outcome == "ok"
    await until(receiver, ended)
    old = binding in OLD_BINDINGS
    for one in receiver.ledger:
        assert one.headers["authorization"] == "Bearer let-me-in"
        assert one.headers["x-a2a-notification-token"] == "its-token"
        kind = "application/json" if old else "application/a2a+json"
        assert one.headers["content-type"] == kind
        if old:
            assert one.json["kind"] == "task"
            assert one.json["id"] == task
        else:
            assert len(one.json) == 1
    for _ in range(2):  # deleting again is no error
        gone = t.DeleteTaskPushNotificationConfigRequest(task_id=task, id="mine")
        assert (await served.call(binding, ops.DELETE_PUSH, gone)).outcome == "ok"
    assert (await served.call(binding, ops.GET_PUSH, asked)).outcome == "TASK_NOT_FOUND"


@pytest.mark.parametrize("binding", ALL)
async def test_a_configuration_inside_a_send_is_told_of_the_new_task(
    binding: str, served: OnSockets, receiver: Receiver
) -> None:
    request = structs.replace(
        send("speak"),
        configuration=t.SendMessageConfiguration(
            task_push_notification_config=config(receiver), return_immediately=True
        ),
    )
    answer = await served.call(binding, ops.SEND, request)
    assert answer.outcome == "ok", answer.text
    await until(receiver, ended)
    last = receiver.ledger[-1].json
    if binding in OLD_BINDINGS:
        assert [part["text"] for part in last["artifacts"][0]["parts"]] == ["one", "two"]
        return
    kinds = [next(iter(one.json)) for one in receiver.ledger]
    assert kinds[0] == kinds[-1] == "statusUpdate"
    parts = [
        part["text"]
        for one in receiver.ledger
        if (update := one.json.get("artifactUpdate"))
        for part in update["artifact"]["parts"]
    ]
    assert [text for text in parts if text] == ["one", "two"]


@pytest.mark.parametrize("binding", ALL)
async def test_others_and_tasks_that_do_not_exist_get_one_answer(
    binding: str, served: OnSockets, receiver: Receiver
) -> None:
    absent = [
        (ops.CREATE_PUSH, config(receiver, task_id="no-task")),
        (ops.GET_PUSH, t.GetTaskPushNotificationConfigRequest(task_id="no-task", id="x")),
        (ops.LIST_PUSH, t.ListTaskPushNotificationConfigsRequest(task_id="no-task")),
        (ops.DELETE_PUSH, t.DeleteTaskPushNotificationConfigRequest(task_id="no-task", id="x")),
    ]
    for operation, request in absent:
        answer = await served.call(binding, operation, request)
        assert answer.outcome == "TASK_NOT_FOUND", (operation.name, answer.text)


async def test_a_0_3_client_reads_a_configuration_without_its_id(
    served: OnSockets, receiver: Receiver
) -> None:
    task = await asking(served)
    await served.call("jsonrpc-0.3", ops.CREATE_PUSH, config(receiver, task_id=task))
    await served.call("jsonrpc-0.3", ops.CREATE_PUSH, config(receiver, task_id=task))
    assert len(await served.runtime.system.store.pushes(SCOPE, task)) == 1, "set twice is one"
    asked = t.GetTaskPushNotificationConfigRequest(task_id=task, id="")
    for binding in ("jsonrpc-0.3", "rest-0.3"):
        answer = await served.call(binding, ops.GET_PUSH, asked)
        assert answer.outcome == "ok", answer.text
        assert receiver.url + "/hook" in answer.text


async def test_the_card_says_that_the_server_pushes(served: OnSockets) -> None:
    async with served.open("GET", "/.well-known/agent-card.json", {}, b"") as response:
        assert b'"pushNotifications":true' in await response.read()


@pytest.mark.parametrize("inside", [False, True], ids=["by itself", "inside a send"])
async def test_a_secret_that_was_written_back_goes_to_no_other_origin(
    inside: bool, served: OnSockets, receiver: Receiver
) -> None:
    task = await asking(served)
    first = config(receiver, task_id=task, id="mine")
    assert (await served.call("jsonrpc", ops.CREATE_PUSH, first)).outcome == "ok"
    masked = structs.replace(
        first,
        token="***",
        authentication=t.AuthenticationInfo(scheme="Bearer", credentials="***"),
    )

    async def write_back(changed: t.TaskPushNotificationConfig) -> Answer:
        if not inside:
            return await served.call("jsonrpc", ops.CREATE_PUSH, changed)
        request = structs.replace(
            send("ask", task_id=task),
            configuration=t.SendMessageConfiguration(task_push_notification_config=changed),
        )
        return await served.call("jsonrpc", ops.SEND, request)

    port = str(receiver.port)
    for url in (
        receiver.url.replace("127.0.0.1", "127.0.0.2") + "/theirs",
        receiver.url.replace("http:", "https:") + "/theirs",
        receiver.url.replace(port, str(receiver.port - 1)) + "/theirs",
        f"http://127.0.0.1:{port}@127.0.0.2:{port}/theirs",
    ):
        refused = await write_back(structs.replace(masked, url=url))
        assert refused.outcome in ("INVALID_PARAMS", "-32602"), (url, refused.text)
    kept = await write_back(structs.replace(masked, url=receiver.url + "/moved"))
    assert kept.outcome == "ok", kept.text
    assert (await served.call("jsonrpc", ops.SEND, send("go on", task_id=task))).outcome == "ok"
    await until(receiver, lambda ledger: ended(ledger, "/moved"))
    assert {one.path for one in receiver.ledger} <= {"/hook", "/moved"}
    for one in receiver.ledger:
        assert one.headers["authorization"] == "Bearer let-me-in"
        assert one.headers["x-a2a-notification-token"] == "its-token"
