"""``Client`` and ``BlockingClient`` against a server of ours, over every binding they have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from greenroom import Agent, BlockingClient, Message, TaskContext
from greenroom.client import (
    AuthRequired,
    Client,
    InputRequired,
    InvalidOutputError,
    TaskCanceled,
    TaskFailed,
    TaskRejected,
    Updates,
)
from greenroom.protocol.errors import TaskNotFoundError
from greenroom.protocol.types import Part, Task, TaskState
from tests.support.agents import Stage
from tests.support.processes import Process
from tests.support.servers import OnSockets, as_process, on_sockets

pytestmark = pytest.mark.anyio
WAYS = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "0.3")]
every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)


@dataclass
class Answer:
    answer: int


@pytest.fixture
async def stage() -> AsyncIterator[tuple[Stage, OnSockets]]:
    stage = Stage()
    async with on_sockets(*stage.agents, with_grpc=False) as served:
        yield stage, served


def client(url: str, way: tuple[str, str] = WAYS[0], **options: object) -> Client:
    return Client(url, bindings=[way[0]], version=way[1], **options)  # type: ignore[arg-type]


@every_way
async def test_run_returns_what_became_of_the_message(
    stage: tuple[Stage, OnSockets], way: tuple[str, str]
) -> None:
    _, served = stage
    async with client(served.url, way) as agent:
        done = await agent.run("hi")
        assert isinstance(done, Task)
        assert [artifact.text for artifact in done.artifacts or ()] == ["You said: hi"]
        asks = await agent.run("ask")
        assert isinstance(asks, InputRequired)
        assert asks.question == "Who are you?"
        answered = await agent.reply(asks, "Bo")
        assert answered.id == asks.task.id
        assert answered.artifacts[0].text == "Hello Bo"
        signs = await agent.run("auth")
        assert isinstance(signs, AuthRequired)
        assert (await agent.reply(signs, "ok")).artifacts[0].text == "signed in by ok"
        with pytest.raises(TaskFailed, match="The agent failed"):
            await agent.run("fail")
        with pytest.raises(TaskRejected, match="not for me"):
            await agent.run("reject")
    async with client(f"{served.url}/a2a/agents/direct", way) as direct:
        reply = await direct.run("hi")
        assert isinstance(reply, Message)
        assert reply.text == "At once: hi"


@every_way
async def test_an_agent_that_does_not_stream_is_polled(
    stage: tuple[Stage, OnSockets], way: tuple[str, str]
) -> None:
    stage_, served = stage
    stage_.go.set()
    async with client(
        f"{served.url}/a2a/agents/quiet", way, updates=Updates(interval=0.01)
    ) as agent:
        done = await agent.run("go 3")
        assert isinstance(done, Task)
        assert [artifact.text for artifact in done.artifacts or ()] == ["0 1 2 "]
        asks = await agent.run("ask")
        assert isinstance(asks, InputRequired)
        assert (await agent.reply(asks, "Bo")).artifacts[0].text == "Hello Bo"


@every_way
async def test_output_is_the_type_that_was_asked_for(
    stage: tuple[Stage, OnSockets], way: tuple[str, str]
) -> None:
    _, served = stage
    async with client(served.url, way) as agent:
        assert await agent.run("data", output=Answer) == Answer(42)
        with pytest.raises(InvalidOutputError, match="cannot be read") as raised:
            await agent.run("hi", output=Answer)
        assert isinstance(raised.value.task, Task)


async def test_output_is_read_from_fenced_json_and_the_schema_is_sent() -> None:
    agent = Agent("Fence", description="For tests.")

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        metadata = ctx.parts[0].metadata or {}
        assert metadata["schema"]["$ref"] == "#/$defs/Answer"
        return 'Here it is:\n```json\n{"answer": 7}\n```\n'

    async with on_sockets(agent, with_grpc=False) as served, Client(served.url) as there:
        assert await there.run("hi", output=Answer) == Answer(7)


@every_way
async def test_files_are_sent_whole(tmp_path: Path, way: tuple[str, str]) -> None:
    agent = Agent("Files", description="For tests.", input_modes=["*/*"])

    @agent.handler
    async def handle(ctx: TaskContext) -> list[Part]:
        return list(ctx.parts[1:])

    (tmp_path / "a.pdf").write_bytes(b"\x00\xff%PDF")
    async with on_sockets(agent, with_grpc=False) as served, client(served.url, way) as there:
        done = await there.run("look", files=[tmp_path / "a.pdf"])
    assert isinstance(done, Task)
    [part] = (done.artifacts or [])[0].parts
    assert (part.raw, part.filename, part.media_type) == (
        b"\x00\xff%PDF", "a.pdf", "application/pdf",
    )  # fmt: skip


@every_way
async def test_a_task_is_followed_listed_read_and_canceled(
    stage: tuple[Stage, OnSockets], way: tuple[str, str]
) -> None:
    stage_, served = stage
    async with client(served.url, way) as agent:
        begun = await agent.send("go 2")
        assert isinstance(begun, Task)
        events = agent.subscribe(begun)
        first = await anext(events)
        assert first.task is not None
        stage_.go.set()
        rest = [event async for event in events]
        assert rest[-1].status_update is not None
        assert rest[-1].status_update.status.state is TaskState.COMPLETED
        assert (await agent.get(begun)).status.state is TaskState.COMPLETED
        finished = await agent.wait(begun)
        assert isinstance(finished, Task)
        assert [artifact.text for artifact in finished.artifacts or ()] == ["0 1 "]
        asks = await agent.run("ask")
        assert isinstance(asks, InputRequired)
        canceled = await agent.cancel(asks.task)
        assert canceled.status.state is TaskState.CANCELED
        with pytest.raises(TaskCanceled):
            await agent.wait(canceled)
        with pytest.raises(TaskNotFoundError):
            await agent.wait("nobody's")
        if way != ("JSONRPC", "0.3"):
            ids = [task.id async for task in agent.list(page_size=1)]
            assert set(ids) == {begun.id, asks.task.id}


async def test_a_run_that_nobody_waits_for_cancels_its_task_if_so_set(
    stage: tuple[Stage, OnSockets],
) -> None:
    _, served = stage
    async with client(served.url, cancel_on_exit=True) as agent:
        begun = anyio.Event()
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await agent.run("wait", on_event=lambda _: begun.set())

            group.start_soon(run)
            await begun.wait()
            group.cancel_scope.cancel()
        [task] = [task async for task in agent.list()]
        assert task.status.state is TaskState.CANCELED


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with as_process("--store", "memory://", agents=("tests.interop.agents:desk",)) as running:
        yield running


def test_a_program_without_an_event_loop(process: Process) -> None:
    with BlockingClient(process.url) as agent:
        assert agent.card.name == "Interop"
        done = agent.run("echo hi")
        assert isinstance(done, Task)
        assert [artifact.text for artifact in done.artifacts or ()] == ["You said: hi"]
        texts = [
            event.artifact_update.artifact.text
            for event in agent.stream("count 3")
            if event.artifact_update is not None
        ]
        assert "".join(texts) == "0 1 2 "
        asks = agent.run("ask")
        assert isinstance(asks, InputRequired)
        assert isinstance(agent.reply(asks, "Bo"), InputRequired)
        events = agent.stream("wait")
        first = next(events)
        events.close()  # type: ignore[attr-defined]
        assert first.task is not None
        assert agent.cancel(first.task).status.state is TaskState.CANCELED
        assert {task.id for task in agent.list()} >= {done.id, asks.task.id, first.task.id}
