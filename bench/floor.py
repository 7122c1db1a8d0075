"""What do the servers themselves cost? 300 bytes of JSON in, 400 out, nothing done."""

from __future__ import annotations

from . import wire
from .race import Figures, Options, Table, loaded, per_request, race
from .server import Contender, Server

CONTENDERS = [Contender("noop", server="uvicorn"), Contender("noop", server="hypercorn")]


async def measure(options: Options) -> list[Table]:
    async def job(server: Server) -> Figures:
        sample, cpu = await loaded(
            server, wire.send("hello" * 25), expect=b'"result"', seconds=options.seconds
        )
        return per_request(sample, cpu)

    rows = await race(CONTENDERS, job, options.rounds)
    return [Table("no-op ASGI application, 16 connections", rows, ("cpu µs",))]
