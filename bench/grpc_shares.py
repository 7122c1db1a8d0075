"""Where does the time of a gRPC call go: HTTP/2, protobuf, Greenroom? In percent of the CPU."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from . import grpc_load
from .race import Options, Table
from .server import Contender, Server

JOBS = (
    ("task", "SendMessage", grpc_load.ANSWERED, False),
    ("message", "SendMessage", grpc_load.ANSWERED, False),
    ("paced", "SendStreamingMessage", b"a chunk of text", True),
)
COLUMNS = (
    "HTTP/2", "gRPC layer", "protobuf", "Greenroom", "agent", "event loop", "other",
)  # fmt: skip


async def measure(options: Options) -> list[Table]:
    rows: dict[str, dict[str, float]] = {}
    for agent, method, expect, streaming in JOBS:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "shares.json")
            os.environ["BENCH_SHARES"] = str(path)
            try:
                with Server(Contender("greenroom_grpc", agent, "asyncio")) as server:
                    await grpc_load.hammer(
                        server.port,
                        method,
                        expect=expect,
                        seconds=options.seconds * 2,
                        streaming=streaming,
                    )
                    counts = json.loads(path.read_text())  # noqa: ASYNC240
            finally:
                del os.environ["BENCH_SHARES"]
        whole = sum(counts.values())
        rows[agent] = {name: counts.get(name, 0) * 100 / whole for name in COLUMNS}
    return [Table("share of the CPU time of gRPC calls, %", rows, ())]
