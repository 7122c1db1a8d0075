"""What does waiting cost in memory? An idle open stream; a task that waits for input, awake."""

from __future__ import annotations

import asyncio

from . import wire
from .load import Connection
from .race import Options, Table
from .server import Contender, Server

STREAMS = 500
WAITING = 4000


async def measure(options: Options) -> list[Table]:
    rows: dict[str, dict[str, float]] = {}
    contenders = [("sdk", "uvicorn"), ("greenroom", "uvicorn"), ("greenroom", "hypercorn")]
    for peer, server_name in contenders:
        if options.peers and peer not in options.peers:
            continue
        with Server(Contender(peer, "idle", server_name)) as server:
            streams = await _streams(server)
        with Server(Contender(peer, "ask", server_name)) as server:
            waiting = await _waiting(server)
        rows[server.contender.name] = {"kB/idle stream": streams, "kB/waiting task": waiting}
    return [
        Table("resident memory of what only waits", rows, ("kB/idle stream", "kB/waiting task"))
    ]


async def _open(server: Server) -> Connection:
    connection = await Connection.open(server.port)
    await connection.ask(wire.send(stream=True)(), until=b'"TASK_STATE_WORKING"')
    return connection


async def _streams(server: Server) -> float:
    opened = [await _open(server) for _ in range(50)]  # what the first ones load is not theirs
    before = server.rss()
    for _ in range(STREAMS // 50):
        opened += await asyncio.gather(*(_open(server) for _ in range(50)))
    grown = server.rss() - before
    for connection in opened:
        connection.close()
    return grown / STREAMS / 1e3


async def _waiting(server: Server) -> float:
    async def begin(count: int) -> None:
        connections = [await Connection.open(server.port) for _ in range(8)]
        request = wire.send()

        async def some(connection: Connection) -> None:
            for _ in range(count // len(connections)):
                answer = await connection.ask(request())
                if wire.INPUT_REQUIRED not in answer.body:
                    raise ValueError(f"the task does not wait: {answer.body[-600:]!r}")

        await asyncio.gather(*(some(connection) for connection in connections))
        for connection in connections:
            connection.close()

    await begin(400)
    before = server.rss()
    await begin(WAITING)
    return (server.rss() - before) / WAITING / 1e3
