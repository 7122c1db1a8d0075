"""Servers that deliver webhooks to this machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

from greenroom import Agent, InputRequired, TaskContext
from greenroom.pushing import webhooks_of
from greenroom.runtime.push.ports import Webhooks
from greenroom.runtime.settings.push import PushSettings
from greenroom.runtime.settings.settings import RuntimeSettings
from tests.support.receiver import Delivery, Receiver
from tests.support.servers import OnSockets, on_sockets

QUICK = RuntimeSettings(sweep_every=0.02)


def local(**settings: Any) -> Webhooks:
    """Webhooks to every address, with short delays."""
    defaults: dict[str, Any] = {"allow_private": True, "first_delay": 0.02, "max_delay": 0.1}
    found = webhooks_of(PushSettings(**{**defaults, **settings}))
    assert found is not None
    return found


def agent() -> Agent:
    """Says "one" and "two" in chunks, asks if told to, and completes."""
    made = Agent("Teller")

    @made.handler
    async def tell(ctx: TaskContext) -> Any:
        if ctx.text == "ask":
            return InputRequired("more?")
        async with ctx.artifact("words") as words:
            await words.write("one")
            await words.write("two")
        return None

    return made


@asynccontextmanager
async def serving(webhooks: Webhooks | None = None, **more: Any) -> AsyncGenerator[OnSockets, None]:
    async with on_sockets(
        agent(), push=webhooks or local(), settings=more.pop("settings", QUICK), **more
    ) as served:
        yield served


async def until(
    receiver: Receiver, condition: Callable[[list[Delivery]], Any], within: float = 20.0
) -> Any:
    """Wait for the ledger of a receiver."""
    return await anyio.to_thread.run_sync(receiver.wait_for, condition, within)
