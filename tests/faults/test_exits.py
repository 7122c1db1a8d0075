"""An exit in a coroutine that a handler starts ends that handler's task, and no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.interpreters import pythons
from tests.support.servers import as_process

AGENTS = str(Path(__file__).with_name("harmful.py"))
ASYNCIO = ("gather", "create_task", "forgotten", "TaskGroup", "wait_for", "nested", "anyio")
LOOPS = {
    "asyncio": ((), ASYNCIO),
    "uvloop": (("--set", "loop=uvloop"), ASYNCIO),
    "trio": (("--set", "backend=trio"), ("trio", "anyio")),
}


@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize(("how", "name"), [("exit", "SystemExit"), ("interrupt", "Keyboard")])
@pytest.mark.parametrize("loop", LOOPS)
def test_an_exit_beside_a_handler_fails_its_task_alone(
    loop: str, how: str, name: str, python: str
) -> None:
    arguments, places = LOOPS[loop]
    commands = [f"leave {place} {how}" for place in places]
    commands.append(f"leave-in-step {places[0]} {how}")
    with as_process(
        "--store", "memory://", *arguments, agents=(f"{AGENTS}:agent",), python=python
    ) as server:
        neighbour = server.send("wait 0.5", immediately=True)["task"]["id"]
        for command in commands:
            task = server.send(command)["task"]
            assert task["status"]["state"] == "TASK_STATE_FAILED", command
        [answer] = server.send("hello")["task"]["artifacts"]
        assert answer["parts"] == [{"text": "You said: hello"}]
        state = ""
        while state != "TASK_STATE_COMPLETED":
            state = server.rpc("GetTask", {"id": neighbour})["result"]["status"]["state"]
            assert state in ("TASK_STATE_WORKING", "TASK_STATE_COMPLETED")
        assert server.stop() == 0
    assert name in server.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_exit_on_the_event_loop_of_a_plain_handler_fails_its_task_alone(loop: str) -> None:
    arguments, _ = LOOPS[loop]
    with as_process("--store", "memory://", *arguments, agents=(f"{AGENTS}:plain",)) as server:
        for how in ("exit", "interrupt"):
            assert server.send(how)["task"]["status"]["state"] == "TASK_STATE_FAILED"
        assert server.send("fine")["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert server.stop() == 0
