"""The same send twice is one send: ``messageId`` and what makes two sends the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest

from greenroom import Agent, InputRequired, Message, Part, Role, TaskContext, TaskState
from greenroom.protocol.errors import (
    A2AError,
    ResourceExhaustedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from greenroom.protocol.types import Task
from greenroom.runtime.call import Principal
from greenroom.runtime.journal.entries import Append, Outcome, SendRecord
from greenroom.stores.memory import MemoryStore
from tests.support.drive import Caller, KeptStore, read, result, running, said, settle, states, user

pytestmark = pytest.mark.anyio


class Counting:
    """An agent that counts how often it was started."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.starts = 0
        self.agent = Agent("Counting")

        @self.agent.handler
        async def handler(ctx: TaskContext) -> Any:
            self.starts += 1
            if seconds:
                await anyio.sleep(seconds)
            if ctx.text == "ask":
                return await ctx.ask("?")
            return f"{self.starts}"


class SlowStore(MemoryStore):
    """A store whose every read and write takes a while, as a disk's do."""

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        await anyio.sleep(0.2)
        return await super().append(batch, now=now)

    async def find_send(self, scope: Any, key: bytes) -> SendRecord | None:
        answer = await super().find_send(scope, key)
        await anyio.sleep(0.1)
        return answer

    async def load(self, scope: Any, task_id: str) -> Any:
        answer = await super().load(scope, task_id)
        await anyio.sleep(0.1)
        return answer


async def both(peer: Caller, message: Message, **options: Any) -> list[Task | Message]:
    """Send the same message twice at once."""
    collected: list[Task | Message] = []

    async def send() -> None:
        collected.append(await peer.answer(message, **options))

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        group.start_soon(send)
    return collected


async def test_a_repeat_after_the_end_gets_the_same_task() -> None:
    counting = Counting()
    async with running(counting.agent) as peer:
        message = user("go")
        first = await peer.send(message)
        assert await peer.send(message) == first
        assert await peer.send(message, now=True) == first
        [frame] = await read(await peer.stream(message))
        assert frame.response.task is not None
        assert frame.response.task.id == first.id
        assert counting.starts == 1
        assert (await peer.list()).total_size == 1


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 10.0])
async def test_repeats_at_the_same_time_are_one_send(
    store: type[MemoryStore], seconds: float
) -> None:
    counting = Counting(seconds)
    async with running(counting.agent, store=store()) as peer:
        one, two = await both(peer, user("go"))
        assert one == two
        assert counting.starts == 1
        assert not peer.runtime.system.sends


async def test_a_repeat_while_it_runs_attaches_in_its_own_mode() -> None:
    counting = Counting(10.0)
    async with running(counting.agent) as peer:
        message = user("go")
        first = await peer.send(message, now=True)
        await settle()
        stream = await peer.stream(message)
        again = await peer.send(message, now=True)
        assert again.id == first.id
        assert again.status.state is TaskState.WORKING
        done = await peer.send(message)
        assert done.status.state is TaskState.COMPLETED
        frames = await read(stream)
        assert states(frames) == ["working", "+result", "completed"]
        assert counting.starts == 1


@pytest.mark.parametrize("seconds", [0.01, 10.0])
@pytest.mark.parametrize("direct", [False, True])
async def test_a_repeat_after_the_first_sender_hung_up(seconds: float, direct: bool) -> None:
    starts: list[str] = []
    agent = Agent("Direct")

    async def work(ctx: TaskContext) -> Any:
        starts.append(ctx.text)
        await anyio.sleep(seconds)
        return Message(message_id="x", role=Role.AGENT, parts=[Part(text="re")])

    async def promise(ctx: TaskContext) -> Message:
        answer: Message = await work(ctx)
        return answer

    agent.handler(promise if direct else work)
    async with running(agent, store=SlowStore()) as peer:
        message = user("go")
        with anyio.move_on_after(0.15):
            await peer.answer(message)
        answer = await peer.answer(message)
        assert starts == ["go"]
        if direct:
            assert isinstance(answer, Message)
        await anyio.sleep(20)
        assert not peer.runtime.system.sends


