"""The agents that foreign clients talk to."""

from __future__ import annotations

import uuid
from typing import Any

import anyio

from greenroom import Agent, Message, Part, Role, Skill, TaskContext
from greenroom.protocol.types import AgentExtension

MODES = ["text/plain", "application/json", "image/png"]

desk = Agent(
    "Interop",
    description="Does what its message says.",
    version="1.2.3",
    skills=[Skill(id="do", name="Do", description="Does what it is told.", tags=["test"])],
    input_modes=MODES,
    output_modes=MODES,
)


@desk.handler
async def do(ctx: TaskContext) -> None:
    command, _, rest = ctx.text.partition(" ")
    match command:
        case "echo":
            await ctx.artifact("reply", f"You said: {rest}")
        case "later":
            await ctx.status("One moment.")
            await anyio.sleep(0.2)  # the work
            await ctx.artifact("reply", f"You said: {rest}")
        case "count":
            async with ctx.artifact("count") as numbers:
                for number in range(int(rest)):
                    await numbers.write(f"{number} ")
                    await anyio.sleep(0.02)  # the work
        case "ask":
            name = await ctx.ask("What is your name?")
            place = await ctx.ask("Where do you live?")
            await ctx.artifact("reply", f"Hello {name} of {place}")
        case "parts":
            await ctx.artifact("reply", list(ctx.parts))
        case "wait":
            await ctx.status("Waiting.")
            await anyio.sleep_forever()
        case "reject":
            await ctx.reject("not today")
        case _:
            raise RuntimeError("the secret cause")


direct = Agent("Direct", description="Replies without a task.", slug="direct", input_modes=MODES)


@direct.handler
async def reply(ctx: TaskContext) -> Any:  # no annotation says that it answers with a Message
    return Message(
        message_id=str(uuid.uuid4()),
        role=Role.AGENT,
        parts=[Part(text=f"You said: {ctx.text}")],
    )


strict = Agent(
    "Strict",
    description="Talks only to those who know its extension.",
    slug="strict",
    extensions=[AgentExtension(uri="https://example.com/extensions/manners", required=True)],
)


@strict.handler
async def politely(ctx: TaskContext) -> str:
    return f"Thank you for: {ctx.text}"
