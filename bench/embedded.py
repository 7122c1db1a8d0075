"""How even are sends in somebody else's server that has finished many tasks?

The memory store keeps every finished task. A collector of garbage that walks over them now and then
stops the server each time, and the slowest of a hundred sends waits for it. No setting of the
collector is changed: an embedder has what Python starts with.
"""

from __future__ import annotations

from . import wire
from .load import hammer
from .race import Figures, Options, Table, race
from .server import Contender, Server

FINISHED = 200_000
CONNECTIONS = (16, 64)
CONTENDERS = [Contender("greenroom"), Contender("greenroom", server="fastapi")]


async def measure(options: Options) -> list[Table]:
    """Return the median and the 99th percentile of a send, after ``FINISHED`` finished tasks."""

    async def fill(server: Server) -> None:
        finished = 0
        while finished < FINISHED:
            sample = await hammer(
                server.port, wire.send(), expect=wire.COMPLETED, seconds=5.0, connections=64
            )
            finished += sample.requests

    async def job(server: Server) -> Figures:
        figures: dict[str, float] = {}
        for connections in CONNECTIONS:
            sample = await hammer(
                server.port,
                wire.send(),
                expect=wire.COMPLETED,
                seconds=options.seconds,
                connections=connections,
            )
            figures |= {
                f"p50 ms, {connections}": sample.p50 * 1e3,
                f"p99 ms, {connections}": sample.p99 * 1e3,
                f"p99/p50, {connections}": sample.p99 / sample.p50,
            }
        figures["MB"] = server.rss() / 1e6
        return figures

    rows = await race(options.invited(CONTENDERS), job, options.rounds, fill)
    return [Table(f"blocking send of a task after {FINISHED:,} finished ones", rows, ())]
