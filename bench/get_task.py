"""What does one GetTask of a finished task cost, over 16 connections?"""

from __future__ import annotations

from . import wire
from .race import COMPARED, Figures, Options, Table, loaded, per_request, race
from .server import Contender, Server
from .tasks import start

CONTENDERS = [
    Contender("sdk"),
    Contender("greenroom"),
    Contender("greenroom", server="hypercorn"),
    Contender("noop"),
    Contender("noop", server="hypercorn"),
]


async def measure(options: Options) -> list[Table]:
    known: dict[Server, str] = {}

    async def job(server: Server) -> Figures:
        if server.contender.peer == "noop":
            request, expect = wire.get_task("none"), b'"result"'
        else:
            if server not in known:
                known[server] = (await start(server, 1))[0].id
            request, expect = wire.get_task(known[server]), wire.COMPLETED
        sample, cpu = await loaded(server, request, expect=expect, seconds=options.seconds)
        return per_request(sample, cpu)

    rows = await race(options.invited(CONTENDERS), job, options.rounds)
    return [Table("GetTask of a finished task, 16 connections", rows, COMPARED)]
