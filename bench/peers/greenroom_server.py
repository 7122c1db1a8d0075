# mypy: ignore-errors
"""Greenroom: its ASGI application on uvicorn, or its own entrypoint on hypercorn."""

from __future__ import annotations

import argparse
import socket
import sys
import uuid
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from greenroom import (
    Agent,
    InputRequired,
    Message,
    Part,
    Role,
    RuntimeSettings,
    Settings,
    TaskContext,
    asgi,
    serve,
)

from . import CHUNK, CHUNKS
from .serve import main

# what waits is measured in memory: nothing leaves it meanwhile
AWAKE = RuntimeSettings(idle=3600.0)


def make_agent(name: str) -> Agent:
    agent = Agent("bench", description="Says it back.", version="1.0.0")

    async def task(ctx: TaskContext) -> None:
        await ctx.artifact("reply", f"You said: {ctx.text}")

    async def message(ctx: TaskContext) -> Message:
        said = [Part(text=f"You said: {ctx.text}")]
        return Message(message_id=str(uuid.uuid4()), role=Role.AGENT, parts=said)

    async def paced(ctx: TaskContext) -> None:
        async with ctx.artifact("log") as log:
            for _ in range(CHUNKS):
                await log.write(CHUNK)
                await anyio.lowlevel.checkpoint()

    async def together(ctx: TaskContext) -> None:
        async with ctx.artifact("log") as log:
            for _ in range(CHUNKS):
                await log.write(CHUNK)

    async def ask(ctx: TaskContext) -> InputRequired:
        return InputRequired("And now?")

    async def chunks(ctx: TaskContext) -> None:
        count = ctx.text
        async with ctx.artifact("log") as log:
            while True:
                for _ in range(int(count)):
                    await log.write(CHUNK)
                count = await ctx.ask("How many more?")

    async def idle(ctx: TaskContext) -> None:
        await anyio.sleep_forever()

    handlers = (task, message, paced, together, ask, chunks, idle)
    agent.handler({one.__name__: one for one in handlers}[name])
    return agent


def make_app(options: argparse.Namespace):
    app = asgi(make_agent(options.agent), store=options.store, runtime=AWAKE)
    return mounted(app) if options.server == "fastapi" else app


def mounted(app):
    """Mount the application in one of FastAPI."""
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(host):
        async with app.lifespan():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("", app)
    return host


def bundled(options: argparse.Namespace) -> None:
    """Serve as `greenroom serve` does; the address is printed by whoever is reached there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    settings = Settings(port=port, store=options.store, log_level="warning", runtime=AWAKE)
    serve(make_agent(options.agent), settings=settings)


if __name__ == "__main__":
    main(make_app, bundled if "hypercorn" in sys.argv else None)
