"""What does a call cost the client, and a streamed event? Both clients, one server, one at a time.

The figure is the CPU time of the client's process: a call makes a task and waits for its end over
a stream, as both clients do by default. The second table is streams of 100 chunks.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from typing import Any

import anyio.to_thread

from . import environment
from .race import Options, Table
from .server import LOAD_CORE, Contender, Server, pin

CALLS = {"task": 150, "together": 20}


async def measure(options: Options) -> list[Table]:
    tables = []
    for agent, way in (("task", "run"), ("together", "stream")):
        seen: dict[str, list[dict[str, float]]] = {"sdk": [], "greenroom": []}
        with Server(Contender("greenroom", agent)) as server:
            for _ in range(options.rounds):
                for who, figures in seen.items():
                    asked = (who, server.port, agent, way)
                    figures.append(await anyio.to_thread.run_sync(_asked, *asked))
        rows = {
            f"{who} client": {
                key: statistics.median(one[key] for one in figures) for key in figures[0]
            }
            for who, figures in seen.items()
        }
        title = f"client: {way} of the agent {agent!r}"
        tables.append(Table(title, rows, ("calls/cpu s", "events/cpu s")))
    return tables


def _asked(who: str, port: int, agent: str, way: str) -> dict[str, float]:
    command = [str(environment.PYTHON), "-m", "bench.peers.client_load", who]
    process = subprocess.Popen(
        [*command, f"http://127.0.0.1:{port}", way, str(CALLS[agent])],
        cwd=environment.ROOT,
        stdout=subprocess.PIPE,
    )
    pin(process.pid, LOAD_CORE)
    output, _ = process.communicate()
    answer: dict[str, Any] = json.loads(output)
    return {
        "cpu µs/call": answer["cpu"] / answer["calls"] * 1e6,
        "calls/cpu s": answer["calls"] / answer["cpu"],
        "cpu µs/event": answer["cpu"] / answer["events"] * 1e6,
        "events/cpu s": answer["events"] / answer["cpu"],
        "events/call": answer["events"] / answer["calls"],
    }
