"""An answer without a task: annotated `-> Message`, the handler never makes one.

greenroom serve examples/direct_reply.py:agent
"""

from __future__ import annotations

import uuid

from greenroom import Agent, Message, Part, Role, TaskContext

agent = Agent("Greeter", "Greets, and keeps nothing.")


@agent.handler
async def greet(ctx: TaskContext) -> Message:
    said = Part(text=f"Good day, {ctx.text or 'stranger'}.")
    return Message(message_id=str(uuid.uuid4()), role=Role.AGENT, parts=[said])
