"""Start tasks on a server and take turns on them, for questions about tasks with a past."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from . import wire
from .load import Answer, Connection
from .server import Server


@dataclass(frozen=True, slots=True)
class Begun:
    """A task and the connection that talks to it."""

    id: str
    context: str
    connection: Connection

    async def turn(self, text: str, history_length: int = 0) -> Answer:
        request = wire.send(text, task=(self.id, self.context), history_length=history_length)
        answer = await self.connection.ask(request())
        if wire.INPUT_REQUIRED not in answer.body:
            raise ValueError(f"the turn did not end in input-required: {answer.body[-600:]!r}")
        return answer


async def start(server: Server, count: int, text: str = "0") -> list[Begun]:
    """Start `count` tasks by blocking sends, each on a connection of its own."""
    begun = []
    for _ in range(count):
        connection = await Connection.open(server.port)
        answer = await connection.ask(wire.send(text)())
        try:
            task = json.loads(answer.body)["result"]["task"]
        except (ValueError, KeyError):
            raise ValueError(f"no task came back: {answer.body[-600:]!r}") from None
        begun.append(Begun(task["id"], task["contextId"], connection))
    return begun


def ids(body: bytes) -> tuple[str, str]:
    """Task id and context id from the first event of a stream."""
    task = re.search(rb'"id" *: *"([^"]{8,})"', body)
    context = re.search(rb'"contextId" *: *"([^"]+)"', body)
    if task is None or context is None:
        raise ValueError(f"no task in {body[:600]!r}")
    return task[1].decode(), context[1].decode()
