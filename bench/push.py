"""What does push cost a send? In one process, in turn: without push, with push and no webhook, and
with a webhook for each task.

Nothing is delivered (the deliverer never answers), so the figures are those of the send path: what
a configuration adds to the commit, and what a reader of the journal costs the others.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from msgspec import structs

from greenroom import Agent, SQLiteStore, TaskContext
from greenroom.protocol import operations as ops
from greenroom.protocol.types import (
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    TaskPushNotificationConfig,
)
from greenroom.runtime.call import Call
from greenroom.runtime.push.ports import Answer, Webhooks
from greenroom.runtime.runtime import Runtime

from .race import Options, Table

_SENDS = 300
_AT_ONCE = 16


class NoAnswer:
    """A deliverer whose receivers never answer."""

    async def check(self, url: str) -> None:
        pass

    async def deliver(
        self, url: str, headers: Mapping[str, str], body: bytes, *, now: float
    ) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError

    async def close(self) -> None:
        pass


def _agent() -> Agent:
    agent = Agent("bench")

    @agent.handler
    async def reply(ctx: TaskContext) -> None:
        await ctx.artifact("reply", f"You said: {ctx.text}")

    return agent


def _request(webhook: bool) -> SendMessageRequest:
    configuration = SendMessageConfiguration(history_length=0)
    if webhook:
        config = TaskPushNotificationConfig(url="https://hook.test/")
        configuration = structs.replace(configuration, task_push_notification_config=config)
    message = Message(message_id=str(uuid.uuid4()), role=Role.USER, parts=[Part(text="hello")])
    return SendMessageRequest(message=message, configuration=configuration)


async def _round(runtime: Runtime, webhook: bool) -> float:
    """Return the CPU time of one send, in microseconds."""
    left = [_SENDS]

    async def caller() -> None:
        while left[0] > 0:
            left[0] -= 1
            await runtime.dispatch(Call(binding="BENCH"), ops.SEND, _request(webhook))

    began = time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(_AT_ONCE):
            group.start_soon(caller)
    return (time.process_time() - began) / _SENDS * 1e6


async def measure(options: Options) -> list[Table]:
    names = {"without push": False, "push, no webhook": False, "one webhook a task": True}
    taken: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            runtimes: dict[str, Runtime] = {}
            for number, name in enumerate(names):
                store = SQLiteStore(Path(folder) / f"{number}.db", durability="relaxed")
                push = Webhooks(deliverer=NoAnswer()) if number else None
                runtimes[name] = await stack.enter_async_context(
                    Runtime(_agent(), store=store, push=push)
                )
            for name, webhook in names.items():
                await _round(runtimes[name], webhook)
            for _ in range(options.rounds * 4):
                for name, webhook in names.items():
                    taken[name].append(await _round(runtimes[name], webhook))
    rows = {name: {"cpu µs": statistics.median(figures)} for name, figures in taken.items()}
    return [Table("a send with and without webhooks, SQLite (relaxed)", rows, ("cpu µs",))]
