"""A result is the same over a cut stream as over a whole one, and never more certain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from greenroom.client import Client, LostError, Retries, TaskFailed, Updates
from greenroom.protocol.types import StreamResponse, Task, TaskState
from greenroom.transports.client.http import Limits
from greenroom.transports.client.updates.assembly import Assembly
from tests.support.agents import Stage
from tests.support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.servers import on_sockets

pytestmark = pytest.mark.anyio

QUICK = Retries(first=0.001, most=0.01)
CHUNKS = 200
WHOLE = "".join(f"{number} " for number in range(CHUNKS))
WAYS = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "0.3")]


@pytest.fixture
async def stage() -> AsyncIterator[tuple[Stage, FaultyProxy]]:
    stage = Stage()
    async with (
        on_sockets(*stage.agents, with_grpc=False) as served,
        faulty_proxy(served.url) as proxy,
    ):
        yield stage, proxy


def client(proxy: FaultyProxy, way: tuple[str, str] = WAYS[0], **more: object) -> Client:
    binding, version = way
    options = {"retries": QUICK, **more}
    return Client(proxy.url, bindings=[binding], version=version, **options)  # type: ignore[arg-type]


def told(events: list[StreamResponse]) -> Task:
    """The task that the events make for whoever folds them."""
    assembly = Assembly()
    for event in events:
        assembly.apply(event)
    assert assembly.task is not None
    return assembly.task


def sends(proxy: FaultyProxy) -> list[bytes]:
    return [seen.body for seen in proxy.seen if b"messageId" in seen.body]


@pytest.mark.parametrize("way", WAYS, ids="-".join)
async def test_a_stream_that_is_cut_at_every_event_gives_the_whole_task(
    stage: tuple[Stage, FaultyProxy], way: tuple[str, str]
) -> None:
    _, proxy = stage
    # The snapshot at the cursor, and one event more: each connection brings the task on by one.
    proxy.always = Fault("cut", events=2)
    async with client(proxy, way) as agent:
        events = [event async for event in agent.stream(f"count {CHUNKS}")]
    task = told(events)
    assert task.status.state is TaskState.COMPLETED
    assert [artifact.text for artifact in task.artifacts or ()] == [WHOLE]
    chunks = [event.artifact_update for event in events if event.artifact_update is not None]
    assert "".join(chunk.artifact.text for chunk in chunks) == WHOLE  # none twice, none missing
    assert len(sends(proxy)) == 1
    assert len(proxy.seen) > CHUNKS


@pytest.mark.parametrize("kind", ["cut", "half", "end"])
async def test_one_cut_at_any_event_changes_nothing(
    stage: tuple[Stage, FaultyProxy], kind: str
) -> None:
    _, proxy = stage
    async with client(proxy) as agent:
        whole = await agent.run("count 20")
        assert isinstance(whole, Task)
        for position in range(1, 25):
            proxy.plan.append(Fault(kind, events=position))
            result = await agent.run("count 20")
            assert isinstance(result, Task)
            assert result.status.state is TaskState.COMPLETED
            assert result.artifacts == whole.artifacts, position
            proxy.plan.clear()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("refuse"),
        Fault("lost"),
        Fault("status", status=502),
        Fault("status", status=429, headers=(("Retry-After", "0"),)),
        Fault("status", status=503),
        Fault("cut", events=0),
        Fault("half", events=0),
        Fault("end", events=0),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
@pytest.mark.parametrize("way", WAYS, ids="-".join)
async def test_a_send_that_nobody_answered_is_repeated_and_begins_one_task(
    stage: tuple[Stage, FaultyProxy], fault: Fault, way: tuple[str, str]
) -> None:
    _, proxy = stage
    proxy.plan += [fault, fault]
    async with client(proxy, way) as agent:
        result = await agent.run("count 3")
        assert isinstance(result, Task)
        assert [artifact.text for artifact in result.artifacts or ()] == ["0 1 2 "]
        if way != ("JSONRPC", "0.3"):  # which has no ListTasks
            assert [task.id async for task in agent.list()] == [result.id]


async def test_a_stream_that_falls_silent_is_resumed(stage: tuple[Stage, FaultyProxy]) -> None:
    _, proxy = stage
    proxy.plan += [Fault("silent", events=3)]
    async with client(proxy, limits=Limits(silence=0.05)) as agent:
        result = await agent.run("count 10")
    assert isinstance(result, Task)
    assert [artifact.text for artifact in result.artifacts or ()] == ["0 1 2 3 4 5 6 7 8 9 "]
    assert any(seen.headers.get("last-event-id") == "3" for seen in proxy.seen)


async def test_a_server_that_never_comes_back_is_no_success(
    stage: tuple[Stage, FaultyProxy],
) -> None:
    _, proxy = stage
    proxy.plan += [Fault("cut", events=5)]
    proxy.always = Fault("status", status=502)
    async with client(proxy) as agent:
        with pytest.raises(LostError, match="its last state was working") as lost:
            await agent.run("count 10")
    assert lost.value.task_id
    assert lost.value.state is TaskState.WORKING


async def test_a_failure_is_told_also_when_the_connection_was_cut(
    stage: tuple[Stage, FaultyProxy],
) -> None:
    _, proxy = stage
    proxy.plan += [Fault("cut", events=1)]
    async with client(proxy) as agent:
        with pytest.raises(TaskFailed, match="The agent failed"):
            await agent.run("fail")


@pytest.mark.parametrize("way", WAYS, ids="-".join)
async def test_polling_gives_the_same_result(
    stage: tuple[Stage, FaultyProxy], way: tuple[str, str]
) -> None:
    _, proxy = stage
    polling = Updates(streaming=False, interval=0.001)
    async with client(proxy, way, updates=polling) as agent:
        events = [event async for event in agent.stream("count 10")]
        proxy.always = Fault("cut")
        proxy.plan += [Fault(), Fault("status"), Fault("refuse"), *[Fault()] * 1000]
        result = await agent.run("count 10")
    assert isinstance(result, Task)
    assert [artifact.text for artifact in result.artifacts or ()] == ["0 1 2 3 4 5 6 7 8 9 "]
    assert (told(events).artifacts or [])[0].text == "0 1 2 3 4 5 6 7 8 9 "
    assert not any("stream" in seen.path.lower() for seen in proxy.seen)
