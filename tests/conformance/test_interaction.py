"""Turns, identifiers, history and streams (sections 3.2.4, 3.4 and 3.5)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from greenroom import Agent, Message, Part, Role, TaskContext
from tests.support.servers import in_memory

from .conftest import Served, kinds, said, state, text_of
from .dialects import DIALECTS, JSONRPC, JSONRPC_03, LISTING, MODERN, REST, Dialect, Json
from .errors import refused

pytestmark = pytest.mark.anyio


# --- history length (3.2.4) ----------------------------------------------------------------------


async def talked(served: Served) -> tuple[Json, list[str]]:
    """Return a finished task with several messages, and their texts."""
    task = (await served.send(REST, "ask")).task
    task = (await served.send(REST, "Ann", task=task["id"])).task
    texts = [one["parts"][0]["text"] for one in task["history"]]
    assert texts == ["ask", "Who are you?", "Ann"]
    return task, texts


def shown(task: Json) -> list[str] | None:
    if "history" not in task:
        return None
    return [one["parts"][0]["text"] for one in task["history"]]


@pytest.mark.parametrize("length", [None, 0, 1, 2, 3, 50])
async def test_no_more_history_than_asked_for(
    served: Served, dialect: Dialect, length: int | None
) -> None:
    task, texts = await talked(served)
    params = {} if length is None else {"historyLength": length}
    found = shown(await served.get(dialect, task["id"], **params))
    if length == 0:
        # 0.3 has no rule about it, and its proto no "unset": clients that want nothing send 0.
        assert found == (None if dialect in MODERN else texts)
    else:
        assert found == texts[-(length or len(texts)) :]


@pytest.mark.parametrize("length", [None, 0, 1, 9])
async def test_history_in_the_answer_to_a_send(
    served: Served, dialect: Dialect, length: int | None
) -> None:
    asked = (await served.send(dialect, "ask", history=length)).task
    answered = (await served.send(dialect, "Ann", task=asked["id"], history=length)).task
    if length == 0 and dialect in MODERN:
        assert shown(asked) is None
        assert shown(answered) is None
        return
    texts = ["ask", "Who are you?", "Ann"]
    assert shown(asked) == ["ask"], "the question is the status message, and no history yet"
    assert shown(answered) == texts[-(length or 3) :]


@pytest.mark.parametrize("dialect", MODERN, ids=str)
@pytest.mark.parametrize("length", [None, 0, 1, 9])
async def test_history_in_lists(served: Served, dialect: Dialect, length: int | None) -> None:
    _, texts = await talked(served)
    params = {} if length is None else {"historyLength": length}
    listed = (await dialect.call(served.app, "ListTasks", params)).result["tasks"]
    assert shown(listed[0]) in (
        [None, texts] if length is None else [texts[-length:] if length else None]
    )


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_a_negative_history_length_is_refused(served: Served, dialect: Dialect) -> None:
    task = (await served.send(dialect)).task
    answer = await dialect.call(served.app, "GetTask", {"id": task["id"], "historyLength": -1})
    refused(dialect, answer, "InvalidParams")
    answer = await served.send(dialect, history=-1)
    fault = refused(dialect, answer, "InvalidParams")
    assert fault.fields == ["configuration.historyLength"]


# --- contexts (3.4.1) ----------------------------------------------------------------------------


async def test_a_context_is_made_and_told(served: Served, dialect: Dialect) -> None:
    one = (await served.send(dialect)).task["contextId"]
    two = (await served.send(dialect)).task["contextId"]
    assert one
    assert two
    assert one != two
    direct = (await served.send(dialect, at="/a2a/agents/direct")).result["message"]
    assert direct["contextId"]


async def test_a_context_of_the_client_is_kept(served: Served, dialect: Dialect) -> None:
    context = "our own context / 1"
    task = (await served.send(dialect, context=context)).task
    assert task["contextId"] == context
    assert {message["contextId"] for message in task["history"]} == {context}
    direct = await served.send(dialect, context=context, at="/a2a/agents/direct")
    assert direct.result["message"]["contextId"] == context


@pytest.mark.parametrize("context", ["c" * 257, "nul\0"])
async def test_a_context_that_cannot_be_kept_is_refused(
    served: Served, dialect: Dialect, context: str
) -> None:
    answer = await served.send(dialect, context=context)
    assert refused(dialect, answer, "InvalidParams").fields == ["message.contextId"]
    assert (await REST.call(served.app, "ListTasks")).result["totalSize"] == 0


async def test_a_context_holds_several_tasks(served: Served, dialect: Dialect) -> None:
    first = (await served.send(dialect)).task
    second = (await served.send(dialect, context=first["contextId"])).task
    assert second["id"] != first["id"]
    assert second["contextId"] == first["contextId"]
    params = {"contextId": first["contextId"]}
    listed = (await REST.call(served.app, "ListTasks", params)).result["tasks"]
    assert {task["id"] for task in listed} == {first["id"], second["id"]}


# --- tasks (3.4.2, 3.4.3) ------------------------------------------------------------------------


async def test_every_task_has_an_id_of_its_own(served: Served, dialect: Dialect) -> None:
    ids = [(await served.send(dialect)).task["id"] for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(ids)


@pytest.mark.parametrize("operation", ["SendMessage", "SendStreamingMessage"])
async def test_a_message_to_an_unknown_task_makes_none(
    served: Served, dialect: Dialect, operation: str
) -> None:
    answer = await dialect.call(served.app, operation, said(task="mine-to-choose"))
    refused(dialect, answer, "TaskNotFound")
    assert (await REST.call(served.app, "ListTasks")).result["totalSize"] == 0


async def test_a_task_names_its_context_to_who_names_only_the_task(
    served: Served, dialect: Dialect
) -> None:
    asked = (await served.send(dialect, "ask", context="c-1")).task
    done = (await served.send(dialect, "Ann", task=asked["id"])).task
    assert done["contextId"] == "c-1"
    assert {message["contextId"] for message in done["history"]} == {"c-1"}
    assert text_of(done) == "Hello Ann"


@pytest.mark.parametrize("operation", ["SendMessage", "SendStreamingMessage"])
async def test_task_and_context_must_agree(
    served: Served, dialect: Dialect, operation: str
) -> None:
    asked = (await served.send(dialect, "ask", context="c-1")).task
    params = said("Ann", task=asked["id"], context="c-2")
    answer = await dialect.call(served.app, operation, params)
    assert refused(dialect, answer, "InvalidParams").fields == ["message.contextId"]
    assert await served.get(dialect, asked["id"]) == asked, "nothing has happened"
    done = await served.send(dialect, "Ann", task=asked["id"], context="c-1")
    assert text_of(done.task) == "Hello Ann"


async def test_a_question_is_answered_in_the_same_task(served: Served, dialect: Dialect) -> None:
    asked = (await served.send(dialect, "ask")).task
    assert asked["status"]["message"]["parts"] == [{"text": "Who are you?"}]
    params = said("Ann", task=asked["id"], context=asked["contextId"])
    answer = await dialect.call(served.app, "SendStreamingMessage", params)
    assert state(answer.result[-1]) == "COMPLETED"
    assert answer.result[0]["task"]["id"] == asked["id"]
    assert text_of(await served.get(dialect, asked["id"])) == "Hello Ann"


async def test_a_task_that_works_takes_messages(served: Served, dialect: Dialect) -> None:
    task = await served.working(dialect)
    more = await served.send(dialect, "by the way", task=task["id"], now=True)
    assert more.task["id"] == task["id"]
    served.stage.go.set()
    done = await served.over(dialect, task["id"])
    assert "by the way" in [one["parts"][0]["text"] for one in done["history"]]


async def test_references_reach_the_history(served: Served) -> None:
    for dialect in (JSONRPC, REST, JSONRPC_03):  # the proto of 0.3 has no place for them
        first = (await served.send(dialect)).task
        task = (await served.send(dialect, referenceTaskIds=[first["id"]])).task
        assert task["history"][0]["referenceTaskIds"] == [first["id"]]


# --- streams (3.5.2) -----------------------------------------------------------------------------


async def test_all_streams_of_a_task_tell_the_same_in_the_same_order(
    served: Served, dialect: Dialect
) -> None:
    app = served.app
    async with dialect.stream(app, "SendStreamingMessage", said("go 30")) as sender:
        task = (await sender.events(2))[0]["task"]["id"]
        async with (
            dialect.stream(app, "SubscribeToTask", {"id": task}) as one,
            dialect.stream(app, "SubscribeToTask", {"id": task}) as two,
            JSONRPC.stream(app, "SubscribeToTask", {"id": task}) as other,
        ):
            for stream in (one, two, other):
                await stream.events(1)
            served.stage.go.set()
            told = [await stream.rest() for stream in (sender, one, two, other)]
    chunks = [
        [
            event["artifactUpdate"]["artifact"]["parts"][0]["text"]
            for event in events
            if "artifactUpdate" in event and event["artifactUpdate"]["artifact"]["parts"]
        ]
        for events in told
    ]
    in_order = [f"{number} " for number in range(30)]
    assert [[text for text in found if text] for found in chunks] == [in_order] * 4
    assert told[1][1:] == told[2][1:] == told[3][1:]
    assert told[0][2:] == told[1][1:], "after what the sender had seen before"


async def test_closing_one_stream_leaves_the_others(served: Served, dialect: Dialect) -> None:
    app = served.app
    async with dialect.stream(app, "SendStreamingMessage", said("tell")) as sender:
        task = (await sender.events(2))[0]["task"]["id"]
        async with dialect.stream(app, "SubscribeToTask", {"id": task}) as stays:
            await stays.events(1)
            async with dialect.stream(app, "SubscribeToTask", {"id": task}) as leaves:
                await leaves.events(1)
            served.stage.go.set()
            assert kinds(await stays.rest())[-1] == "statusUpdate COMPLETED"
        assert kinds(await sender.rest())[-1] == "statusUpdate COMPLETED"


async def test_a_task_outlives_its_streams(served: Served, dialect: Dialect) -> None:
    async with dialect.stream(served.app, "SendStreamingMessage", said("tell")) as stream:
        task = (await stream.events(1))[0]["task"]["id"]
    await anyio.sleep(1)
    assert state(await served.get(dialect, task)) == "WORKING"
    served.stage.go.set()
    assert text_of(await served.over(dialect, task)) == "halfall"


async def test_who_lost_a_stream_misses_nothing(served: Served, dialect: Dialect) -> None:
    app = served.app
    async with dialect.stream(app, "SendStreamingMessage", said("go 9")) as stream:
        task = (await stream.events(2))[0]["task"]["id"]
        last = stream.wire.response.events[-1].id
    served.stage.go.set()
    await served.over(dialect, task)
    headers = [("last-event-id", str(last))]
    answer = await dialect.call(app, "SubscribeToTask", {"id": task}, headers=headers)
    assert kinds(answer.result)[0] == "task WORKING"
    assert kinds(answer.result)[-1] == "statusUpdate COMPLETED"
    texts = [
        part["text"]
        for event in answer.result[1:]
        for part in event.get("artifactUpdate", {}).get("artifact", {}).get("parts", [])
    ]
    assert "".join(texts) == "0 1 2 3 4 5 6 7 8 "


@pytest.mark.parametrize("dialect", LISTING, ids=str)
async def test_polling_shows_what_streams_told(served: Served, dialect: Dialect) -> None:
    answer = await dialect.call(served.app, "SendStreamingMessage", said("three"))
    last = answer.result[-1]["statusUpdate"]
    task = await served.get(dialect, last["taskId"])
    assert task["status"] == last["status"]
    assert task["contextId"] == last["contextId"]
    assert text_of(task) == "onetwothree"


@pytest.mark.parametrize("slowly", [False, True])
async def test_a_handler_need_not_declare_that_it_answers_with_a_message(
    dialect: Dialect, slowly: bool
) -> None:
    """The start of a stream waits as long as the start of a task; a Message then is the stream."""
    agent = Agent("Undeclared")

    @agent.handler
    async def reply(ctx: TaskContext) -> Any:
        await anyio.sleep(1.0 if slowly else 0.01)
        return Message(message_id="reply", role=Role.AGENT, parts=[Part(text="directly")])

    async with in_memory(agent) as server:
        answer = await dialect.call(server.app, "SendStreamingMessage", said())
        if slowly:
            told = ["task SUBMITTED", "statusUpdate WORKING", "statusUpdate COMPLETED"]
            assert kinds(answer.result) == told
        else:
            (event,) = answer.result
            assert event["message"]["parts"] == [{"text": "directly"}]


async def test_a_stream_tells_of_a_silent_task_after_the_delay_of_a_task(
    served: Served, dialect: Dialect
) -> None:
    async with dialect.stream(served.app, "SendStreamingMessage", said("wait")) as stream:
        first = await stream.events(2)
        assert kinds(first) == ["task SUBMITTED", "statusUpdate WORKING"]
        served.stage.go.set()
        assert state((await stream.rest())[-1]) == "COMPLETED"