async def test_a_repeat_never_gets_an_older_answer() -> None:
    agent = Agent("Turns")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        return InputRequired(f"after {ctx.text}")

    async with running(agent) as peer:
        first = user("a")
        task = await peer.send(first)
        await peer.send("b", task=task.id)
        again = await peer.send(first)
        assert again.id == task.id
        assert said(again) == "after b"
        with anyio.fail_after(5.0):
            [frame] = await read(await peer.stream(first))
        assert states([frame]) == ["input_required"]


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@pytest.mark.parametrize("asleep", [False, True])
async def test_an_answer_sent_twice_answers_once(store: type[MemoryStore], asleep: bool) -> None:
    agent = Agent("Quiz")
    asked: list[str] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        first = await ctx.ask("one?")
        asked.append(first)
        second = await ctx.ask("two?")
        return f"{first} {second}"

    async with running(agent, store=store(), idle=60.0) as peer:
        task = await peer.send("go")
        if asleep:
            await anyio.sleep(200.0)
            assert peer.runtime.statistics()["actors"] == 0
        message = user("x", task_id=task.id)
        one, two = await both(peer, message)
        assert one == two
        assert isinstance(one, Task)
        assert said(one) == "two?"
        assert await peer.send(message) == one
        done = await peer.send("y", task=task.id)
        assert result(done) == "x y"
        # long after, the repeat gets the task as it is now
        assert (await peer.send(message)).status.state is TaskState.COMPLETED


