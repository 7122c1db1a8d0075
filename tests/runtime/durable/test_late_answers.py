"""What was due before a message came happens before the message is read."""

from __future__ import annotations

import anyio
import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.settings.settings import RuntimeSettings
from tests.support.drive import Caller, KeptStore, result, running, said

pytestmark = pytest.mark.anyio

SELDOM = RuntimeSettings(idle=0.5, sweep_every=60.0)
"""A task that waits leaves memory, and its time comes long before anybody looks for it."""


def agent(kind: str) -> Agent:
    made = Agent("Late", version="1", on_interrupt="resume")

    @made.handler
    async def handle(ctx: TaskContext) -> str:
        if kind == "race":
            return str(await ctx.race(ctx.ask("q?"), ctx.sleep(10)))
        told = ""
        try:
            async with ctx.timeout(10):
                if kind == "ask":
                    told = await ctx.ask("q?")
                elif kind == "receive":
                    told = (await ctx.receive()).text
                else:  # what is due has nothing to do with the question
                    await ctx.race(ctx.sleep(5), ctx.ask("never?"))
        except TimeoutError:
            told = "late"
        return told if told else f"{await ctx.gather(ctx.ask('q?'), ctx.sleep(1))}"

    return made


async def answered(kind: str, after: float) -> str:
    """Answer so many seconds later; return what the task comes to."""
    store = KeptStore()
    async with running(agent(kind), store=store, settings=SELDOM) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(after)
        return await told_by(peer, task.id)


async def told_by(peer: Caller, task_id: str) -> str:
    await peer.send("answer", task=task_id, now=True)
    task = await peer.get(task_id)
    with anyio.move_on_after(300):
        while not task.status.state.terminal:
            task = await peer.get(task_id, newer_than=task.generation)
    assert task.status.state is TaskState.COMPLETED
    return str(result(task))


@pytest.mark.parametrize(("kind", "late"), [("ask", "late"), ("receive", "late"), ("race", "None")])
async def test_an_answer_after_the_time_is_late_though_nobody_looked(kind: str, late: str) -> None:
    assert await answered(kind, after=12) == late


@pytest.mark.parametrize("kind", ["ask", "receive", "race"])
async def test_an_answer_before_the_time_is_in_time(kind: str) -> None:
    assert await answered(kind, after=8) == "answer"


async def test_an_answer_still_answers_when_what_is_due_does_not_end_its_question() -> None:
    store = KeptStore()
    async with running(agent("beside"), store=store, settings=SELDOM) as peer:
        task = await peer.send("go", now=True)
        with anyio.move_on_after(300):
            while task.status.message is None or said(task) != "q?":
                task = await peer.get(task.id, newer_than=task.generation)
        await anyio.sleep(30)  # the sleep beside the question is over, and nobody has looked
        assert "answer" in await told_by(peer, task.id)
