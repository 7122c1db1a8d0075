"""A run goes on with what came beside its message, whoever wakes it and however long it slept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from greenroom import Agent, Message, Task, TaskContext, TaskState
from greenroom.protocol import operations as ops
from greenroom.protocol.types import AgentExtension
from tests.support.drive import Caller, KeptStore, result, running, user

pytestmark = pytest.mark.anyio

EXTENSION = "https://example.com/traces"


class Desk:
    """Two skills, one of which asks; it says what it knows of the message that it answers."""

    def __init__(self, **options: Any) -> None:
        extensions = [AgentExtension(uri=EXTENSION)]
        self.agent = Agent("Desk", extensions=extensions, **options)
        self.metadata: list[Mapping[str, Any]] = []
        self.extensions: list[tuple[str, ...]] = []

        @self.agent.skill("other")
        async def other(ctx: TaskContext) -> str:
            return "wrong skill"

        @self.agent.skill("book")
        async def book(ctx: TaskContext) -> str:
            self.know(ctx)
            if ctx.text == "again" and ctx.restart_state is None:
                await ctx.restart("second")
            where = await ctx.ask("Where to?")
            self.know(ctx)
            return f"booked {where}"

    def know(self, ctx: TaskContext) -> None:
        self.metadata.append(ctx.metadata)
        self.extensions.append(tuple(ctx.extensions))


ASKED = {"skill": "book", "budget": 100}


async def asked(peer: Caller, text: str = "trip", task: str | None = None) -> Task:
    """Send with metadata and an extension; the task waits then."""
    call = peer.call()
    call.extensions = (EXTENSION,)
    request = peer.request(text, task=task, metadata=ASKED)
    answer = await peer.runtime.dispatch(call, ops.SEND, request)
    assert answer.task.status.state is TaskState.INPUT_REQUIRED
    value: Task = answer.task
    return value


def check(desk: Desk, done: Task | Message) -> None:
    assert isinstance(done, Task)
    assert done.status.state is TaskState.COMPLETED
    assert result(done) == "booked Lisbon"
    assert set(desk.extensions) == {(EXTENSION,)}
    assert all(known == ASKED for known in desk.metadata)
    assert len(desk.metadata) >= 2


@pytest.mark.parametrize("text", ["trip", "again"])
async def test_a_task_that_left_memory_goes_on_with_the_skill_it_was_asked_for(text: str) -> None:
    desk = Desk()
    async with running(desk.agent, idle=1.0) as peer:
        task = await asked(peer, text)
        await anyio.sleep(10.0)
        assert peer.runtime.statistics()["actors"] == 0
        check(desk, await peer.send("Lisbon", task=task.id, metadata={"skill": "other"}))


@pytest.mark.parametrize("text", ["trip", "again"])
async def test_a_restart_forgets_nothing_of_it(text: str) -> None:
    store = KeptStore()
    async with running(Desk().agent, store=store) as peer:
        task = await asked(peer, text)
    desk = Desk()
    async with running(desk.agent, store=store) as peer:
        check(desk, await peer.send("Lisbon", task=task.id))


async def test_nor_does_a_run_that_is_begun_again() -> None:
    """``on_interrupt="rerun"``: the server goes while the handler works."""
    store, seen = KeptStore(), list[Any]()

    def sleeper() -> Agent:
        agent = Agent("Sleeper", on_interrupt="rerun")

        @agent.handler
        async def handler(ctx: TaskContext) -> str:
            seen.append(ctx.metadata)
            await ctx.status("working")
            await anyio.sleep(100.0 if len(seen) == 1 else 0.0)
            return "done"

        return agent

    async with running(sleeper(), store=store) as peer:
        task = await peer.send(user("go"), now=True, metadata={"budget": 7})
        await anyio.sleep(1.0)
    async with running(sleeper(), store=store) as peer:
        assert result(await peer.over(task.id)) == "done"
    assert seen == [{"budget": 7}] * 2
