"""Agents that do what their messages say."""

from __future__ import annotations

from greenroom import Agent, TaskContext


def desk() -> Agent:
    """Remembers a secret, asks, streams; has skills that need scopes."""
    agent = Agent("Desk", description="For tests.")

    @agent.handler
    async def handle(ctx: TaskContext) -> str | None:
        if ctx.text.startswith("ask"):
            answer = await ctx.ask("What?", str)
            return f"secret of the owner: {answer}"
        if ctx.text.startswith("whoami"):
            principal = ctx.principal
            return f"{principal.tenant}|{principal.owner}"
        return f"secret of the owner: {ctx.text}"

    @agent.skill("admin", scopes=["desk:admin"])
    async def admin(ctx: TaskContext) -> str:
        return "secret of the owner: done as admin"

    return agent
