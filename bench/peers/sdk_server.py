# mypy: ignore-errors
"""The official SDK's server: JSON-RPC on Starlette, its memory store or its SQLite task store."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import asynccontextmanager

from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, TaskState
from starlette.applications import Starlette

from . import CHUNK, CHUNKS
from .serve import main


class Executor(AgentExecutor):
    def __init__(self, agent: str) -> None:
        self.agent = agent

    async def execute(self, context, event_queue):
        if self.agent == "message":
            reply = new_text_message(f"You said: {context.get_user_input()}")
            await event_queue.enqueue_event(reply)
            return
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        match self.agent:
            case "task":
                text = f"You said: {context.get_user_input()}"
                await updater.add_artifact([new_text_part(text)], name="reply")
                await updater.complete()
            case "paced" | "together":
                await self.write(updater, CHUNKS, paced=self.agent == "paced")
                await updater.complete()
            case "chunks":
                await self.write(
                    updater, int(context.get_user_input()), append=bool(task.artifacts)
                )
                await updater.update_status(TaskState.TASK_STATE_INPUT_REQUIRED)
            case "ask":
                question = updater.new_agent_message([new_text_part("And now?")])
                await updater.update_status(TaskState.TASK_STATE_INPUT_REQUIRED, message=question)
            case "idle":
                await asyncio.Event().wait()

    async def write(self, updater, count, *, paced=False, append=False):
        for number in range(count):
            await updater.add_artifact(
                [new_text_part(CHUNK)],
                artifact_id="log",
                name="log",
                append=append or number > 0,
                last_chunk=number == count - 1,
            )
            if paced:
                await asyncio.sleep(0)

    async def cancel(self, context, event_queue):
        raise NotImplementedError


def task_store(url: str):
    if url.startswith("memory:"):
        return InMemoryTaskStore()
    from a2a.server.tasks import DatabaseTaskStore
    from sqlalchemy import event
    from sqlalchemy.ext.asyncio import create_async_engine

    # One connection: several wait for each other's locks, a fifth fewer requests/s, p99 five times
    engine = create_async_engine(
        url.replace("sqlite:", "sqlite+aiosqlite:"),
        pool_size=1,
        max_overflow=0,
        pool_timeout=600,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def strict(connection, _record):
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    return DatabaseTaskStore(engine)


def make_app(options: argparse.Namespace) -> Starlette:
    card = AgentCard(
        name="bench",
        description="Says it back.",
        version="1.0.0",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="echo", description="Says it back.", tags=["echo"])],
        supported_interfaces=[
            AgentInterface(
                url="http://127.0.0.1/", protocol_binding="JSONRPC", protocol_version="1.0"
            )
        ],
    )
    store = task_store(options.store)
    handler = DefaultRequestHandler(
        agent_executor=Executor(options.agent), task_store=store, agent_card=card
    )

    @asynccontextmanager
    async def lifespan(app):
        if hasattr(store, "initialize"):  # or the first requests race to create the table
            await store.initialize()
        yield

    routes = [*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")]
    return Starlette(routes=routes, lifespan=lifespan)


if __name__ == "__main__":
    main(make_app)
