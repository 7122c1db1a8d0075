"""An agent inside a FastAPI application, below /agent.

pip install fastapi uvicorn
uvicorn examples.fastapi_mount:app
greenroom send http://127.0.0.1:8000/agent "hello"
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from greenroom import Agent, TaskContext, asgi

agent = Agent("Echo", "Says it back.")


@agent.handler
async def echo(ctx: TaskContext) -> str:
    return f"You said: {ctx.text}"


greenroom = asgi(agent, store="memory://")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
    async with greenroom.lifespan():  # a mounted application is not started by its host's server
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/agent", greenroom)


@app.get("/")
async def index() -> dict[str, str]:
    return {"agent": "/agent/.well-known/agent-card.json"}
