# mypy: ignore-errors
"""Greenroom's gRPC server over its memory store, on the loop that is asked for."""

from __future__ import annotations

import argparse

import anyio

from greenroom import MemoryStore, Runtime
from greenroom.transports.grpc.server import GrpcServer
from greenroom.transports.server.entrypoint import tune_garbage_collection
from greenroom.transports.settings import Listen

from . import AGENTS
from .greenroom_server import make_agent
from .shares import watch


async def main(options: argparse.Namespace) -> None:
    runtime = Runtime(make_agent(options.agent), store=MemoryStore())
    async with runtime, GrpcServer(runtime, listen=Listen(port=0)) as server:
        tune_garbage_collection()
        watch()
        print(f"listening on http://127.0.0.1:{server.port}", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", choices=AGENTS, default="task")
    parser.add_argument("--server", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--store")
    asked = parser.parse_args()
    anyio.run(main, asked, backend_options={"use_uvloop": asked.server == "uvloop"})
