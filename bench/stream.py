"""What does one streamed event cost? 100 text chunks per task over SSE, 16 streams at a time.

Paced: the agent yields to the loop between chunks, so they come one by one. Together: it does not.
`events/write` tells how many events left the server in one HTTP chunk.
"""

from __future__ import annotations

from . import wire
from .race import Figures, Options, Table, loaded, race
from .server import Contender, Server


async def measure(options: Options) -> list[Table]:
    tables = []
    for agent in ("paced", "together"):
        contenders = [
            Contender("sdk", agent),
            Contender("fasta2a", agent),
            Contender("greenroom", agent),
            Contender("greenroom", agent, "hypercorn"),
        ]

        async def job(server: Server) -> Figures:
            request, expect = wire.send(stream=True), wire.COMPLETED
            if server.contender.peer == "fasta2a":
                request, expect = wire.fasta2a_send(stream=True), b'"completed"'
            sample, cpu = await loaded(
                server, request, expect=expect, seconds=options.seconds, streaming=True
            )
            return {
                "cpu µs/event": cpu / sample.events * 1e6,
                "events/cpu s": sample.events / cpu,
                "events/task": sample.events / sample.requests,
                "events/write": sample.events / sample.writes,
                "p50 ms": sample.p50 * 1e3,
                "p99 ms": sample.p99 * 1e3,
            }

        rows = await race(options.invited(contenders), job, options.rounds)
        tables.append(Table(f"stream of 100 chunks, {agent}", rows, ("events/cpu s", "p99 ms")))
    return tables
