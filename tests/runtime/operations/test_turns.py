"""Many turns: questions, answers, and messages to a task that is at work (section 3.4.3)."""

from __future__ import annotations

import datetime
from typing import Any

import anyio
import msgspec
import pytest
from pydantic import BaseModel

from greenroom import Agent, InputRequired, Message, Part, TaskContext, TaskState
from greenroom.protocol.errors import (
    InvalidParamsError,
    ResourceExhaustedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from tests.support.drive import numbers, read, result, running, said, settle, states, user

pytestmark = pytest.mark.anyio


def texts(task: Any) -> list[str]:
    return [message.text for message in task.history or []]


def asker(type: Any = str) -> Agent:
    agent = Agent("Asker")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        answer = await ctx.ask("Which?", type)
        return repr(answer)

    return agent


# --- ask ----------------------------------------------------------------------------------------


async def test_ask_waits_for_the_answer() -> None:
    async with running(asker()) as peer:
        task = await peer.send("hello")
        assert task.status.state is TaskState.INPUT_REQUIRED
        assert said(task) == "Which?"
        done = await peer.send("this", task=task.id)
        assert done.id == task.id
        assert done.context_id == task.context_id
        assert done.status.state is TaskState.COMPLETED
        assert result(done) == "'this'"
        # a superseded status message belongs to the history
        assert texts(done) == ["hello", "Which?", "this"]
        # created, working, asked, working, artifact, completed
        assert done.generation == 6


class Person(msgspec.Struct):
    name: str
    age: int


class Model(BaseModel):
    n: int


@pytest.mark.parametrize(
    ("type", "wrong", "right", "expected"),
    [
        (int, "many", "42", "42"),
        (float, "x", " 1.5 ", "1.5"),
        (bool, "perhaps", "Yes!", "True"),
        (bool, "2", "no", "False"),
        (datetime.date, "tomorrow", "2026-01-02", "datetime.date(2026, 1, 2)"),
        (Person, '{"name": 1}', '{"name": "A", "age": 3}', "Person(name='A', age=3)"),
        (Model, '{"n": "x"}', '{"n": 3}', "Model(n=3)"),
        (list[int], "[1, null]", "[1, 2]", "[1, 2]"),
    ],
)
async def test_an_answer_is_read_as_its_type_or_asked_for_again(
    type: Any, wrong: str, right: str, expected: str
) -> None:
    async with running(asker(type)) as peer:
        task = await peer.send("hello")
        again = await peer.send(wrong, task=task.id)
        assert again.status.state is TaskState.INPUT_REQUIRED
        assert said(again)
        assert said(again) != "Which?"
        done = await peer.send(right, task=task.id)
        assert done.status.state is TaskState.COMPLETED
        assert result(done) == expected


async def test_a_data_part_answers_too() -> None:
    async with running(asker(Person)) as peer:
        task = await peer.send("hello")
        answer = user(task_id=task.id, parts=[Part(data={"name": "B", "age": 4})])
        assert result(await peer.send(answer)) == "Person(name='B', age=4)"


async def test_the_whole_message_may_be_asked_for() -> None:
    agent = Agent("Asker")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        answer = await ctx.ask("Which?", Message)
        return answer.message_id

    async with running(agent) as peer:
        task = await peer.send("hello")
        answer = user("this", task_id=task.id)
        assert result(await peer.send(answer)) == answer.message_id


async def test_one_question_is_open_at_a_time() -> None:
    errors: list[Exception] = []
    agent = Agent("Twice")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        async def second() -> None:
            await anyio.sleep(1.0)
            try:
                await ctx.ask("two?")
            except RuntimeError as error:
                errors.append(error)

        await ctx.gather(ctx.ask("one?"), second())

    async with running(agent) as peer:
        task = await peer.send("hello")
        assert said(task) == "one?"
        await anyio.sleep(2.0)
        assert "one question is open" in str(errors[0])
        assert (await peer.send("x", task=task.id)).status.state is TaskState.COMPLETED


async def test_many_questions_one_after_the_other() -> None:
    agent = Agent("Quiz")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        return ",".join([await ctx.ask(f"{index}?") for index in range(5)])

    async with running(agent) as peer:
        task = await peer.send("hello")
        for index in range(5):
            assert said(task) == f"{index}?"
            task = await peer.send(str(index), task=task.id)
        assert result(task) == "0,1,2,3,4"


async def test_auth_required_waits_for_a_message_too() -> None:
    agent = Agent("Locked")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        key = await ctx.require_auth("Sign in")
        return f"with {key.text}"

    async with running(agent) as peer:
        task = await peer.send("hello")
        assert task.status.state is TaskState.AUTH_REQUIRED
        assert said(task) == "Sign in"
        assert result(await peer.send("key", task=task.id)) == "with key"


async def test_auth_required_may_become_input_required() -> None:
    agent = Agent("Locked")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await ctx.status("Sign in elsewhere", TaskState.AUTH_REQUIRED)
        await anyio.sleep(10.0)
        return await ctx.ask("Your name?")

    async with running(agent) as peer:
        frames = await read(await peer.stream("hello"))
        assert states(frames) == ["submitted", "working", "auth_required", "input_required"]
        [task] = (await peer.list()).tasks
        assert result(await peer.send("me", task=task.id)) == "me"


# --- InputRequired: one call of the handler per message ------------------------------------------


async def test_the_next_message_calls_the_handler_again_with_the_history_at_hand() -> None:
    agent = Agent("Turns")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        heard = [message.text async for message in ctx.history()]
        if ctx.text == "stop":
            return "|".join(heard)
        return InputRequired(f"after {ctx.text}")

    async with running(agent) as peer:
        task = await peer.send("a")
        task = await peer.send("b", task=task.id)
        assert task.status.state is TaskState.INPUT_REQUIRED
        task = await peer.send("stop", task=task.id)
        assert result(task) == "a|after a|b|after b|stop"


async def test_input_required_may_carry_data_and_metadata() -> None:
    agent = Agent("Form")

    @agent.handler
    async def handler(ctx: TaskContext) -> InputRequired:
        return InputRequired({"form": ["name"]}, metadata={"kind": "form"})

    async with running(agent) as peer:
        frames = await read(await peer.stream("a"))
        update = frames[-1].response.status_update
        assert update is not None
        assert update.metadata == {"kind": "form"}
        assert update.status.message is not None
        assert update.status.message.parts[0].data == {"form": ["name"]}


# --- who is addressed ----------------------------------------------------------------------------


async def test_naming_the_task_is_enough() -> None:
    async with running(asker()) as peer:
        task = await peer.send("hello", context="trip")
        done = await peer.send(user("x", task_id=task.id))
        assert done.context_id == "trip"
        assert done.history is not None
        assert done.history[-1].context_id == "trip"


async def test_another_context_than_the_tasks_is_refused_and_leaves_nothing() -> None:
    async with running(asker()) as peer:
        task = await peer.send("hello", context="trip")
        message = user("x", task_id=task.id, context_id="other")
        with pytest.raises(InvalidParamsError) as caught:
            await peer.answer(message)
        assert caught.value.violations[0][0] == "message.contextId"
        assert await peer.get(task.id) == task
        # and its id is free for the corrected message
        fixed = msgspec.structs.replace(message, context_id="trip")
        assert result(await peer.send(fixed)) == "'x'"


async def test_an_unknown_task_is_not_found() -> None:
    async with running(asker()) as peer:
        with pytest.raises(TaskNotFoundError):
            await peer.answer("x", task="nowhere")
        assert (await peer.list()).total_size == 0


async def test_a_finished_task_takes_no_more_messages() -> None:
    async with running(asker()) as peer:
        task = await peer.send("hello")
        done = await peer.send("x", task=task.id)
        with pytest.raises(UnsupportedOperationError, match="without a taskId"):
            await peer.answer("y", task=task.id)
        assert await peer.get(task.id) == done


async def test_the_generation_guard_admits_only_the_present() -> None:
    from greenroom.protocol.errors import TaskGenerationMismatchError

    async with running(asker()) as peer:
        task = await peer.send("hello")
        with pytest.raises(TaskGenerationMismatchError) as caught:
            await peer.answer("x", task=task.id, match=task.generation - 1)
        assert caught.value.metadata["currentGeneration"] == str(task.generation)
        assert await peer.get(task.id) == task
        done = await peer.send("x", task=task.id, match=task.generation)
        assert done.status.state is TaskState.COMPLETED
        # the state is looked at before the generation
        with pytest.raises(UnsupportedOperationError):
            await peer.answer("y", task=task.id, match=1)


# --- messages to a task at work ------------------------------------------------------------------


async def test_a_message_to_a_working_task_is_recorded_and_read_by_receive() -> None:
    agent = Agent("Listener")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await anyio.sleep(5.0)
        first = await ctx.receive()
        second = await ctx.receive()
        return f"{first.text} {second.text}"

    async with running(agent) as peer:
        task = await peer.send("go", now=True)
        early = await peer.send("one", task=task.id, now=True)
        assert early.status.state is TaskState.WORKING
        assert texts(early) == ["go", "one"]
        await anyio.sleep(10.0)
        done = await peer.send("two", task=task.id)
        assert result(done) == "one two"


async def test_a_question_is_answered_only_by_what_comes_after_it() -> None:
    agent = Agent("Patient")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await anyio.sleep(5.0)
        return await ctx.ask("Well?")

    async with running(agent) as peer:
        task = await peer.send("go", now=True)
        waiting = await peer.send("too early", task=task.id)
        assert waiting.status.state is TaskState.INPUT_REQUIRED
        assert result(await peer.send("now", task=task.id)) == "now"


async def test_what_is_unread_at_completion_stays_in_the_history() -> None:
    agent = Agent("Deaf")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await anyio.sleep(5.0)
        return "done"

    async with running(agent) as peer:
        task = await peer.send("go", now=True)
        done = await peer.send("hello?", task=task.id)
        assert done.status.state is TaskState.COMPLETED
        assert texts(done) == ["go", "hello?"]


async def test_the_history_is_in_the_order_in_which_it_was_said() -> None:
    agent = Agent("Talkative")
    heard: list[list[str | None]] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.status("hello, say things")
        for _ in range(2):
            message = await ctx.receive()
            heard.append([one.text async for one in ctx.history()])
            await ctx.status(f"heard {message.text}")

    async with running(agent) as peer:
        task = await peer.until((await peer.send("go", now=True)).id, lambda task: bool(said(task)))
        await peer.send("one", task=task.id, now=True)
        await peer.until(task.id, lambda task: said(task) == "heard one")
        done = await peer.send("two", task=task.id)
        told = ["go", "hello, say things", "one", "heard one", "two", "heard two"]
        assert texts(done) == told
        assert heard == [told[:3], told[:5]]


async def test_the_mailbox_is_bounded() -> None:
    agent = Agent("Busy")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await anyio.sleep(5.0)
        return await ctx.ask("Well?")

    async with running(agent, mailbox=3) as peer:
        task = await peer.send("go", now=True)
        for index in range(3):
            await peer.send(str(index), task=task.id, now=True)
        extra = user("extra", task_id=task.id)
        with pytest.raises(ResourceExhaustedError) as caught:
            await peer.answer(extra)
        assert caught.value.headers["Retry-After"]
        assert texts(await peer.get(task.id)) == ["go", "0", "1", "2"]
        await anyio.sleep(6.0)
        # an answer is not kept waiting, so a full mailbox does not refuse it
        assert result(await peer.send(extra)) == "extra"


# --- streams over turns --------------------------------------------------------------------------


async def test_a_send_stream_ends_at_the_question_and_the_next_tells_the_rest() -> None:
    async with running(asker()) as peer:
        frames = await read(await peer.stream("hello"))
        assert states(frames) == ["submitted", "working", "input_required"]
        task = frames[0].response.task
        assert task is not None
        with anyio.fail_after(5.0):
            more = await read(await peer.stream("x", task=task.id))
        assert more[0].response.task is not None
        assert more[0].generation >= 4
        assert numbers(more) == list(range(more[0].generation, 7))
        assert states(more)[-1] == "completed"


async def test_a_stream_whose_answer_is_asked_back_at_once_ends() -> None:
    agent = Agent("Turns")

    @agent.handler
    async def handler(ctx: TaskContext) -> InputRequired:
        return InputRequired(f"after {ctx.text}")

    async with running(agent) as peer:
        task = await peer.send("a")
        with anyio.fail_after(5.0):
            frames = await read(await peer.stream("b", task=task.id))
        assert states(frames)[-1] == "input_required"
        assert frames[-1].generation == 5


async def test_a_send_stream_stays_open_at_auth_required() -> None:
    agent = Agent("Locked")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        await ctx.require_auth("Sign in")
        return "in"

    async with running(agent) as peer:
        async with anyio.create_task_group() as group:
            stream = await peer.stream("hello")
            frames: list[Any] = []

            async def reader() -> None:
                frames.extend(await read(stream))

            group.start_soon(reader)
            await settle()
            [task] = (await peer.list()).tasks
            assert task.status.state is TaskState.AUTH_REQUIRED
            assert not frames
            await peer.send("key", task=task.id)
        assert states(frames) == [
            "submitted", "working", "auth_required", "working", "+result", "completed",
        ]  # fmt: skip


async def test_a_subscription_stays_open_at_the_question() -> None:
    async with running(asker()) as peer:
        task = await peer.send("hello")
        stream = await peer.subscribe(task.id)
        async with anyio.create_task_group() as group:
            frames: list[Any] = []

            async def reader() -> None:
                frames.extend(await read(stream))

            group.start_soon(reader)
            await settle()
            await peer.send("x", task=task.id)
        assert states(frames) == ["input_required", "working", "+result", "completed"]
        assert numbers(frames) == [3, 4, 5, 6]
