"""What each operation answers (sections 3.1 and 3.2), over every binding in every version."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from .conftest import Served, kinds, said, state, text_of
from .dialects import LISTING, MODERN, REST, Dialect, Json
from .errors import refused

pytestmark = pytest.mark.anyio

ENDED = {
    "COMPLETED": "hi",
    "FAILED": "fail",
    "REJECTED": "reject",
    "CANCELED": "wait",
}


async def ended(served: Served, how: str) -> Json:
    """Return a task in a terminal state."""
    if how != "CANCELED":
        return (await served.send(REST, ENDED[how])).task
    task = await served.working(REST)
    return (await REST.call(served.app, "CancelTask", {"id": task["id"]})).task


# --- SendMessage (3.1.1, 3.2.2) ------------------------------------------------------------------


async def test_a_send_answers_with_a_task_or_a_message(served: Served, dialect: Dialect) -> None:
    answer = await served.send(dialect)
    assert set(answer.result) == {"task"}
    assert state(answer.task) == "COMPLETED"
    assert text_of(answer.task) == "You said: hi"
    direct = await served.send(dialect, at="/a2a/agents/direct")
    assert set(direct.result) == {"message"}
    assert direct.result["message"]["parts"] == [{"text": "At once: hi"}]


@pytest.mark.parametrize("now", [None, False])
async def test_a_blocking_send_waits_for_the_end(
    served: Served, dialect: Dialect, now: bool | None
) -> None:
    async with anyio.create_task_group() as group:

        async def later() -> None:
            await anyio.sleep(3)
            served.stage.go.set()

        group.start_soon(later)
        began = anyio.current_time()
        answer = await served.send(dialect, "tell", now=now)
    assert anyio.current_time() - began >= 3
    assert state(answer.task) == "COMPLETED"
    assert text_of(answer.task) == "halfall", "all artifacts, and the latest state"


@pytest.mark.parametrize(("text", "found"), [("ask", "INPUT_REQUIRED"), ("auth", "AUTH_REQUIRED")])
async def test_a_blocking_send_answers_when_the_task_asks(
    served: Served, dialect: Dialect, text: str, found: str
) -> None:
    answer = await served.send(dialect, text)
    assert state(answer.task) == found
    assert answer.task["status"]["message"]["role"] == "ROLE_AGENT"


async def test_a_blocking_send_carries_every_artifact(served: Served, dialect: Dialect) -> None:
    task = (await served.send(dialect, "three")).task
    assert [one["artifactId"] for one in task["artifacts"]] == ["one", "two", "three"]


async def test_an_immediate_send_does_not_wait(served: Served, dialect: Dialect) -> None:
    began = anyio.current_time()
    task = (await served.send(dialect, "wait", now=True)).task
    assert anyio.current_time() == began
    assert state(task) in ("SUBMITTED", "WORKING")
    assert state(await served.get(dialect, task["id"])) in ("SUBMITTED", "WORKING")
    served.stage.go.set()  # it goes on without its sender
    assert text_of(await served.over(dialect, task["id"])) == "went"


async def test_an_immediate_send_changes_nothing_for_a_direct_message(
    served: Served, dialect: Dialect
) -> None:
    answer = await served.send(dialect, now=True, at="/a2a/agents/direct")
    assert set(answer.result) == {"message"}


@pytest.mark.parametrize("operation", ["SendMessage", "SendStreamingMessage"])
@pytest.mark.parametrize("how", ENDED)
async def test_a_task_that_is_over_takes_no_message(
    served: Served, dialect: Dialect, operation: str, how: str
) -> None:
    task = await ended(served, how)
    answer = await dialect.call(served.app, operation, said("more", task=task["id"]))
    refused(dialect, answer, "UnsupportedOperation")
    assert await served.get(REST, task["id"]) == task


@pytest.mark.parametrize("operation", ["SendMessage", "SendStreamingMessage"])
async def test_media_types_the_agent_does_not_take_are_refused(
    served: Served, dialect: Dialect, operation: str
) -> None:
    part = {"raw": "AAE=", "mediaType": "audio/ogg", "filename": "a.ogg"}
    answer = await dialect.call(served.app, operation, said(parts=[part]))
    refused(dialect, answer, "ContentTypeNotSupported")


# --- SendStreamingMessage (3.1.2) ----------------------------------------------------------------


async def test_a_stream_begins_with_the_task_and_ends_with_it(
    served: Served, dialect: Dialect
) -> None:
    answer = await dialect.call(served.app, "SendStreamingMessage", said("three"))
    order = kinds(answer.result)
    assert order[0].startswith("task ")
    assert order[-1] == "statusUpdate COMPLETED"
    assert order.count("artifactUpdate") == 3
    assert all(kind.split()[0] != "task" for kind in order[1:])


@pytest.mark.parametrize(("how", "text"), [("FAILED", "fail"), ("REJECTED", "reject")])
async def test_a_stream_closes_at_any_end(
    served: Served, dialect: Dialect, how: str, text: str
) -> None:
    answer = await dialect.call(served.app, "SendStreamingMessage", said(text))
    assert kinds(answer.result)[-1] == f"statusUpdate {how}"


async def test_a_stream_closes_when_the_task_is_canceled(served: Served, dialect: Dialect) -> None:
    async with dialect.stream(served.app, "SendStreamingMessage", said("wait")) as stream:
        first = (await stream.events(2))[0]
        await dialect.call(served.app, "CancelTask", {"id": first["task"]["id"]})
        assert kinds(await stream.rest())[-1] == "statusUpdate CANCELED"


async def test_a_stream_of_one_message_holds_nothing_else(served: Served, dialect: Dialect) -> None:
    answer = await dialect.call(served.app, "SendStreamingMessage", said(), at="/a2a/agents/direct")
    assert kinds(answer.result) == ["message"]


async def test_progress_is_told_while_the_agent_works(served: Served, dialect: Dialect) -> None:
    async with dialect.stream(served.app, "SendStreamingMessage", said("tell")) as stream:
        began = anyio.current_time()
        early = kinds(await stream.events(4))
        assert anyio.current_time() == began, "at once, not when all is done"
        assert "artifactUpdate" in early
        assert "statusUpdate COMPLETED" not in early
        served.stage.go.set()
        assert kinds(await stream.rest())[-1] == "statusUpdate COMPLETED"


@pytest.mark.parametrize("now", [True, False])
async def test_return_immediately_has_no_effect_on_streams(
    served: Served, dialect: Dialect, now: bool
) -> None:
    answer = await dialect.call(served.app, "SendStreamingMessage", said("three", now=now))
    assert kinds(answer.result)[-1] == "statusUpdate COMPLETED"


# --- GetTask (3.1.3) -----------------------------------------------------------------------------


async def test_a_task_is_read_as_it_is(served: Served, dialect: Dialect) -> None:
    sent = (await served.send(dialect, "three")).task
    assert await served.get(dialect, sent["id"]) == sent


@pytest.mark.parametrize("operation", ["GetTask", "CancelTask", "SubscribeToTask"])
async def test_an_unknown_task_is_not_found(
    served: Served, dialect: Dialect, operation: str
) -> None:
    answer = await dialect.call(served.app, operation, {"id": "no-such-task"})
    refused(dialect, answer, "TaskNotFound")


@pytest.mark.parametrize("operation", ["GetTask", "CancelTask", "SubscribeToTask"])
async def test_the_task_of_another_agent_does_not_exist(
    served: Served, dialect: Dialect, operation: str
) -> None:
    task = await served.working(dialect)
    answer = await dialect.call(served.app, operation, {"id": task["id"]}, at="/a2a/agents/direct")
    fault = refused(dialect, answer, "TaskNotFound")
    unknown = await dialect.call(served.app, operation, {"id": "nobody"}, at="/a2a/agents/direct")
    assert unknown.fault is not None
    assert (fault.code, fault.message) == (unknown.fault.code, unknown.fault.message)
    assert state(await served.get(dialect, task["id"])) == "WORKING"


# --- ListTasks (3.1.4) ---------------------------------------------------------------------------


async def several(served: Served, count: int, **options: Any) -> list[str]:
    """Make tasks, a second apart, and return their ids, the newest first."""
    made = []
    for _ in range(count):
        made.append((await served.send(REST, "hi", **options)).task["id"])
        await anyio.sleep(1)
    return made[::-1]


@pytest.mark.parametrize("dialect", LISTING, ids=str)
async def test_tasks_are_listed_newest_first(served: Served, dialect: Dialect) -> None:
    made = await several(served, 4)
    waiting = (await served.send(REST, "ask")).task
    await anyio.sleep(1)
    listed = (await dialect.call(served.app, "ListTasks")).result["tasks"]
    assert [task["id"] for task in listed] == [waiting["id"], *made]
    times = [task["status"]["timestamp"] for task in listed]
    assert times == sorted(times, reverse=True)
    newer = await several(served, 1)
    await served.send(REST, "Ann", task=waiting["id"])  # its status is now the latest
    listed = (await dialect.call(served.app, "ListTasks")).result["tasks"]
    assert [task["id"] for task in listed] == [waiting["id"], *newer, *made]


@pytest.mark.parametrize("dialect", LISTING, ids=str)
@pytest.mark.parametrize("asked", [None, False])
async def test_artifacts_are_left_out_of_lists(
    served: Served, dialect: Dialect, asked: bool | None
) -> None:
    await served.send(REST, "three")
    params = {} if asked is None else {"includeArtifacts": asked}
    listed = (await dialect.call(served.app, "ListTasks", params)).raw
    tasks = listed if isinstance(listed, list) else listed.get("result", listed)["tasks"]
    assert len(tasks) == 1
    assert "artifacts" not in tasks[0]


@pytest.mark.parametrize("dialect", MODERN, ids=str)
async def test_artifacts_are_in_lists_on_request(served: Served, dialect: Dialect) -> None:
    await served.send(REST, "three")
    await served.send(REST, "nothing")
    answer = await dialect.call(served.app, "ListTasks", {"includeArtifacts": True})
    assert sorted(len(task["artifacts"]) for task in answer.result["tasks"]) == [0, 3]


@pytest.mark.parametrize("dialect", MODERN, ids=str)
async def test_pages_follow_each_other_by_token(served: Served, dialect: Dialect) -> None:
    made = await several(served, 5)
    seen: list[str] = []
    token = ""
    sizes = []
    while True:
        params: Json = {"pageSize": 2} | ({"pageToken": token} if token else {})
        page = (await dialect.call(served.app, "ListTasks", params)).result
        assert page["totalSize"] == 5
        seen += [task["id"] for task in page["tasks"]]
        sizes.append(len(page["tasks"]))
        token = page["nextPageToken"]  # always there
        if token == "":
            break
    assert seen == made
    assert sizes == [2, 2, 1]
    assert page["pageSize"] == 2


@pytest.mark.parametrize("dialect", MODERN, ids=str)
async def test_a_task_that_comes_meanwhile_shifts_no_page(served: Served, dialect: Dialect) -> None:
    made = await several(served, 4)
    first = (await dialect.call(served.app, "ListTasks", {"pageSize": 2})).result
    await several(served, 3)
    params = {"pageSize": 2, "pageToken": first["nextPageToken"]}
    second = (await dialect.call(served.app, "ListTasks", params)).result
    found = [task["id"] for page in (first, second) for task in page["tasks"]]
    assert found == made


@pytest.mark.parametrize("dialect", MODERN, ids=str)
@pytest.mark.parametrize("count", [0, 1, 2])
async def test_the_last_page_says_so_with_an_empty_token(
    served: Served, dialect: Dialect, count: int
) -> None:
    await several(served, count)
    answer = await dialect.call(served.app, "ListTasks", {"pageSize": 2})
    page = answer.result
    assert page == {"tasks": page["tasks"], "nextPageToken": "", "pageSize": 2, "totalSize": count}
    assert len(page["tasks"]) == count


@pytest.mark.parametrize("dialect", MODERN, ids=str)
async def test_lists_are_filtered(served: Served, dialect: Dialect) -> None:
    mine = (await served.send(REST, "ask", context="c-1")).task
    await anyio.sleep(1)
    await several(served, 2)
    moment = mine["status"]["timestamp"]

    async def ids(**params: Any) -> list[str]:
        page = (await dialect.call(served.app, "ListTasks", params)).result
        assert page["totalSize"] == len(page["tasks"])
        return [task["id"] for task in page["tasks"]]

    assert await ids(contextId="c-1") == [mine["id"]]
    assert await ids(status="TASK_STATE_INPUT_REQUIRED") == [mine["id"]]
    assert await ids(contextId="c-1", status="TASK_STATE_COMPLETED") == []
    assert mine["id"] in await ids(statusTimestampAfter=moment), "at or after (a2a.proto)"
    later = await ids(statusTimestampAfter=moment[:-1] + "1Z")
    assert len(later) == 2
    assert mine["id"] not in later
    assert await ids(contextId="c-2") == []


@pytest.mark.parametrize("dialect", LISTING, ids=str)
async def test_lists_hold_what_the_caller_may_see(served: Served, dialect: Dialect) -> None:
    mine = (await served.send(REST)).task
    await served.send(REST, at="/a2a/agents/quiet")
    listed = (await dialect.call(served.app, "ListTasks")).result["tasks"]
    assert [task["id"] for task in listed] == [mine["id"]]


@pytest.mark.parametrize("dialect", MODERN, ids=str)
@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"pageSize": 0}, "pageSize"),
        ({"pageSize": -1}, "pageSize"),
        ({"pageSize": 101}, "pageSize"),
        ({"historyLength": -1}, "historyLength"),
        ({"status": "TASK_STATE_RUNNING"}, "status"),
        ({"status": "working"}, "status"),
        ({"pageToken": "bm90IG91cnM"}, "pageToken"),
        ({"statusTimestampAfter": "yesterday"}, "statusTimestampAfter"),
    ],
)
async def test_what_cannot_be_listed_is_told(
    served: Served, dialect: Dialect, params: Json, field: str
) -> None:
    answer = await dialect.call(served.app, "ListTasks", params)
    assert refused(dialect, answer, "InvalidParams").fields == [field]


# --- CancelTask (3.1.5) --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["wait", "ask", "auth"])
async def test_a_task_that_goes_on_is_canceled(served: Served, dialect: Dialect, text: str) -> None:
    task = (await served.send(dialect, text, now=True)).task
    canceled = await dialect.call(served.app, "CancelTask", {"id": task["id"]})
    assert state(canceled.task) == "CANCELED"
    assert state(await served.get(dialect, task["id"])) == "CANCELED"


@pytest.mark.parametrize("how", ENDED)
async def test_a_task_that_is_over_is_not_canceled(
    served: Served, dialect: Dialect, how: str
) -> None:
    task = await ended(served, how)
    answer = await dialect.call(served.app, "CancelTask", {"id": task["id"]})
    refused(dialect, answer, "TaskNotCancelable")
    assert await served.get(REST, task["id"]) == task, "asking twice is asking once"


# --- SubscribeToTask (3.1.6) ---------------------------------------------------------------------


async def test_a_subscription_begins_with_the_task_as_it_is(
    served: Served, dialect: Dialect
) -> None:
    task = await served.working(dialect, "tell")
    await anyio.sleep(1)
    params = {"id": task["id"]}
    async with dialect.stream(served.app, "SubscribeToTask", params) as stream:
        first = (await stream.events(1))[0]
        assert set(first) == {"task"}
        assert text_of(first["task"]) == "half"
        assert first["task"] == await served.get(dialect, task["id"])
        served.stage.go.set()
        events = await stream.rest()
    assert kinds(events) == ["task WORKING", "artifactUpdate", "statusUpdate COMPLETED"]


@pytest.mark.parametrize("text", ["ask", "auth"])
async def test_a_subscription_outlives_a_question(
    served: Served, dialect: Dialect, text: str
) -> None:
    task = (await served.send(dialect, text)).task
    async with dialect.stream(served.app, "SubscribeToTask", {"id": task["id"]}) as stream:
        await stream.events(1)
        await served.send(dialect, "Ann", task=task["id"])
        assert kinds(await stream.rest())[-1] == "statusUpdate COMPLETED"


@pytest.mark.parametrize("how", ENDED)
async def test_a_task_that_is_over_has_no_subscription(
    served: Served, dialect: Dialect, how: str
) -> None:
    task = await ended(served, how)
    answer = await dialect.call(served.app, "SubscribeToTask", {"id": task["id"]})
    refused(dialect, answer, "UnsupportedOperation")


async def test_a_subscription_ends_with_the_task(served: Served, dialect: Dialect) -> None:
    task = (await served.send(dialect, "ask")).task
    async with dialect.stream(served.app, "SubscribeToTask", {"id": task["id"]}) as stream:
        await stream.events(1)
        await dialect.call(served.app, "CancelTask", {"id": task["id"]})
        assert kinds(await stream.rest())[-1] == "statusUpdate CANCELED"


# --- capabilities (3.3.4) ------------------------------------------------------------------------

CONFIG = {"taskId": "t", "id": "c", "url": "https://client.example.com/hook"}
PUSH = {
    "CreateTaskPushNotificationConfig": CONFIG,
    "GetTaskPushNotificationConfig": {"taskId": "t", "id": "c"},
    "ListTaskPushNotificationConfigs": {"taskId": "t"},
    "DeleteTaskPushNotificationConfig": {"taskId": "t", "id": "c"},
}


@pytest.mark.parametrize("operation", PUSH)
async def test_push_operations_without_the_capability(
    served: Served, dialect: Dialect, operation: str
) -> None:
    answer = await dialect.call(served.app, operation, PUSH[operation])
    refused(dialect, answer, "PushNotificationNotSupported")


@pytest.mark.parametrize("operation", ["SendMessage", "SendStreamingMessage"])
async def test_a_send_that_wants_push_without_the_capability(
    served: Served, dialect: Dialect, operation: str
) -> None:
    params = said() | {"configuration": {"taskPushNotificationConfig": {"url": "https://c.org/h"}}}
    answer = await dialect.call(served.app, operation, params)
    refused(dialect, answer, "PushNotificationNotSupported")
    assert (await REST.call(served.app, "ListTasks")).result["totalSize"] == 0


async def test_streaming_without_the_capability(served: Served, dialect: Dialect) -> None:
    quiet = "/a2a/agents/quiet"
    answer = await dialect.call(served.app, "SendStreamingMessage", said(), at=quiet)
    refused(dialect, answer, "UnsupportedOperation")
    task = (await served.send(dialect, "ask", at=quiet)).task
    answer = await dialect.call(served.app, "SubscribeToTask", {"id": task["id"]}, at=quiet)
    refused(dialect, answer, "UnsupportedOperation")


async def test_an_extended_card_that_is_not_declared(served: Served, dialect: Dialect) -> None:
    answer = await dialect.call(served.app, "GetExtendedAgentCard")
    # 0.3 has one error for both cases (section 8.2).
    modern = dialect in MODERN
    name = "UnsupportedOperation" if modern else "ExtendedAgentCardNotConfigured"
    refused(dialect, answer, name)
