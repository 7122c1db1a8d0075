"""What do tasks cost that wait? 100,000 of them on SQLite: memory, start-up, and waking one.

Each part runs in a process of its own: one fills the store and lets every task be put to rest,
another starts over that store and wakes some of them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import anyio

from greenroom import Agent, SQLiteStore, TaskContext
from greenroom.protocol import operations as ops
from greenroom.protocol.types import Message, Part, Role, SendMessageRequest
from greenroom.runtime.call import Call
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings

from .race import Options, Table

TASKS = 100_000
WARM = 2_000
WOKEN = 200

agent = Agent("Waiting")


@agent.handler
async def wait(ctx: TaskContext) -> str:
    return f"Hello, {await ctx.ask('Who?')}"


async def measure(options: Options) -> list[Table]:
    tasks = TASKS if options.rounds >= 5 else TASKS // 10
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tasks.db")
        filled = await asyncio.to_thread(_part, "fill", path, str(tasks))
        woken = await asyncio.to_thread(_part, "wake", path)
    row = {**filled, **woken}
    return [Table(f"{tasks:,} tasks that wait for input, on SQLite", {"greenroom": row}, ())]


def _part(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.waiting", *arguments],
        stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _send(text: str, task: str | None = None) -> SendMessageRequest:
    return SendMessageRequest(
        message=Message(
            message_id=str(uuid.uuid4()), role=Role.USER, parts=[Part(text=text)], task_id=task
        )
    )


def _rss() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _fill(path: str, tasks: int) -> dict[str, float]:
    store = SQLiteStore(path, durability="relaxed")
    runtime = Runtime(agent, store=store, settings=RuntimeSettings(idle=0.2))

    async def begin(count: int) -> None:
        async def some() -> None:
            for _ in range(count // 64 + 1):
                await runtime.dispatch(Call(binding="BENCH"), ops.SEND, _send("hi"))

        async with anyio.create_task_group() as group:
            for _ in range(64):
                group.start_soon(some)
        while runtime.directory:  # noqa: ASYNC110 - nobody tells when the last is at rest
            await anyio.sleep(0.1)

    async with runtime:
        await begin(WARM)
        before = _rss()
        started = time.perf_counter()
        await begin(tasks - WARM)
        took = time.perf_counter() - started
        return {"MB more than at the start": _rss() - before, "tasks/s to get there": tasks / took}


async def _wake(path: str) -> dict[str, float]:
    started = time.perf_counter()
    store = SQLiteStore(path)
    async with Runtime(agent, store=store) as runtime:
        up = time.perf_counter() - started
        scope = (await store.scopes())[0]
        from greenroom.runtime.journal.entries import TaskQuery

        page = await store.tasks(TaskQuery(scope=scope, limit=WOKEN * 20))
        chosen = random.Random(1).sample([header.id for header in page.headers], WOKEN)
        times = []
        for task in chosen:
            at = time.perf_counter()
            answer = await runtime.dispatch(Call(binding="BENCH"), ops.SEND, _send("Ada", task))
            times.append(time.perf_counter() - at)
            assert answer.task.status.state.name == "COMPLETED"
    return {
        "start-up s": up,
        "wake and answer ms, median": statistics.median(times) * 1e3,
        "p99": statistics.quantiles(times, n=100)[98] * 1e3,
    }


if __name__ == "__main__":
    part, store_path, *rest = sys.argv[1:]
    if part == "fill":
        print(json.dumps(anyio.run(_fill, store_path, int(rest[0]))))
    else:
        print(json.dumps(anyio.run(_wake, store_path)))
