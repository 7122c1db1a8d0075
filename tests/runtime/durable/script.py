"""A task that does everything a durable handler can do, and the client that plays its part."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel

from greenroom import Agent, Task, TaskContext, TaskState
from greenroom.protocol.types import Role
from greenroom.runtime.actor.cancellation import StepFailed
from greenroom.runtime.durable.steps import step_info
from tests.support.drive import Caller, said

ANSWERS = {"name?": "Ada", "age?": "old", "really?": "yes", "between?": "sure"}
"""What the client answers; other questions are asked again in other words, or not answered."""


class Script:
    """The agent, and what its steps did outside: (name, key) in order."""

    def __init__(self, *, seed: int = 0, **options: Any) -> None:
        self.effects: list[tuple[str, str]] = []
        self._random = random.Random(seed)
        options.setdefault("on_interrupt", "resume")
        self.agent = Agent("Script", version="1", **options)
        self.agent.handler(self.handle)

    @property
    def keys(self) -> dict[str, set[str]]:
        value: dict[str, set[str]] = defaultdict(set)
        for name, key in self.effects:
            value[name].add(key)
        return value

    async def fetch(self, what: str, takes: float = 0.0) -> dict[str, str]:
        self.effects.append((what, step_info().key))
        await anyio.sleep(takes or self._random.random() / 1000)
        self.effects.append((what, step_info().key))
        return {"got": what}

    async def broken(self, what: str) -> None:
        self.effects.append((what, step_info().key))
        await anyio.sleep(self._random.random() / 1000)
        raise LookupError(f"no {what}")

    async def write(self, count: int) -> AsyncGenerator[str, None]:
        for number in range(count):
            await anyio.lowlevel.checkpoint()
            yield f"{number} "

    async def branch(self, ctx: TaskContext, name: str) -> list[Any]:
        first = await ctx.step(self.fetch, f"{name} one")
        await ctx.status(f"{name} half way")
        both = await ctx.gather(
            ctx.step(self.fetch, f"{name} two"), ctx.step(self.fetch, f"{name} three")
        )
        return [first, *both]

    async def handle(self, ctx: TaskContext) -> Any:
        await ctx.status("starting")
        began = ctx.now()
        assert 0 <= ctx.random() < 1
        assert ctx.uuid() != ctx.uuid()
        told: list[Any] = [await ctx.step(self.fetch, "alone")]
        if ctx.patched("always there"):
            told.append("patched")
        told += await ctx.gather(
            self.branch(ctx, "left"), self.branch(ctx, "right"), ctx.step(self.fetch, "middle")
        )
        told.append(await ctx.race(ctx.step(self.fetch, "fast"), ctx.sleep(1000)))
        told.append(await self.in_time(ctx))
        await ctx.stream("text", self.write, 3)
        told.append(await ctx.ask("name?"))
        told.append(await ctx.ask("age?", int))
        told.append(await self.hurry(ctx))
        told.append(await self.failures(ctx))
        told += await self.grouped(ctx)
        async with ctx.artifact("letter") as letter:
            for word in ("Dear ", "Ada, ", "bye"):
                await letter.write(word)
        await ctx.status("send more")
        told.append((await ctx.receive()).text)
        await ctx.artifact("whole", {"kept": True})
        assert ctx.now().tzinfo is began.tzinfo
        return told

    async def in_time(self, ctx: TaskContext) -> list[str]:
        told = []
        try:
            async with ctx.timeout(5):
                told.append((await ctx.step(self.fetch, "in time"))["got"])
                await ctx.sleep(100)
        except TimeoutError:
            told.append("late")
        try:
            async with ctx.timeout(7):
                await ctx.step(self.fetch, "before a nap")
                await anyio.sleep(100)  # of no record
        except TimeoutError:
            told.append("late again")
        try:
            async with ctx.timeout(20):
                try:
                    async with ctx.timeout(2):
                        await ctx.gather(ctx.sleep(50), ctx.step(self.fetch, "beside a sleep"))
                except TimeoutError:
                    told.append("inner")
                await ctx.race(ctx.sleep(60), ctx.step(self.fetch, "slow", 60))
        except TimeoutError:
            told.append("outer")
        async with ctx.timeout(60):
            told.append((await ctx.step(self.fetch, "at leisure"))["got"])
        return told

    async def hurry(self, ctx: TaskContext) -> list[Any]:
        async def nobody() -> str:
            return await ctx.ask("nobody answers this?")

        told: list[Any] = [await ctx.race(nobody(), ctx.sleep(5))]
        try:
            async with ctx.timeout(3):
                await ctx.ask("nor this?")
        except TimeoutError:
            told.append("unanswered")
        told.append(await ctx.race(ctx.ask("really?"), ctx.sleep(5000)))
        return told

    async def failures(self, ctx: TaskContext) -> list[str]:
        told = []
        try:
            await ctx.step(self.broken, "bread")
        except StepFailed as failed:
            told.append(f"{failed.type}: {failed.message}")
        try:
            await ctx.gather(
                ctx.sleep(1000),
                ctx.step(self.broken, "butter"),
                ctx.step(self.fetch, "slower", 1000),
            )
        except StepFailed as failed:
            told.append(failed.message)
        try:
            await ctx.race(ctx.step(self.broken, "jam"), ctx.sleep(1000))
        except StepFailed as failed:
            told.append(failed.message)
        return told

    async def grouped(self, ctx: TaskContext) -> list[Any]:
        async def work(number: int) -> str:
            await ctx.status(f"{number} at work")
            return (await ctx.step(self.fetch, f"work {number}"))["got"]

        async def fail() -> None:
            await ctx.sleep(3)
            await ctx.step(self.broken, "luck")

        async with ctx.group() as group:
            first, second = group.start(work, 1), group.start(work, 2)
            beside = await ctx.step(self.fetch, "the block itself")
            asked = await ctx.ask("between?")
        told = [first.result, second.result, beside["got"], asked]
        try:
            async with ctx.group() as group:
                group.start(fail)
                group.start(work, 3)
                await ctx.step(self.fetch, "done in a failing group")
                await ctx.sleep(1000)
        except StepFailed as failed:
            told.append(failed.message)
        told.append((await ctx.step(self.fetch, "after the groups"))["got"])
        return told


async def play(peer: Caller, task_id: str) -> Task:
    """Answer what the task asks until it is over."""
    task = await peer.get(task_id)
    while not task.status.state.terminal:
        words = said(task)
        if task.status.state is TaskState.INPUT_REQUIRED:
            answer = ANSWERS.get(words, "42" if "does not look like" in words else None)
            if answer is not None:
                await peer.send(answer, task=task_id, now=True)
        elif words == "send more" and "more" not in heard(task):
            await peer.send("more", task=task_id, now=True)
        latest = await peer.get(task_id)
        task = (
            latest
            if latest.generation != task.generation
            else await peer.get(task_id, newer_than=task.generation)
        )
    return task


def heard(task: Task) -> list[str]:
    """What the client said, as the history has it."""
    return [message.text for message in task.history or [] if message.role is Role.USER]
