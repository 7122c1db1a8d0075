"""How long until a handler with n recorded steps is back at new ground, and what a step costs."""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from pathlib import Path

from greenroom import Agent, SQLiteStore, TaskContext
from greenroom.protocol import operations as ops
from greenroom.protocol.types import (
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
)
from greenroom.runtime.call import Call
from greenroom.runtime.runtime import Runtime

from .race import Options, Table

SIZES = (10, 100, 1000)


class Stepping:
    """Makes steps, asks, and tells when it was back."""

    def __init__(self) -> None:
        self.agent = Agent("Stepping")
        self.agent.handler(self.handle)
        self.reached = 0.0

    async def add(self, number: int) -> dict[str, int]:
        return {"number": number}

    async def handle(self, ctx: TaskContext) -> str:
        for number in range(int(ctx.text)):
            await ctx.step(self.add, number)
        await ctx.ask("More?")
        self.reached = time.perf_counter()
        return "done"


def _send(text: str, task: str | None = None) -> SendMessageRequest:
    return SendMessageRequest(
        message=Message(
            message_id=str(uuid.uuid4()), role=Role.USER, parts=[Part(text=text)], task_id=task
        ),
        configuration=SendMessageConfiguration(history_length=0),
    )


async def measure(options: Options) -> list[Table]:
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            stepping = Stepping()
            tasks = []
            path = Path(folder) / f"{size}.db"
            async with Runtime(stepping.agent, store=SQLiteStore(path)) as runtime:
                began = time.perf_counter()
                for _ in range(options.rounds):
                    answer = await runtime.dispatch(
                        Call(binding="BENCH"), ops.SEND, _send(str(size))
                    )
                    tasks.append(answer.task.id)
                took = time.perf_counter() - began
            times = []
            async with Runtime(stepping.agent, store=SQLiteStore(path)) as runtime:
                for task in tasks:
                    sent = time.perf_counter()
                    await runtime.dispatch(Call(binding="BENCH"), ops.SEND, _send("yes", task))
                    times.append(stepping.reached - sent)
            rows[f"{size:,} steps"] = {
                "ms to new ground, median": statistics.median(times) * 1e3,
                "µs per step at first": took / options.rounds / size * 1e6,
            }
    return [Table("a run of n recorded steps, woken on SQLite (strict)", rows, ())]
