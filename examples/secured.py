"""An agent that knows who calls, and a skill for those who have its scope.

greenroom keys create ada --tenant acme --scope desk:refund
python examples/secured.py
greenroom send http://127.0.0.1:8000 "hello" --header "X-API-Key: grk_..."
"""

from __future__ import annotations

from greenroom import Agent, TaskContext, serve
from greenroom.auth import ApiKeys, Security

agent = Agent("Desk", "Knows who calls.")


@agent.handler
async def greet(ctx: TaskContext) -> str:
    caller = ctx.principal
    return f"Good day, {caller.subject} of {caller.tenant or 'no tenant'}."


@agent.skill("refund", scopes=["desk:refund"])
async def refund(ctx: TaskContext) -> str:
    return f"Refunded: {ctx.text}"


if __name__ == "__main__":
    serve(agent, security=Security(ApiKeys("keys.json")))
