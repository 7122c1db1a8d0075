"""What does one send cost when the task is fsynced (WAL, synchronous=FULL) before the answer?

The SDK on its memory store runs along: disk against memory is a ratio of its own.
"""

from __future__ import annotations

from . import wire
from .race import COMPARED, Figures, Options, Table, loaded, per_request, race
from .server import Contender, Server

CONTENDERS = [
    Contender("sdk", store="sqlite"),
    Contender("sdk"),
    Contender("greenroom", store="sqlite"),
    Contender("greenroom", server="hypercorn", store="sqlite"),
]


async def measure(options: Options) -> list[Table]:
    async def job(server: Server) -> Figures:
        sample, cpu = await loaded(
            server, wire.send(), expect=wire.COMPLETED, seconds=options.seconds
        )
        return per_request(sample, cpu)

    rows = await race(options.invited(CONTENDERS), job, options.rounds)
    return [Table("blocking send of a task on SQLite, strict, 16 connections", rows, COMPARED)]
