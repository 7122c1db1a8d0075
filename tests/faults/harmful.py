"""Agents whose handlers do to their server what no handler should do."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from greenroom import Agent, BlockingContext, TaskContext

agent = Agent("Harmful", "Does harm to its server.")
plain = Agent("Plain", "Does harm from a thread.")


async def leave(how: str) -> None:
    await anyio.lowlevel.checkpoint()
    if how == "exit":
        sys.exit(3)
    raise KeyboardInterrupt


async def beside(where: str, how: str) -> None:
    """Run ``leave`` in a coroutine beside the handler's own."""
    match where:
        case "gather":
            await asyncio.gather(leave(how), asyncio.sleep(60))
        case "create_task":
            await asyncio.create_task(leave(how))
        case "forgotten":
            task = asyncio.create_task(leave(how))
            await asyncio.sleep(0.1)
            task.result()
        case "TaskGroup":
            async with asyncio.TaskGroup() as group:
                group.create_task(leave(how))
                group.create_task(asyncio.sleep(60))
        case "wait_for":
            await asyncio.wait_for(leave(how), 60)
        case "nested":
            await asyncio.gather(beside("TaskGroup", how), asyncio.sleep(60))
        case "anyio":
            async with anyio.create_task_group() as children:
                children.start_soon(leave, how)
                children.start_soon(anyio.sleep, 60)
        case "trio":
            import trio

            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave, how)
                nursery.start_soon(trio.sleep, 60)


@agent.handler
async def harm(ctx: TaskContext) -> Any:
    command, _, rest = ctx.text.partition(" ")
    match command:
        case "leave":
            where, how = rest.split()
            await beside(where, how)
        case "leave-in-step":
            where, how = rest.split()
            await ctx.step(beside, where, how)
        case "wait":
            await ctx.status("waiting")
            await anyio.sleep(float(rest))
            return "waited"
        case "step":
            await ctx.step(anyio.sleep, float(rest))
            return "stepped"
        case "block":
            time.sleep(float(rest))  # noqa: ASYNC251 - what a handler must not do
            return "blocked"
        case "swallow":
            await ctx.status("swallowing")
            while True:
                with contextlib.suppress(BaseException):
                    await anyio.sleep(60)
        case "swallow-and-tell":
            await ctx.status("swallowing")
            while True:
                try:
                    await anyio.sleep(60)
                except BaseException:
                    await ctx.status("swallowed")
        case _:
            return f"You said: {ctx.text}"
    return "no harm done"


@plain.handler
def harm_from_a_thread(ctx: BlockingContext) -> Any:
    if ctx.text == "fine":
        return "fine"
    anyio.from_thread.run(leave, ctx.text)
    return "no harm done"
