"""The agent that is served while its server is killed, and the point at which it kills itself.

``FAULT_KILL_AT=n``: the process dies by SIGKILL at the n-th *point* that a task begun in it passes:
before and after every commit of its entries, at every operation of its handler, and before, between
and after the side effects of its steps. ``FAULT_POINTS`` names a file that gets a line per point.
``FAULT_EFFECTS`` names the file that side effects go to.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio

from greenroom import Agent, TaskContext
from greenroom.runtime.durable.run import Run
from greenroom.runtime.durable.steps import step_info
from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.stores.sqlite import SQLiteStore

agent = Agent("Faulty", "Does a little of everything.", on_interrupt="resume")

_KILL_AT = int(os.environ.get("FAULT_KILL_AT", "0"))
_POINTS = os.environ.get("FAULT_POINTS")
_EFFECTS = os.environ.get("FAULT_EFFECTS", os.devnull)
_born: set[str] = set()
_passed = 0


def point(task: str, name: str) -> None:
    """Die here, if this is the place."""
    global _passed
    if task not in _born:
        return
    _passed += 1
    if _POINTS:
        with open(_POINTS, "a") as file:
            file.write(f"{_passed} {name}\n")
    if _passed == _KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def _effect(task: str, name: str) -> None:
    """Something that happens outside and cannot be taken back: one line, written at once."""
    point(task, f"before the effect of {name}")
    line = f"{task} {name} {step_info().key}\n".encode()
    file = os.open(_EFFECTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line)
    os.close(file)
    point(task, f"after the effect of {name}")


async def effect(task: str, name: str) -> str:
    _effect(task, name)
    await anyio.sleep(0.001)  # work goes on
    point(task, f"later in {name}")
    return f"did {name}"


def blocking_effect(task: str, name: str) -> dict[str, str]:
    _effect(task, name)
    return {"did": name}


async def write(task: str, count: int) -> AsyncGenerator[str, None]:
    for number in range(count):
        yield f"{number} "
        point(task, f"after chunk {number}")


@agent.handler
async def act(ctx: TaskContext) -> Any:
    task = ctx.task_id
    if ctx.text == "forever":
        number = 0
        while True:
            number += await ctx.step(one)
            await ctx.status(f"{number}")
            await anyio.sleep(0.005)  # work
    await ctx.status("starting")
    told: list[Any] = [await ctx.step(effect, task, "one")]
    told += await ctx.gather(ctx.step(effect, task, "two"), ctx.step(effect, task, "three"))
    told.append(await ctx.race(ctx.step(effect, task, "four"), ctx.sleep(60)))
    try:
        async with ctx.timeout(0.02):
            await ctx.sleep(60)
    except TimeoutError:
        told.append("late")
    await ctx.stream("text", write, task, 3)
    told.append(await ctx.ask("name?"))
    async with ctx.artifact("letter") as letter:
        await letter.write("Dear ")
        await letter.write(f"{told[-1]}")
    told.append(await ctx.ask("age?", int))
    await ctx.sleep(0.01)
    told.append(await ctx.step(blocking_effect, task, "five"))
    return told


async def one() -> int:
    return 1


EXPECTED = [
    "did one", "did two", "did three", "did four", "late", "Ada", 42, {"did": "five"},
]  # fmt: skip
EFFECTS = {"one", "two", "three", "four", "five"}

if _KILL_AT or _POINTS:
    _append = SQLiteStore.append
    _begin = Run.begin

    async def append(
        self: SQLiteStore, batch: Sequence[Append], *, now: float
    ) -> Sequence[Outcome]:
        tasks = [a.header.id for a in batch if a.header is not None]
        _born.update(a.header.id for a in batch if a.header is not None and a.expected == 0)
        for task in tasks:
            point(task, "before a commit")
        outcomes = await _append(self, batch, now=now)
        for task in tasks:
            point(task, "after a commit")
        return outcomes

    def begin(self: Run) -> Any:
        point(self.actor.id, "an operation begins")
        return _begin(self)

    SQLiteStore.append = append  # type: ignore[method-assign]
    Run.begin = begin  # type: ignore[method-assign]
