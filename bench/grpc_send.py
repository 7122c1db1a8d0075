"""What does gRPC cost? 32 calls at a time: a task, a direct message, 100 streamed chunks."""

from __future__ import annotations

from . import grpc_load
from .load import Sample
from .race import COMPARED, Figures, Options, Table, per_request, race
from .server import Contender, Server


async def _measured(
    server: Server, options: Options, *, method: str, expect: bytes, streaming: bool = False
) -> tuple[Sample, float]:
    before = server.cpu()
    sample = await grpc_load.hammer(
        server.port, method, expect=expect, seconds=options.seconds, streaming=streaming
    )
    return sample, server.cpu() - before


def _contenders(agent: str) -> list[Contender]:
    return [
        Contender("sdk_grpc", agent, "asyncio"),
        Contender("sdk_grpc", agent, "uvloop"),
        Contender("greenroom_grpc", agent, "asyncio"),
        Contender("greenroom_grpc", agent, "uvloop"),
    ]


async def measure(options: Options) -> list[Table]:
    tables = []
    for agent in ("task", "message"):

        async def unary(server: Server) -> Figures:
            sample, cpu = await _measured(
                server, options, method="SendMessage", expect=grpc_load.ANSWERED
            )
            return per_request(sample, cpu)

        rows = await race(options.invited(_contenders(agent)), unary, options.rounds)
        tables.append(Table(f"gRPC send of a {agent}, 32 streams", rows, COMPARED))
    for agent in ("paced", "together"):

        async def stream(server: Server) -> Figures:
            sample, cpu = await _measured(
                server,
                options,
                method="SendStreamingMessage",
                expect=b"a chunk of text",
                streaming=True,
            )
            return {
                "cpu µs/event": cpu / sample.events * 1e6,
                "events/cpu s": sample.events / cpu,
                "events/s": sample.events / sample.seconds,
                "events/task": sample.events / sample.requests,
                "events/frame": sample.events / sample.writes,
                "p99 ms": sample.p99 * 1e3,
            }

        rows = await race(options.invited(_contenders(agent)), stream, options.rounds)
        tables.append(Table(f"gRPC stream of 100 chunks, {agent}", rows, ("events/cpu s",)))
    return tables