@pytest.mark.parametrize(
    "other",
    [
        {"parts": [Part(text="other")]},
        {"metadata": {"a": 1}},
        {"context_id": "elsewhere"},
        {"reference_task_ids": ["x"]},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_the_same_id_with_other_content_is_a_new_message(other: dict[str, Any]) -> None:
    counting = Counting()
    async with running(counting.agent) as peer:
        message = user("go")
        one = await peer.send(message)
        two = await peer.send(msgspec.structs.replace(message, **other))
        assert one.id != two.id
        assert counting.starts == 2


async def test_the_same_id_on_another_task_is_a_new_message() -> None:
    counting = Counting()
    async with running(counting.agent) as peer:
        one, two = await peer.send("ask"), await peer.send("ask")
        message = user("x", id="00000000-0000-4000-8000-000000000000")
        for task in (one, two):
            done = await peer.send(msgspec.structs.replace(message, task_id=task.id))
            assert (done.id, result(done)) == (task.id, "x")


@pytest.mark.parametrize(
    ("id", "counts"),
    [
        ("1", False),
        ("my-conversation-message-0001", False),
        ("1" * 20, False),
        ("6f1b0a52-3c1e-4d8a-9c55-0d6f2b7e9a10", True),
        ("msg-6F1B0A52-3C1E-4D8A-9C55-0D6F2B7E9A10", True),
        ("6f1b0a523c1e4d8a9c550d6f2b7e9a10", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("V1StGXR8_Z5jdHi6B-myT", True),
    ],
)
async def test_between_anonymous_callers_only_ids_nobody_picks_twice_count(
    id: str, counts: bool
) -> None:
    counting = Counting()
    async with running(counting.agent) as peer:
        one = await peer.send(user("go", id=id))
        two = await peer.send(user("go", id=id))
        assert (one.id == two.id) is counts
        assert counting.starts == (1 if counts else 2)


async def test_within_a_task_every_id_counts_between_anonymous_callers_too() -> None:
    agent = Agent("Listener")

    @agent.handler
    async def listen(ctx: TaskContext) -> str:
        heard = [await ctx.ask("?")]
        while heard[-1] != "stop":
            heard.append((await ctx.receive()).text)
        return " ".join(heard)

    async with running(agent) as peer:
        one, two = await peer.send("go"), await peer.send("go")
        for task in (one.id, two.id):
            for text in ("hello", "a", "b"):
                message = user(text, id=f"m-{text}", task_id=task)
                for _ in range(2):
                    await peer.send(message, now=True)
            done = await peer.send(user("stop", id="m-1", task_id=task))
            assert result(done) == "hello a b stop"
            assert await peer.send(user("stop", id="m-1", task_id=task)) == done
            assert [m.text for m in done.history or ()].count("a") == 1


async def test_for_a_known_caller_every_id_counts_and_only_its_own() -> None:
    counting = Counting()
    async with running(counting.agent) as peer:
        ann = Caller(peer.runtime, principal=Principal("ann"))
        bob = Caller(peer.runtime, principal=Principal("bob"))
        other = Caller(peer.runtime, principal=Principal("ann", tenant="other"))
        message = user("go", id="1")
        one = await ann.send(message)
        assert await ann.send(message) == one
        assert (await bob.send(message)).id != one.id
        assert (await other.send(message)).id != one.id
        assert counting.starts == 3


async def test_agents_do_not_share_sends() -> None:
    one, two = Counting(), Counting()
    two.agent.slug = "two"
    async with running(one.agent, two.agent) as peer:
        message = user("go")
        first = await peer.send(message)
        second = await Caller(peer.runtime, agent="two").send(message)
        assert first.id != second.id


async def test_a_direct_message_is_repeated_identically() -> None:
    agent = Agent("Direct")
    starts: list[str] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> Message:
        starts.append(ctx.text)
        return Message(
            message_id=f"reply-{len(starts)}", role=Role.AGENT, parts=[Part(data={"n": 1})]
        )

    async with running(agent) as peer:
        message = user("go")
        first = await peer.answer(message)
        assert await peer.answer(message) == first
        [frame] = await read(await peer.stream(message))
        assert frame.response.message == first
        assert starts == ["go"]
        one, two = await both(peer, user("more"))
        assert one == two
        assert len(starts) == 2


async def test_a_refused_send_leaves_nothing() -> None:
    counting = Counting(10.0)
    async with running(counting.agent, handlers=1) as peer:
        await peer.send("go", now=True)
        await settle()
        message = user("go")
        with pytest.raises(ResourceExhaustedError):
            await peer.answer(message)
        assert not peer.runtime.system.sends
        await anyio.sleep(20.0)
        # the very same send is taken now
        assert (await peer.send(message)).status.state is TaskState.COMPLETED
        assert (await peer.list()).total_size == 2


async def test_a_send_refused_for_its_stream_leaves_nothing() -> None:
    counting = Counting(10.0)
    async with running(counting.agent, streams=1) as peer:
        open_one = await peer.stream("go")
        message = user("go")
        with pytest.raises(ResourceExhaustedError):
            await peer.stream(message)
        assert (await peer.list()).total_size == 1
        open_one.close()
        frames = await read(await peer.stream(message))
        assert states(frames) == ["submitted", "working", "+result", "completed"]


async def test_a_message_refused_by_its_task_leaves_nothing() -> None:
    counting = Counting()
    async with running(counting.agent) as peer:
        done = await peer.send("go")
        for _ in range(2):
            with pytest.raises(UnsupportedOperationError):
                await peer.answer(user("x", task_id=done.id))
        assert await peer.get(done.id) == done


async def test_a_failing_direct_handler_may_be_tried_again_with_the_same_message() -> None:
    agent = Agent("Direct")
    starts: list[str] = []

    @agent.handler
    async def handler(ctx: TaskContext) -> Message:
        starts.append(ctx.text)
        if len(starts) == 1:
            raise RuntimeError
        return Message(message_id="x", role=Role.AGENT, parts=[Part(text="re")])

    async with running(agent) as peer:
        message = user("go")
        with pytest.raises(A2AError):
            await peer.answer(message)
        answer = await peer.answer(message)
        assert isinstance(answer, Message)


async def test_a_restart_does_not_forget_sends() -> None:
    counting = Counting()
    store = KeptStore()
    message = user("go")
    async with running(counting.agent, store=store) as peer:
        first = await peer.send(message)
    async with running(counting.agent, store=store) as peer:
        assert await peer.send(message) == first
    assert counting.starts == 1


async def test_sends_are_forgotten_after_their_time() -> None:
    counting = Counting()
    async with running(counting.agent, send_retention=3600.0) as peer:
        message = user("go")
        first = await peer.send(message)
        await anyio.sleep(3000.0)
        assert (await peer.send(message)).id == first.id
        await anyio.sleep(1000.0)
        assert (await peer.send(message)).id != first.id


async def test_a_repeat_outlives_its_task_and_is_told_so() -> None:
    counting = Counting()
    async with running(
        counting.agent, task_retention=600.0, send_retention=3600.0, prune_every=60.0
    ) as peer:
        message = user("go")
        first = await peer.send(message)
        await anyio.sleep(1000.0)
        for repeat in (peer.send, peer.stream):
            with pytest.raises(TaskNotFoundError, match=r"was deleted.* another messageId") as told:
                await repeat(message)
            assert told.value.metadata["taskId"] == first.id
        assert counting.starts == 1
        assert await peer.send(user("go")) != first
