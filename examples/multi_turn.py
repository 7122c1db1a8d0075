"""A conversation in one function: each `ask` may take a second or a week.

greenroom serve examples/multi_turn.py:agent
greenroom send http://127.0.0.1:8000 "Lisbon"      # asks, and says how to answer
"""

from __future__ import annotations

from datetime import date

from greenroom import Agent, TaskContext

agent = Agent("Travel desk", "Books trips.")


@agent.handler
async def book(ctx: TaskContext) -> dict[str, str | int]:
    destination = ctx.text
    day = await ctx.ask(f"When would you like to go to {destination}? (2026-05-01)", date)
    seats = await ctx.ask("For how many?", int)
    return {"destination": destination, "day": day.isoformat(), "seats": seats}
