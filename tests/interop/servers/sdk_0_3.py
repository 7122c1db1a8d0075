# mypy: ignore-errors
"""A server of the official SDK of 0.3: JSON-RPC on hypercorn; prints its address."""

from __future__ import annotations

import asyncio
import socket

from a2a.server.agent_execution import AgentExecutor
from a2a.server.apps import A2AStarletteApplication
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentSkill, Part, TaskState, TextPart
from a2a.utils import new_task
from hypercorn.asyncio import serve
from hypercorn.config import Config


def text(value):
    return Part(root=TextPart(text=value))


class Executor(AgentExecutor):
    """`count N` writes N chunks, `ask` asks, `fail` fails."""

    async def execute(self, context, event_queue):
        task = context.current_task
        if task is None:
            task = new_task(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        word, _, rest = context.get_user_input().partition(" ")
        if word == "count":
            for number in range(int(rest)):
                await updater.add_artifact(
                    [text(f"{number} ")],
                    artifact_id="count",
                    append=number > 0,
                    last_chunk=number == int(rest) - 1,
                )
                await asyncio.sleep(0.002)  # the work
            await updater.complete()
        elif word == "ask":
            question = updater.new_agent_message([text("Who are you?")])
            await updater.update_status(TaskState.input_required, message=question, final=True)
        elif word == "fail":
            await updater.failed()
        else:
            await updater.add_artifact([text(f"Hello {word}")], name="reply")
            await updater.complete()

    async def cancel(self, context, event_queue):
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    card = AgentCard(
        name="SDK",
        description="For tests.",
        version="1",
        url=f"{url}/",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="do", name="do", description="Does.", tags=["test"])],
    )
    handler = DefaultRequestHandler(agent_executor=Executor(), task_store=InMemoryTaskStore())
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    print(url, flush=True)
    asyncio.run(serve(A2AStarletteApplication(card, handler).build(), config))


main()
