"""Does a task's past make its next step dearer?

Turns: a message and a question back on tasks that hold 10, 100, 1,000 messages, history length 0.
Chunks: 100 more chunks on tasks whose artifact holds 10, 1,000, 3,000. A turn's reply carries the
whole artifact, so a turn that adds no chunk is measured beside it and taken off.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

from .race import Options, Table
from .server import Contender, Server
from .tasks import Begun, start

SIZES = (10, 100, 1000)
CHUNK_SIZES = (10, 1000, 3000)
TASKS = 6


async def measure(options: Options) -> list[Table]:
    turns: dict[str, dict[str, float]] = {}
    chunks: dict[str, dict[str, float]] = {}
    for store in ("memory", "sqlite"):
        for server_name, peer in (("uvicorn", "sdk"), ("uvicorn", "greenroom")):
            if options.peers and peer not in options.peers:
                continue
            # the SDK rewrites the whole task per event: on SQLite it would take minutes to grow one
            slow = peer == "sdk" and store == "sqlite"
            with Server(Contender(peer, "ask", server_name, store)) as server:
                turns[server.contender.name] = await _turns(server, SIZES[:2] if slow else SIZES)
            with Server(Contender(peer, "chunks", server_name, store)) as server:
                sizes = CHUNK_SIZES[:2] if slow else CHUNK_SIZES
                chunks[server.contender.name] = await _chunks(server, sizes, 1 if slow else TASKS)
    return [
        Table("a turn on a task with n messages, cpu µs", turns, (f"{SIZES[0]}",)),
        Table("one more chunk on a task with n chunks, cpu µs", chunks, (f"{CHUNK_SIZES[0]}",)),
    ]


async def _turns(server: Server, sizes: Sequence[int]) -> dict[str, float]:
    """CPU µs per turn; each turn adds two messages, the user's and the agent's question."""
    begun = await start(server, TASKS)
    taken, figures = 1, {}
    for size in sizes:
        await asyncio.gather(*(_repeat(task, "more", size // 2 - taken) for task in begun))
        rounds = []
        for _ in range(5):
            before = server.cpu()
            await asyncio.gather(*(_repeat(task, "more", 2) for task in begun))
            rounds.append((server.cpu() - before) / (2 * TASKS) * 1e6)
        taken = size // 2 + 10
        figures[str(size)] = statistics.median(rounds)
    return _with_growth(figures)


async def _chunks(server: Server, sizes: Sequence[int], tasks: int) -> dict[str, float]:
    begun = await start(server, tasks, str(sizes[0]))
    held, figures = sizes[0], {}
    for size in sizes:
        while held < size:
            more = min(size - held, 500)
            await asyncio.gather(*(task.turn(str(more)) for task in begun))
            held += more
        costs = []
        for _ in range(3):
            empty = await _cost(server, begun, "0")
            costs.append((await _cost(server, begun, "100") - empty) / 100 * 1e6)
            held += 100
        figures[str(size)] = statistics.median(costs)
    return _with_growth(figures)


async def _cost(server: Server, begun: Sequence[Begun], text: str) -> float:
    before = server.cpu()
    await asyncio.gather(*(task.turn(text) for task in begun))
    return (server.cpu() - before) / len(begun)


async def _repeat(task: Begun, text: str, times: int) -> None:
    for _ in range(times):
        await task.turn(text)


def _with_growth(figures: dict[str, float]) -> dict[str, float]:
    values = list(figures.values())
    return {**figures, "growth": values[-1] / values[0]}
