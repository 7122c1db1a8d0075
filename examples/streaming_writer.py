"""Text that reaches the client as it is written.

greenroom serve examples/streaming_writer.py:agent
greenroom send http://127.0.0.1:8000 "tea" --stream
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio

from greenroom import Agent, TaskContext

agent = Agent("Writer", "Writes a few lines on any subject.")

LINES = (
    "Some say {0} is overrated.",
    "They have not met {0} on a wet Tuesday in November,",
    "with a train to catch and nobody to write to.",
    "Then {0} is exactly as large as it should be.",
)


async def write(subject: str) -> AsyncGenerator[str, None]:
    for word in " \n".join(LINES).format(subject).split(" "):
        yield word + " "
        await anyio.sleep(0.05)  # where a language model would think


@agent.handler
async def compose(ctx: TaskContext) -> None:
    await ctx.status(f"Thinking about {ctx.text} ...")
    await ctx.stream("poem", write, ctx.text)
