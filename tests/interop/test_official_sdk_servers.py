"""Our client and the servers of the official SDK: whole, and over connections that break."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from greenroom.client import Client, InputRequired, Retries, TaskFailed, Updates
from greenroom.protocol.types import Task, TaskState
from tests.support.clock import on_asyncio
from tests.support.faulty_proxy import Fault, faulty_proxy
from tests.support.paths import ROOT

from .environments import server_interpreter

__all__ = ["on_asyncio"]

pytestmark = pytest.mark.anyio
SCRIPTS = {"1.3.0": "sdk_1_x.py", "0.3.26": "sdk_0_3.py"}
QUICK = Retries(first=0.001, most=0.01)
POLLING = Updates(interval=0.005, longest=0.02)
CHUNKS = 40
WHOLE = "".join(f"{number} " for number in range(CHUNKS))
WAYS = [("1.3.0", "JSONRPC"), ("1.3.0", "HTTP+JSON"), ("0.3.26", "JSONRPC")]
every_way = pytest.mark.parametrize(("version", "binding"), WAYS, ids=["-".join(w) for w in WAYS])


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    processes = []
    urls = {}
    for version, script in SCRIPTS.items():
        path = ROOT / "tests" / "interop" / "servers" / script
        process = subprocess.Popen(
            [str(server_interpreter(version)), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        urls[version] = process.stdout.readline().strip()
    yield urls
    for process in processes:
        process.kill()
        process.communicate()


@every_way
async def test_every_result(servers: dict[str, str], version: str, binding: str) -> None:
    async with Client(servers[version], bindings=[binding]) as agent:
        done = await agent.run("count 3")
        assert isinstance(done, Task)
        assert [artifact.text for artifact in done.artifacts or ()] == ["0 1 2 "]
        asks = await agent.run("ask")
        assert isinstance(asks, InputRequired)
        assert asks.question == "Who are you?"
        answered = await agent.reply(asks, "Bo")
        assert answered.artifacts[-1].text == "Hello Bo"
        with pytest.raises(TaskFailed):
            await agent.run("fail")
        assert (await agent.get(done)).status.state is TaskState.COMPLETED


@every_way
async def test_polling(servers: dict[str, str], version: str, binding: str) -> None:
    updates = Updates(streaming=False, interval=0.005)
    async with Client(servers[version], bindings=[binding], updates=updates) as agent:
        done = await agent.run("count 20")
        assert isinstance(done, Task)
        assert (done.artifacts or [])[0].text == "".join(f"{number} " for number in range(20))


@every_way
@pytest.mark.parametrize("kind", ["cut", "half", "end"])
async def test_a_stream_that_is_cut_gives_the_whole_task(
    servers: dict[str, str], version: str, binding: str, kind: str
) -> None:
    async with (
        faulty_proxy(servers[version]) as proxy,
        Client(proxy.url, bindings=[binding], retries=QUICK, updates=POLLING) as agent,
    ):
        for position in (1, 20, 39):
            proxy.plan.append(Fault(kind, events=position))
            done = await agent.run(f"count {CHUNKS}")
            assert isinstance(done, Task)
            assert done.status.state is TaskState.COMPLETED
            assert [artifact.text for artifact in done.artifacts or ()] == [WHOLE], position
            proxy.plan.clear()
