# mypy: ignore-errors
"""The official SDK's server over grpc.aio, its memory store; uvloop where it is faster."""

from __future__ import annotations

import argparse
import asyncio

import grpc
from a2a.server.request_handlers import DefaultRequestHandler, GrpcHandler
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentSkill
from a2a.types import a2a_pb2_grpc as services

from . import AGENTS
from .sdk_server import Executor


async def main(options: argparse.Namespace) -> None:
    card = AgentCard(
        name="bench",
        description="Says it back.",
        version="1.0.0",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="echo", description="Says it back.", tags=["echo"])],
    )
    handler = DefaultRequestHandler(
        agent_executor=Executor(options.agent), task_store=InMemoryTaskStore(), agent_card=card
    )
    server = grpc.aio.server()
    services.add_A2AServiceServicer_to_server(GrpcHandler(handler), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", choices=AGENTS, default="task")
    parser.add_argument("--server", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--store")
    asked = parser.parse_args()
    if asked.server == "uvloop":
        import uvloop

        uvloop.run(main(asked))
    else:
        asyncio.run(main(asked))
