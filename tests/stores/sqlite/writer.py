"""A process that appends until it is killed, and prints each task id once it was acknowledged."""

from __future__ import annotations

import sys

import anyio

from greenroom.protocol.types import TaskState
from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import Append, Entry, Header, Kind, SendRecord
from greenroom.stores.sqlite import SQLiteStore

SCOPE = TaskScope("acme", "desk", "ann")


def append(task_id: str, entries: int = 4) -> Append:
    return Append(
        header=Header(
            task_id, SCOPE, "context", TaskState.COMPLETED, b"{}", entries, entries, 1.0, 1.0
        ),
        entries=[
            Entry(1, Kind.MESSAGE, b"{}"),
            *(Entry(n, Kind.EVENT, b"x" * 300, n) for n in range(2, entries + 1)),
        ],
        sends=[SendRecord(task_id.encode(), "m", 1.0, task_id)],
    )


async def main(path: str) -> None:
    store = SQLiteStore(path)
    await store.open(now=0.0)
    number = 0
    while True:
        names = [f"{number + n:06d}" for n in range(8)]
        await store.append([append(name) for name in names], now=0.0)
        number += len(names)
        print(*names, sep="\n", flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
