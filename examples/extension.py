"""A protocol extension: answers say how long they took, to clients that ask for it.

greenroom serve examples/extension.py:agent
greenroom send http://127.0.0.1:8000 hello --header "A2A-Extensions: https://example.com/timing/v1"
"""

from __future__ import annotations

import time

from msgspec import structs

from greenroom import Agent, TaskContext
from greenroom.protocol.types import SendMessageResponse, Wire
from greenroom.runtime.extensions import Extension, ExtensionContext


class Timing(Extension):
    """Adds ``{uri}/seconds`` to the metadata of the task that a send is answered with."""

    uri = "https://example.com/timing/v1"
    description = "Says how long an answer took."

    async def on_request(self, context: ExtensionContext, request: Wire) -> Wire | None:
        context.state[self.uri] = time.perf_counter()
        return None

    async def on_response(self, context: ExtensionContext, response: Wire) -> Wire | None:
        if not isinstance(response, SendMessageResponse) or response.task is None:
            return None
        took = round(time.perf_counter() - context.state[self.uri], 6)
        metadata = {**(response.task.metadata or {}), f"{self.uri}/seconds": took}
        return structs.replace(response, task=structs.replace(response.task, metadata=metadata))


agent = Agent(
    "Stopwatch", description="Says it back, and how long that took.", extensions=[Timing()]
)


@agent.handler
async def echo(ctx: TaskContext) -> str:
    return f"You said: {ctx.text}"
