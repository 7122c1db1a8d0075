"""Does anything grow? A mixed load for minutes, in one process: `python -m bench.soak [MINUTES]`.

Tasks that finish, wait, are answered, stream, are canceled and fail, on SQLite, with retention on
so that what is kept is bounded too. Every few seconds: memory, objects, actors, streams and the
file; at the end, whether the second half grew. Writes `bench/soak.csv` and draws `bench/soak.svg`.
"""

from __future__ import annotations

import csv
import gc
import os
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import anyio

from greenroom import Agent, SQLiteStore, TaskContext
from greenroom.protocol import operations as ops
from greenroom.protocol.errors import A2AError
from greenroom.protocol.types import (
    CancelTaskRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
)
from greenroom.runtime.call import Call
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings

CLIENTS = 16
EVERY = 5.0
"""Seconds between samples."""
KINDS = ("echo", "stream", "ask", "steps", "cancel", "fail", "leave")
agent = Agent("Soak")


async def work(number: int) -> int:
    return number + 1


@agent.handler
async def act(ctx: TaskContext) -> Any:
    match ctx.text:
        case "stream":
            async with ctx.artifact("text") as text:
                for number in range(50):
                    await text.write(f"{number} ")
        case "ask" | "leave":
            return f"Hello, {await ctx.ask('Who?')}"
        case "steps":
            return await ctx.gather(*(ctx.step(work, number) for number in range(5)))
        case "cancel":
            await ctx.sleep(3600)
        case "fail":
            raise LookupError("as asked")
    return ctx.text


def _send(text: str, task: str | None = None, *, now: bool = False) -> SendMessageRequest:
    return SendMessageRequest(
        message=Message(
            message_id=str(uuid.uuid4()), role=Role.USER, parts=[Part(text=text)], task_id=task
        ),
        configuration=SendMessageConfiguration(return_immediately=now),
    )


async def _one(runtime: Runtime, kind: str) -> None:
    call = Call(binding="BENCH")
    if kind == "stream":
        stream = await runtime.dispatch(call, ops.STREAM, _send(kind))
        try:
            while await stream.next() is not None:
                pass
        finally:
            stream.close()
        return
    answer = await runtime.dispatch(call, ops.SEND, _send(kind, now=kind == "cancel"))
    if kind == "ask":
        await runtime.dispatch(call, ops.SEND, _send("Ada", answer.task.id))
    elif kind in ("cancel", "leave"):
        # What is left waiting is bounded too: it is canceled by somebody else, later.
        if kind == "leave":
            await anyio.sleep(0.5)
        await runtime.dispatch(call, ops.CANCEL, CancelTaskRequest(id=answer.task.id))


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def soak(minutes: float, out: Path) -> int:
    samples: list[dict[str, float]] = []
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.db"
        settings = RuntimeSettings(
            idle=0.2, task_retention=10.0, send_retention=10.0, prune_every=0.5
        )
        store = SQLiteStore(path, durability="relaxed")
        async with Runtime(agent, store=store, settings=settings) as runtime:
            end = time.monotonic() + minutes * 60

            async def client(seed: int) -> None:
                nonlocal done
                chance = random.Random(seed)
                while time.monotonic() < end:
                    try:
                        await _one(runtime, chance.choice(KINDS))
                    except A2AError as error:
                        print(error, file=sys.stderr)
                    done += 1
                    await anyio.sleep(chance.uniform(0.0, 0.05))

            async def sample() -> None:
                started = time.monotonic()
                while time.monotonic() < end:
                    await anyio.sleep(EVERY)
                    gc.collect()
                    counts = runtime.statistics()
                    samples.append({
                        "seconds": round(time.monotonic() - started, 1),
                        "MB": _resident(),
                        "objects": len(gc.get_objects()),
                        "actors": counts["actors"],
                        "streams": counts["streams_open"],
                        "sends": len(runtime.system.sends),
                        "file MB": path.stat().st_size / 1e6,
                        "tasks done": done,
                    })  # fmt: skip

            async with anyio.create_task_group() as group:
                for seed in range(CLIENTS):
                    group.start_soon(client, seed)
                group.start_soon(sample)
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, samples[0])
        writer.writeheader()
        writer.writerows(samples)
    out.with_suffix(".svg").write_text(graph(samples))
    middle = samples[len(samples) // 2]
    last = samples[-1]
    for name in ("MB", "objects", "file MB"):
        print(f"{name}: {middle[name]:,.1f} half-way, {last[name]:,.1f} at the end")
    print(f"{done:,} tasks in {minutes:g} minutes")
    grown = last["MB"] - middle["MB"], last["objects"] / middle["objects"]
    return 0 if grown[0] < 5 and grown[1] < 1.1 else 1


def graph(samples: list[dict[str, float]]) -> str:
    """Draw memory and objects over time, each between zero and its own maximum, as SVG."""
    width, height, top = 720, 220, 30
    end = samples[-1]["seconds"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + top + 30}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>'
    ]
    for row, (name, colour) in enumerate((("MB", "#c0392b"), ("objects", "#2980b9"))):
        most = max(sample[name] for sample in samples)
        line = " ".join(
            f"{sample['seconds'] / end * width:.1f},{top + height * (1 - sample[name] / most):.1f}"
            for sample in samples
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        parts.append(
            f'<text x="{10 + 320 * row}" y="18" fill="{colour}">{name}: at most {most:,.1f}, '
            f"{samples[-1][name]:,.1f} at the end</text>"
        )
    told = f"{end / 60:.0f} minutes, {samples[-1]['tasks done']:,.0f} tasks"
    parts.append(f'<text x="10" y="{height + top + 20}">{told}</text></svg>')
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    length = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    sys.exit(anyio.run(soak, length, Path(__file__).with_name("soak.csv")))
