"""The agents that the end-to-end tests serve."""

from __future__ import annotations

import time

import anyio

from greenroom import Agent, BlockingContext, TaskContext

agent = Agent("E2E", "Does what its message says.")


@agent.handler
async def act(ctx: TaskContext) -> str | None:
    command, _, rest = ctx.text.partition(" ")
    match command:
        case "echo":
            return f"You said: {rest}"
        case "forever":
            async with ctx.artifact("ticks") as ticks:
                for number in range(100_000):
                    await ticks.write(f"{number} ")
                    await anyio.sleep(0.01)  # the work
        case "flood":
            async with ctx.artifact("flood") as flood:
                while True:
                    await flood.write("x" * 50_000)
                    await anyio.sleep(0.001)  # the work
        case "count":
            async with ctx.artifact("count") as count:
                for number in range(int(rest)):
                    await count.write(f"{number} ")
                    await anyio.sleep(0.05)  # the work
        case "ask":
            return f"Hello, {await ctx.ask('Who?')}"
        case "block":
            await ctx.status("about to block")
            await anyio.sleep(0.1)  # until the client has heard it
            time.sleep(60)  # noqa: ASYNC251 - a handler that does what it must not
    return None


stubborn = Agent("Stubborn", "Sleeps in a thread, whatever happens.")


@stubborn.handler
def sleep(ctx: BlockingContext) -> None:
    ctx.status("asleep")
    time.sleep(60)


not_an_agent = "only text"
