"""Sending: who waits for what, and when a task exists at all (1.0, sections 3.1.1 to 3.2.2)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from greenroom import Agent, InputRequired, Message, Part, Role, TaskContext, TaskState
from greenroom.protocol.errors import A2AError, ContentTypeNotSupportedError, TaskNotFoundError
from tests.support.drive import START, numbers, read, result, running, said, settle, states, user

pytestmark = pytest.mark.anyio


def reply(text: str) -> Message:
    return Message(message_id="reply", role=Role.AGENT, parts=[Part(text=text)])


def echo(seconds: float = 0.0) -> Agent:
    agent = Agent("Echo")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        if seconds:
            await anyio.sleep(seconds)
        return f"You said {ctx.text}"

    return agent


# --- a task -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 10.0])
async def test_a_blocking_send_answers_with_the_finished_task(seconds: float) -> None:
    async with running(echo(seconds)) as peer:
        message = user("hello", metadata={"k": 1})
        task = await peer.send(message)
        assert task.status.state is TaskState.COMPLETED
        assert result(task) == "You said hello"
        assert task.history is not None
        assert [m.message_id for m in task.history] == [message.message_id]
        assert task.history[0].metadata == {"k": 1}
        assert task.history[0].task_id == task.id
        assert task.history[0].context_id == task.context_id
        # created, working, artifact, completed
        assert task.generation == 4
        assert await peer.get(task.id) == task


async def test_times_are_utc_with_milliseconds() -> None:
    async with running(echo(1.5)) as peer:
        task = await peer.send("hello")
        assert task.status.timestamp is not None
        assert task.status.timestamp.endswith("Z")
        assert len(task.status.timestamp) == len("2027-01-15T08:00:01.500Z")
        assert START == 1_800_000_000.0
        assert task.status.timestamp.startswith("2027-01-15T08:00:01.5")


async def test_an_immediate_send_answers_with_the_task_as_it_stands() -> None:
    async with running(echo(10.0)) as peer:
        began = anyio.current_time()
        task = await peer.send("hello", now=True)
        assert anyio.current_time() == began
        assert task.status.state in (TaskState.SUBMITTED, TaskState.WORKING)
        done = await peer.over(task.id)
        assert anyio.current_time() == pytest.approx(began + 10.0)
        assert result(done) == "You said hello"


async def test_a_stream_tells_everything_from_the_creation_on() -> None:
    async with running(echo(10.0)) as peer:
        frames = await read(await peer.stream("hello"))
        assert states(frames) == ["submitted", "working", "+result", "completed"]
        assert numbers(frames) == [1, 2, 3, 4]
        first = frames[0].response.task
        assert first is not None
        assert first.history is not None
        assert first.history[0].text == "hello"
        artifact = frames[2].response.artifact_update
        assert artifact is not None
        assert (artifact.append, artifact.last_chunk) == (False, True)


async def test_a_context_is_made_or_kept() -> None:
    async with running(echo()) as peer:
        one = await peer.send("hello")
        two = await peer.send("hello", context="trip")
        assert one.context_id
        assert two.context_id == "trip"
        assert one.id != two.id


async def test_request_metadata_stays_with_the_task_and_reaches_the_handler() -> None:
    seen: list[Any] = []
    agent = Agent("Metadata")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        seen.append(dict(ctx.metadata))

    async with running(agent) as peer:
        task = await peer.send(user(metadata={"a": 1}), metadata={"a": 0, "b": 2})
        assert task.metadata == {"a": 0, "b": 2}
        assert seen == [{"a": 1, "b": 2}]


async def test_the_answer_shows_as_much_history_as_asked_for() -> None:
    async with running(echo()) as peer:
        assert (await peer.send("hello", history=0)).history is None
        assert len((await peer.send("hello", history=5)).history or []) == 1


async def test_a_part_of_another_media_type_is_refused_and_leaves_nothing() -> None:
    async with running(echo()) as peer:
        picture = user(parts=[Part(raw=b"x", media_type="image/png")])
        with pytest.raises(ContentTypeNotSupportedError, match="image/png"):
            await peer.answer(picture)
        assert (await peer.list()).total_size == 0


async def test_an_unknown_agent_is_an_error_of_the_protocol() -> None:
    async with running(echo()) as peer:
        peer.agent = "nobody"
        with pytest.raises(A2AError, match="nobody"):
            await peer.answer("hello")


async def test_a_blocking_send_waits_no_longer_than_the_server_allows() -> None:
    async with running(echo(1000.0), blocking_wait=300.0) as peer:
        began = anyio.current_time()
        task = await peer.send("hello")
        assert anyio.current_time() == pytest.approx(began + 300.0, abs=1.0)
        assert task.status.state is TaskState.WORKING
        done = await peer.over(task.id)
        assert done.status.state is TaskState.COMPLETED


async def test_a_task_runs_on_when_its_sender_has_gone() -> None:
    async with running(echo(5.0)) as peer:
        with anyio.move_on_after(1.0):
            await peer.send("hello")
        [task] = (await peer.list()).tasks
        assert result(await peer.over(task.id)) == "You said hello"


# --- a direct Message ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["block", "now", "stream"])
async def test_a_handler_that_promises_a_message_never_makes_a_task(how: str) -> None:
    agent = Agent("Direct")

    @agent.handler
    async def handler(ctx: TaskContext) -> Message:
        await anyio.sleep(20.0)
        return reply(f"re: {ctx.text}")

    async with running(agent) as peer:
        if how == "stream":
            [frame] = await read(await peer.stream("hello"))
            answer = frame.response.message
            assert frame.generation == 0
        else:
            found = await peer.answer("hello", now=how == "now", context="ctx")
            assert isinstance(found, Message)
            assert found.context_id == "ctx"
            answer = found
        assert answer is not None
        assert answer.text == "re: hello"
        assert answer.task_id is None
        assert answer.context_id
        assert (await peer.list()).total_size == 0
        assert peer.runtime.statistics()["actors"] == 0


async def test_a_failing_direct_handler_is_an_error_without_a_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Agent("Direct")

    @agent.handler
    async def handler(ctx: TaskContext) -> Message:
        raise RuntimeError("the secret cause")

    async with running(agent) as peer:
        with pytest.raises(A2AError) as caught:
            await peer.answer("hello")
        assert "secret" not in str(caught.value)
        assert caught.value.code == -32603
        error_id = str(caught.value).rsplit(" ", 1)[1]
        assert any(error_id in record.getMessage() and record.exc_info for record in caplog.records)
        assert (await peer.list()).total_size == 0
        assert peer.runtime.statistics()["actors"] == 0


async def test_a_quick_message_answers_directly() -> None:
    agent = Agent("Quick")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        await anyio.sleep(0.04)
        return reply("quick")

    async with running(agent) as peer:
        answer = await peer.answer("hello")
        assert isinstance(answer, Message)
        assert answer.text == "quick"
        assert (await peer.list()).total_size == 0
        assert peer.runtime.statistics()["actors"] == 0


async def test_a_message_after_the_task_delay_ends_a_task() -> None:
    agent = Agent("Slow")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        await anyio.sleep(0.06)
        return reply("slow")

    async with running(agent, task_delay=0.05) as peer:
        task = await peer.send("hello")
        assert task.status.state is TaskState.COMPLETED
        assert said(task) == "slow"
        assert task.status.message is not None
        assert task.status.message.task_id == task.id
        assert task.generation == 3


@pytest.mark.parametrize("how", ["now", "status", "artifact", "step"])
async def test_a_message_of_a_task_that_exists_is_its_last_word(how: str) -> None:
    agent = Agent("Late")

    async def nothing() -> None:
        pass

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        if how == "status":
            await ctx.status("looking")
        if how == "artifact":
            await ctx.artifact("a", "b")
        if how == "step":
            await ctx.step(nothing)
        return reply("said")

    async with running(agent) as peer:
        task = await peer.over((await peer.send("hello", now=how == "now")).id)
        assert task.status.state is TaskState.COMPLETED
        assert said(task) == "said"


@pytest.mark.parametrize("waits", [False, True])
async def test_a_stream_waits_for_a_message_as_long_as_for_a_task(waits: bool) -> None:
    agent = Agent("Late")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        await anyio.sleep(0.1 if waits else 0.01)
        return reply("said")

    async with running(agent, task_delay=0.05) as peer:
        frames = await read(await peer.stream("hello"))
        if waits:
            assert states(frames) == ["submitted", "working", "completed"]
            update = frames[-1].response.status_update
            assert update is not None
            message = update.status.message
        else:
            (frame,) = frames
            message = frame.response.message
        assert message is not None
        assert message.text == "said"


async def test_the_task_exists_after_the_task_delay_at_the_latest() -> None:
    agent = Agent("Silent")
    ids: list[str] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        ids.append(ctx.task_id)
        await anyio.sleep(10.0)

    async with running(agent, task_delay=0.05) as peer, anyio.create_task_group() as group:
        group.start_soon(peer.send, "hello")
        await settle()
        with pytest.raises(TaskNotFoundError):
            await peer.get(ids[0])
        await anyio.sleep(0.06)
        await settle()
        assert (await peer.get(ids[0])).status.state is TaskState.WORKING


async def test_returning_input_required_from_the_first_moment_makes_a_task() -> None:
    agent = Agent("Asking")

    @agent.handler
    async def handler(ctx: TaskContext) -> InputRequired:
        return InputRequired("what?")

    async with running(agent) as peer:
        task = await peer.send("hello")
        assert task.status.state is TaskState.INPUT_REQUIRED
        assert said(task) == "what?"
