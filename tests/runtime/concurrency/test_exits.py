"""The task factory that holds exits: for the tasks of handlers, and for nobody else."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from contextvars import ContextVar
from typing import Any

import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.concurrency.exits import HandlerTasks
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from tests.support.drive import Caller

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def agent() -> Agent:
    made = Agent("Leaves")

    async def leave() -> None:
        sys.exit(3)

    @made.handler
    async def handler(ctx: TaskContext) -> None:
        await asyncio.gather(leave(), leave())

    return made


async def test_a_host_keeps_its_factory_and_every_runtime_is_protected() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        made.append(getattr(coroutine, "__qualname__", ""))
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        async with Runtime(agent(), store=MemoryStore()) as first:
            async with Runtime(agent(), store=MemoryStore()) as second:
                for runtime in (first, second):
                    task = await Caller(runtime).send("go")
                    assert task.status.state is TaskState.FAILED
            task = await Caller(first).send("go")
            assert task.status.state is TaskState.FAILED
            assert any("leave" in name for name in made)
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)


async def test_a_task_that_is_cancelled_before_its_turn_leaves_no_warning() -> None:
    handler: ContextVar[Any] = ContextVar("handler", default=None)
    tasks = HandlerTasks.install(handler)
    try:
        handler.set("one")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task = asyncio.get_running_loop().create_task(asyncio.sleep(1, "never"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task
            gc.collect()
        assert await asyncio.create_task(asyncio.sleep(0, "value")) == "value"
    finally:
        tasks.remove()
