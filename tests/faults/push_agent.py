"""The agent whose webhooks are delivered while its server is killed, and where it kills itself.

``FAULT_KILL_AT=n``: the process dies by SIGKILL at the n-th *point*: before and after every commit
of a task, every commit of a cursor, every read of a delivery and every attempt. ``FAULT_POINTS``
names a file that gets a line for each point.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import anyio

from greenroom import Agent, TaskContext
from greenroom.stores.sqlite import SQLiteStore
from greenroom.transports.push.delivery import HttpDelivery

agent = Agent("Pusher", "Tells webhooks what it does.", on_interrupt="resume")
T = TypeVar("T")

_KILL_AT = int(os.environ.get("FAULT_KILL_AT", "0"))
_POINTS = os.environ.get("FAULT_POINTS")
_passed = 0
_begun = False


@agent.handler
async def act(ctx: TaskContext) -> str:
    global _begun
    _begun = True
    for number in range(3):
        await ctx.status(f"step {number}")
        await ctx.step(work)
        async with ctx.artifact(f"text {number}") as text:
            await text.write("one ")
            await text.write("two ")
            await text.write("three")
    return "done"


async def work() -> int:
    await anyio.sleep(0.002)
    return 1


def point(name: str) -> None:
    """Die here, if this is the place."""
    global _passed
    if not _begun:
        return
    _passed += 1
    if _POINTS:
        with open(_POINTS, "a") as file:
            file.write(f"{_passed} {name}\n")
    if _passed == _KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def _with_points(owner: type, name: str) -> None:
    method: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @wraps(method)
    async def passing(*args: Any, **kwargs: Any) -> Any:
        point(f"before {name}")
        found = await method(*args, **kwargs)
        point(f"after {name}")
        return found

    setattr(owner, name, passing)


if _KILL_AT or _POINTS:
    for _name in ("append", "pushes", "push", "events", "save_pushes"):
        _with_points(SQLiteStore, _name)
    _with_points(HttpDelivery, "deliver")
