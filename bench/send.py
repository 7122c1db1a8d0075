"""What does one send cost? Blocking JSON-RPC, 16 connections: a task, a direct message.

fasta2a answers without waiting for the work, which its CPU time includes all the same.
"""

from __future__ import annotations

from . import wire
from .race import COMPARED, Figures, Options, Table, loaded, per_request, race
from .server import Contender, Server


async def measure(options: Options) -> list[Table]:
    tables = []
    for agent, expect in (("task", wire.COMPLETED), ("message", b'"ROLE_AGENT"')):
        contenders = [
            Contender("sdk", agent),
            Contender("greenroom", agent),
            Contender("greenroom", agent, "hypercorn"),
            Contender("noop"),
            Contender("noop", server="hypercorn"),
        ]
        if agent == "task":
            contenders.insert(1, Contender("fasta2a", agent))

        async def job(server: Server, expect: bytes = expect) -> Figures:
            request, answer = wire.send(), expect
            if server.contender.peer == "fasta2a":
                request, answer = wire.fasta2a_send(), b'"status":{"state":'
            elif server.contender.peer == "noop":
                answer = b'"result"'
            sample, cpu = await loaded(server, request, expect=answer, seconds=options.seconds)
            return per_request(sample, cpu)

        contenders = options.invited(contenders)
        rows = await race(contenders, job, options.rounds)
        for contender in contenders:
            floor = rows.get(f"noop on {contender.server}")
            if floor is not None:
                figures = rows[contender.name]
                figures["over no-op µs"] = figures["cpu µs"] - floor["cpu µs"]
        tables.append(Table(f"blocking send of a {agent}, 16 connections", rows, COMPARED))
    return tables
