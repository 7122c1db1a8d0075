# mypy: ignore-errors
"""A server of the official SDK of 1.x: JSON-RPC and REST on hypercorn; prints its port."""

from __future__ import annotations

import asyncio
import socket

from a2a.helpers import new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, TaskState
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette


class Executor(AgentExecutor):
    """`count N` writes N chunks, `ask` asks, `fail` fails."""

    async def execute(self, context, event_queue):
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        word, _, rest = context.get_user_input().partition(" ")
        if word == "count":
            for number in range(int(rest)):
                await updater.add_artifact(
                    [new_text_part(f"{number} ")],
                    artifact_id="count",
                    append=number > 0,
                    last_chunk=number == int(rest) - 1,
                )
                await asyncio.sleep(0.002)  # the work
            await updater.complete()
        elif word == "ask":
            question = updater.new_agent_message([new_text_part("Who are you?")])
            await updater.update_status(TaskState.TASK_STATE_INPUT_REQUIRED, message=question)
        elif word == "fail":
            await updater.failed()
        else:
            await updater.add_artifact([new_text_part(f"Hello {word}")], name="reply")
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
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="do", name="do", description="Does.", tags=["test"])],
        supported_interfaces=[
            AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=url, protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
    )
    handler = DefaultRequestHandler(
        agent_executor=Executor(), task_store=InMemoryTaskStore(), agent_card=card
    )
    routes = [
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, "/"),
        *create_rest_routes(handler),
    ]
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    print(url, flush=True)
    asyncio.run(serve(Starlette(routes=routes), config))


main()
