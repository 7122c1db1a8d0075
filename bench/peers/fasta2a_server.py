# mypy: ignore-errors
"""fasta2a: memory storage and broker, one worker. A send is answered before its work is done."""

from __future__ import annotations

import argparse
import uuid
from contextlib import asynccontextmanager

import anyio
from fasta2a import FastA2A, Worker
from fasta2a.broker import InMemoryBroker
from fasta2a.storage import InMemoryStorage

from . import CHUNK, CHUNKS
from .serve import main


class EchoWorker(Worker):
    agent: str = "task"

    async def run_task(self, params):
        task_id, context_id = params["id"], params["context_id"]
        await self.storage.update_task(task_id, state="working")
        await self.publish_status(task_id, context_id, "working")
        artifact_id = str(uuid.uuid4())
        if self.agent == "task":
            text = "You said: " + params["message"]["parts"][0]["text"]
            artifacts = [{"artifact_id": artifact_id, "name": "reply", "parts": [{"text": text}]}]
            await self.publish_artifact(task_id, context_id, artifacts[0])
        else:
            for number in range(CHUNKS):
                chunk = {"artifact_id": artifact_id, "name": "log", "parts": [{"text": CHUNK}]}
                await self.publish_artifact(
                    task_id,
                    context_id,
                    chunk,
                    append=number > 0,
                    last_chunk=number == CHUNKS - 1,
                )
                if self.agent == "paced":
                    await anyio.lowlevel.checkpoint()
            text = CHUNK * CHUNKS
            artifacts = [{"artifact_id": artifact_id, "name": "log", "parts": [{"text": text}]}]
        await self.storage.update_task(task_id, state="completed", new_artifacts=artifacts)

    async def cancel_task(self, params):
        raise NotImplementedError

    def build_message_history(self, history):
        return history

    def build_artifacts(self, result):
        return []


def make_app(options: argparse.Namespace) -> FastA2A:
    storage, broker = InMemoryStorage(), InMemoryBroker()
    worker = EchoWorker(broker=broker, storage=storage)
    worker.agent = options.agent

    @asynccontextmanager
    async def lifespan(app):
        async with app.task_manager, worker.run():
            yield

    return FastA2A(storage=storage, broker=broker, lifespan=lifespan)


if __name__ == "__main__":
    main(make_app)
