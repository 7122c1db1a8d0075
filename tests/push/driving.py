"""A runtime in virtual time, and a receiver that is a port instead of a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec import Struct

from greenroom import Agent, TaskContext
from greenroom.protocol import operations as ops
from greenroom.protocol.types import (
    SendMessageConfiguration,
    SendMessageRequest,
    TaskPushNotificationConfig,
)
from greenroom.runtime.call import Call, TaskScope
from greenroom.runtime.journal.entries import PushRow
from greenroom.runtime.push.ports import Answer, Webhooks
from greenroom.runtime.push.records import Health, health_of
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.push import PushSettings
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock
from tests.support.drive import user

SCOPE = TaskScope("", "teller", "anonymous")


class Attempt(Struct, frozen=True):
    """One attempt, and when it was made."""

    at: float
    url: str
    headers: Mapping[str, str]
    body: bytes
    answer: Answer

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class PortReceiver:
    """A ``Deliverer`` whose answers a test decides."""

    def __init__(self, answer: Callable[[str, int], Answer] | None = None) -> None:
        """``answer`` gets the URL and the number of the attempt."""
        self.answer = answer or (lambda url, number: Answer(200))
        self.attempts: list[Attempt] = []
        self.takes = 0.0
        """Seconds until the answer."""
        self.under_way: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def check(self, url: str) -> None:
        pass

    async def deliver(
        self, url: str, headers: Mapping[str, str], body: bytes, *, now: float
    ) -> Answer:
        self.under_way[url] = self.under_way.get(url, 0) + 1
        self.most[url] = max(self.most.get(url, 0), self.under_way[url])
        await anyio.sleep(self.takes)
        self.under_way[url] -= 1
        answer = self.answer(url, len(self.attempts))
        self.attempts.append(Attempt(now, url, headers, body, answer))
        return answer

    async def close(self) -> None:
        pass

    def delivered(self, url: str | None = None) -> list[bytes]:
        """The bodies that were accepted, without the repeats."""
        found = {
            one.id: one.body
            for one in self.attempts
            if one.answer.status == 200 and url in (None, one.url)
        }
        return list(found.values())


class Driven:
    """A runtime, and what a test asks of it."""

    def __init__(self, runtime: Runtime, store: MemoryStore, clock: LoopClock) -> None:
        self.clock = clock
        self.runtime = runtime
        self.store = store

    def now(self) -> float:
        return self.clock.now()

    async def send(self, text: str = "tell", *urls: str, version: str = "1.0", **more: Any) -> str:
        """Begin a task that ``urls`` are told of; return its id."""
        first, *others = urls or ("https://one.test/hook",)
        config = TaskPushNotificationConfig(url=first, id="hook 0", **more)
        configuration = SendMessageConfiguration(
            task_push_notification_config=config, return_immediately=True
        )
        request = SendMessageRequest(message=user(text), configuration=configuration)
        call = Call(binding="TEST", version=version)
        task = (await self.runtime.dispatch(call, ops.SEND, request)).task.id
        for number, url in enumerate(others, 1):
            await self.create(task, url=url, id=f"hook {number}", version=version)
        return str(task)

    async def create(
        self, task: str, version: str = "1.0", extensions: tuple[str, ...] = (), **more: Any
    ) -> TaskPushNotificationConfig:
        call = Call(binding="TEST", version=version, extensions=extensions)
        config = TaskPushNotificationConfig(task_id=task, **more)
        made: TaskPushNotificationConfig = await self.runtime.dispatch(
            call, ops.CREATE_PUSH, config
        )
        return made

    async def row(self, task: str, push: str = "hook 0") -> PushRow:
        found = await self.store.push(SCOPE, task, push)
        assert found is not None
        return found

    async def health(self, task: str, push: str = "hook 0") -> Health:
        return health_of(await self.row(task, push))

    async def events(self, task: str) -> list[bytes]:
        page = await self.store.events(SCOPE, task, after=1, limit=10_000)
        assert page is not None
        return [body for _, body in page.events]


def teller() -> Agent:
    agent = Agent("Teller")

    @agent.handler
    async def tell(ctx: TaskContext) -> None:
        for number in range(3):
            await ctx.status(f"step {number}")
            async with ctx.artifact(f"text {number}") as text:
                for word in ("one", "two", "three"):
                    await text.write(word)
            await anyio.sleep(float(ctx.text) if ctx.text.isdigit() else 0.01)

    return agent


@asynccontextmanager
async def driven(
    receiver: PortReceiver, store: MemoryStore | None = None, **settings: Any
) -> AsyncGenerator[Driven, None]:
    store = store or MemoryStore()
    clock = LoopClock()
    webhooks = Webhooks(deliverer=receiver, settings=PushSettings(**settings))
    runtime = Runtime(
        teller(),
        store=store,
        clock=clock,
        push=webhooks,
        exclusive=True,
        settings=RuntimeSettings(sweep_every=300.0),
    )
    async with runtime:
        yield Driven(runtime, store, clock)
