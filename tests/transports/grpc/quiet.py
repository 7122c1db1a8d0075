"""An agent whose process collects no garbage: what a cycle of references keeps stays and shows."""

from __future__ import annotations

import gc

from greenroom import Agent, TaskContext

gc.disable()
agent = Agent("Quiet", "Says what it was told.")


@agent.handler
async def echo(ctx: TaskContext) -> str:
    return f"You said: {ctx.text}"
