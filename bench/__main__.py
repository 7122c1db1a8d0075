"""Answer all questions, or the named ones: `python -m bench [send stream …] [--quick]`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
from pathlib import Path

from . import environment, report
from .race import Options, Table
from .server import LOAD_CORE, pin

QUESTIONS = (
    "floor", "send", "stream", "get_task", "sqlite_send", "long_tasks", "memory",
    "grpc_send", "grpc_shares", "embedded",
    "replay", "waiting", "auth", "client", "push",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("questions", nargs="*", choices=[*QUESTIONS, []], metavar="question")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load per round")
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second")
    parser.add_argument("--peers", default="", help="race only these, comma separated")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    environment.ensure()
    pin(os.getpid(), LOAD_CORE)
    gc.freeze()

    peers = frozenset(filter(None, asked.peers.split(",")))
    options = Options(asked.rounds, asked.seconds, peers)
    if asked.quick:
        options = Options(3, 0.5, peers)
    described = report.machine()
    print(", ".join(f"{key} {value}" for key, value in described.items()), "\n", flush=True)
    tables: list[Table] = []
    for name in asked.questions or QUESTIONS:
        question = importlib.import_module(f"bench.{name}")
        for table in asyncio.run(question.measure(options)):
            tables.append(table)
            print(report.text(table), flush=True)
    if asked.json:
        asked.json.write_text(report.as_json(described, tables))


if __name__ == "__main__":
    main()
