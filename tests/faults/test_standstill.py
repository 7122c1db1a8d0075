"""A server that stood still, whose clock was set, or that crashed: slowed down, nothing failed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.stores.sqlite import SQLiteStore
from tests.support.drive import Caller
from tests.support.processes import Process
from tests.support.servers import as_process

AGENT = f"{Path(__file__).with_name('harmful.py')}:agent"


def wait_until(condition: Callable[[], Any], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["blocked", "stopped"])
def test_neighbours_of_a_standstill_longer_than_the_lease_are_slowed_down_only(
    how: str, backend: str, tmp_path: Path
) -> None:
    arguments = (
        "--store", f"sqlite:///{tmp_path}/tasks.db", "--set", "runtime.lease=1.5",
        "--set", f"backend={backend}",
    )  # fmt: skip
    answers: list[str] = []
    with as_process(*arguments, agents=(AGENT,)) as server:

        def send(text: str) -> None:
            answer = server.send(text)
            answers.append(answer["task"]["status"]["state"])

        threads = [threading.Thread(target=send, args=("wait 5",)) for _ in range(3)]
        threads.append(threading.Thread(target=send, args=("step 5",)))
        for thread in threads:
            thread.start()
        wait_until(lambda: len(server.rpc("ListTasks", {})["result"]["tasks"]) == 4)
        if how == "blocked":
            send("block 3")
        else:
            os.kill(server.process.pid, signal.SIGSTOP)
            time.sleep(3)  # the standstill
            os.kill(server.process.pid, signal.SIGCONT)
        for thread in threads:
            thread.join(30)
        assert set(answers) == {"TASK_STATE_COMPLETED"}
        assert server.send("hello")["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert server.stop() == 0
    assert "lease of this node ran out" in server.log
    assert "stood still for" in server.log
    assert "restart" not in server.log
    assert '"level":"error"' not in server.log


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


@pytest.mark.anyio
@pytest.mark.parametrize("step", [60.0, 86_400.0, -3600.0])
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_clock_that_is_set_fails_nothing(
    step: float, tmp_path: Path, caplog: pytest.LogCaptureFixture, anyio_backend: str
) -> None:
    clock, agent, starts = Clock(), Agent("Clock"), []
    reached, go = anyio.Event(), anyio.Event()

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        starts.append(ctx.text)
        if len(starts) == 2:
            reached.set()
        await go.wait()
        if ctx.text == "step":
            await ctx.step(anyio.sleep, 0)
        return "done"

    settings = RuntimeSettings(lease=0.6, sweep_every=0.1, task_retention=None)
    store = SQLiteStore(tmp_path / "tasks.db")
    async with Runtime(agent, store=store, settings=settings, clock=clock) as runtime:
        peer = Caller(runtime)
        node = runtime.system.node
        tasks = [await peer.send("plain", now=True), await peer.send("step", now=True)]
        await reached.wait()
        clock.ahead = step
        if step > 0:
            with anyio.fail_after(10):
                while runtime.system.node == node:  # noqa: ASYNC110 - until a heartbeat sees it
                    await anyio.sleep(0.01)
        go.set()
        for task in tasks:
            assert (await peer.over(task.id)).status.state is TaskState.COMPLETED
        assert sorted(starts) == ["plain", "step"]
    if step > 0:
        assert "the wall clock went" in caplog.text


def test_no_task_waits_for_a_step_that_hangs_after_crashes(tmp_path: Path) -> None:
    arguments = ("--store", f"sqlite:///{tmp_path}/tasks.db", "--set", "runtime.sweep_every=0.1")
    with as_process(*arguments, agents=(AGENT,)) as server:
        hangs = server.send("step 3000", immediately=True)["task"]["id"]
        others = [server.send("step 1.5", immediately=True)["task"]["id"] for _ in range(6)]
        wait_until(lambda: all_in(server, "TASK_STATE_WORKING") == 7)
        time.sleep(0.2)
        server.process.kill()
    for _ in range(2):
        with as_process(*arguments, agents=(AGENT,)) as server:
            time.sleep(1)  # it takes its tasks up
            server.process.kill()
    with as_process(*arguments, agents=(AGENT,)) as server:
        wait_until(lambda: all_in(server, "TASK_STATE_COMPLETED") == 6, within=30)
        task = server.rpc("GetTask", {"id": hangs})["result"]
        assert task["status"]["state"] == "TASK_STATE_WORKING"
        assert others
    assert json.loads(server.log.splitlines()[0])


def all_in(server: Process, state: str) -> int:
    tasks = server.rpc("ListTasks", {})["result"]["tasks"]
    return sum(task["status"]["state"] == state for task in tasks)
