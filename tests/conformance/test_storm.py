"""A hundred thousand malformed requests: the protocol's errors, no traceback, no change.

``storm.py`` damages valid requests of all dialects. Every answer is looked at, and the store is
watched: a request that was refused has written nothing.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import Wire, opened

from .conftest import START, said
from .dialects import REST
from .storm import Attack, damaged

pytestmark = pytest.mark.anyio

ROUND = 2_000
"""Refusals by one server; then comes a new one, so that no run depends on much that was before."""
STATUSES = {400, 401, 403, 404, 405, 413, 415}


class WatchedStore(MemoryStore):
    """Counts what is written."""

    writes = 0

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        self.writes += len(batch)
        return await super().append(batch, now=now)


class Complaints(logging.Handler):
    """Collects what a person on call would be woken for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "secret cause" not in text and (record.exc_info or record.levelno >= logging.ERROR):
            # "fail" messages make their agent raise: that is in the log, under the task's id.
            if record.exc_info and "the secret cause" in str(record.exc_info[1]):
                return
            self.found.append(text)


class Target:
    """A server under attack, with a task in each kind of state."""

    def __init__(self, app: Application, store: WatchedStore, tasks: list[str]) -> None:
        self.app = app
        self.store = store
        self.tasks = tasks
        self.made: set[str] = set()
        self.refused = self.taken = self.silent = 0

    async def attack(self, attack: Attack) -> None:
        before = self.store.writes
        async with opened(
            self.app, attack.method, attack.target, headers=attack.headers, body=attack.body
        ) as wire:
            await wire.until(lambda: wire.returned or (wire.chunks and not wire.over))
            if wire.error is not None:
                raise wire.error
        if self._refused(attack, wire):
            self.refused += 1
            assert self.store.writes == before, f"refused, and something was written: {attack}"
        else:
            await self._settled()

    def _refused(self, attack: Attack, wire: Wire) -> bool:
        """Look at an answer; return whether it refuses."""
        answer = wire.response
        assert answer.status < 500, (attack, answer.body)
        if answer.status == 204:
            self.silent += 1  # a notification, or OPTIONS
            return attack.method == "OPTIONS"
        if attack.method == "HEAD" or answer.status == 304:
            assert answer.body == b""
            return answer.status in STATUSES
        if answer["content-type"].startswith("text/plain"):
            return False  # the metrics
        assert b"-32603" not in answer.body, (attack, answer.body)
        if answer["content-type"] == "text/event-stream":
            body = json.loads(answer.events[0].data)
        else:
            body = answer.json
        wrong = isinstance(body, dict) and ("error" in body or "code" in body)
        if answer.status != 200:
            assert answer.status in STATUSES, (attack, answer.status, answer.body)
            assert wrong, (attack, answer.body)
        if wrong:
            return True
        self.taken += 1
        result = body.get("result", body) if isinstance(body, dict) else None
        task = result.get("task", result) if isinstance(result, dict) else None
        if isinstance(task, dict) and "status" in task:
            self.made.add(task["id"])
        return False

    async def _settled(self) -> None:
        """Wait until what was taken has been done."""
        quiet, writes = 0, self.store.writes
        while quiet < 30:
            await anyio.lowlevel.checkpoint()
            quiet = quiet + 1 if self.store.writes == writes else 0
            writes = self.store.writes


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    stage = Stage()
    stage.go.set()
    store = WatchedStore()
    app = Application(Runtime(stage.agents, store=store, clock=LoopClock(START)))
    async with app.lifespan():
        tasks = []
        for text in ("ask", "hi", "reject", "auth"):
            answer = await REST.call(app, "SendMessage", said(text))
            tasks.append(answer.task["id"])
        value = Target(app, store, tasks)
        yield value
        total = (await REST.call(app, "ListTasks")).result["totalSize"]
        known = len(value.made | set(tasks))
        assert known <= total <= known + value.silent + value.taken
        for task in tasks:  # the store and the actors still agree, and still work
            assert (await REST.call(app, "GetTask", {"id": task})).task["id"] == task


async def storm(count: int, seed: int) -> dict[str, int]:
    complaints = Complaints()
    root = logging.getLogger()
    root.addHandler(complaints)
    counts = {"refused": 0, "taken": 0, "silent": 0}
    number = 0
    try:
        while counts["refused"] < count:
            async with target() as under:
                while under.refused < min(ROUND, count):
                    number += 1
                    await under.attack(damaged(under.tasks, random.Random(seed * 10**9 + number)))
            for name in counts:
                counts[name] += getattr(under, name)
    finally:
        root.removeHandler(complaints)
    assert complaints.found == []
    return counts


async def test_malformed_requests_change_nothing() -> None:
    await storm(1_500, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_hundred_thousand_malformed_requests_change_nothing(
    virtual_backend: tuple[str, Any],
) -> None:
    count = 100_000 if virtual_backend[0] == "asyncio" else 20_000
    print(await storm(count, seed=2))
