"""The smallest agent.

greenroom serve examples/echo.py:agent
greenroom send http://127.0.0.1:8000 "hello"
"""

from __future__ import annotations

from greenroom import Agent, TaskContext

agent = Agent("Echo", "Says it back.")


@agent.handler
async def echo(ctx: TaskContext) -> str:
    return f"You said: {ctx.text}"
