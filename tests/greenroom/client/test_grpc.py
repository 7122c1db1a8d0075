"""The client over gRPC: connections that break, credentials, and who gets them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest
from msgspec import structs

from greenroom.auth import Security, static_tokens
from greenroom.client import Bearer, Client, InputRequired, Retries, TaskFailed
from greenroom.client.messages import message_of
from greenroom.protocol.errors import TaskNotFoundError, UnauthenticatedError
from greenroom.protocol.types import SendMessageRequest, Task, TaskState
from greenroom.transports.client.grpc.peer import GrpcPeer
from greenroom.transports.client.updates.follow import Following
from tests.support.agents import Stage, desk
from tests.support.clock import on_asyncio
from tests.support.servers import on_sockets

__all__ = ["on_asyncio"]

pytestmark = pytest.mark.anyio
TOKEN = "a static token of some length"
WHOLE = "".join(f"{number} " for number in range(30))


class Cutter:
    """A proxy that closes each connection after ``limit`` bytes of the server, while ``cuts``."""

    def __init__(self, port: int, upstream: int) -> None:
        self.port, self.upstream = port, upstream
        self.limit, self.cuts = 0, 0

    async def handle(self, client: anyio.abc.SocketStream) -> None:
        limit = self.limit if self.cuts else None
        self.cuts = max(0, self.cuts - 1)
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self.upstream) as server,
            anyio.create_task_group() as group,
        ):

            async def forward() -> None:
                try:
                    async for data in client:
                        await server.send(data)
                except anyio.BrokenResourceError:
                    pass
                group.cancel_scope.cancel()

            group.start_soon(forward)
            left = limit
            try:
                async for data in server:
                    await client.send(data if left is None else data[:left])
                    if left is not None:
                        left -= len(data)
                        if left <= 0:
                            break
            except anyio.BrokenResourceError:
                pass
            group.cancel_scope.cancel()


@asynccontextmanager
async def cutter(upstream: int) -> AsyncGenerator[Cutter, None]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    proxy = Cutter(listener.extra(anyio.abc.SocketAttribute.local_port), upstream)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, proxy.handle)
        yield proxy
        group.cancel_scope.cancel()
    await listener.aclose()


async def test_a_call_that_is_cut_after_any_number_of_bytes_gives_the_whole_task() -> None:
    stage = Stage()
    async with on_sockets(*stage.agents) as served, cutter(served.grpc_port) as proxy:
        async with Client(served.url, bindings=["GRPC"]) as agent:
            there = agent.remote
        interface = structs.replace(there.interface, url=f"http://127.0.0.1:{proxy.port}")
        for limit in range(1, 4000, 131):
            proxy.limit, proxy.cuts = limit, 3
            async with GrpcPeer(there.card, interface) as peer:
                following = Following(
                    peer,
                    SendMessageRequest(message=message_of("count 30")),
                    retries=Retries(first=0.001, most=0.01),
                )
                async for _ in following.events():
                    pass
            task = following.assembly.task
            assert task is not None
            assert task.status.state is TaskState.COMPLETED
            assert [artifact.text for artifact in task.artifacts or ()] == [WHOLE], limit


async def test_every_word_of_the_client_works_over_grpc() -> None:
    stage = Stage()
    async with (
        on_sockets(*stage.agents) as served,
        Client(served.url, bindings=["GRPC"]) as agent,
    ):
        asks = await agent.run("ask")
        assert isinstance(asks, InputRequired)
        assert (await agent.reply(asks, "Bo")).artifacts[0].text == "Hello Bo"
        assert await agent.run("data", output=dict) == {"answer": 42}
        with pytest.raises(TaskFailed, match="The agent failed"):
            await agent.run("fail")
        large = await agent.run("large 3000000")
        assert isinstance(large, Task)
        assert len((large.artifacts or [])[0].text) == 3_000_000
        sent = await agent.run("x" * 1_000_000)
        assert isinstance(sent, Task)
        assert len((sent.artifacts or [])[0].text) == 1_000_010
        begun = await agent.send("go 2")
        assert isinstance(begun, Task)
        events = agent.subscribe(begun)
        assert (await anext(events)).task is not None
        stage.go.set()
        assert [event async for event in events][-1].status_update is not None
        assert (await agent.get(begun)).status.state is TaskState.COMPLETED
        assert begun.id in [task.id async for task in agent.list(page_size=2)]
        waiting = await agent.run("ask")
        assert isinstance(waiting, InputRequired)
        assert (await agent.cancel(waiting.task)).status.state is TaskState.CANCELED
        with pytest.raises(TaskNotFoundError):
            await agent.get("nobody's")


async def test_an_origin_of_grpc_gets_the_credential_only_if_it_is_listed() -> None:
    security = Security(static_tokens({"ada": TOKEN}))
    async with on_sockets(desk(), security=security) as served:
        address = f"http://127.0.0.1:{served.grpc_port}"
        async with Client(served.url, auth=Bearer(TOKEN), bindings=["GRPC"]) as agent:
            with pytest.raises(UnauthenticatedError):
                await agent.run("hi")
        async with Client(
            served.url, auth=Bearer(TOKEN), bindings=["GRPC"], trust_origins=[address]
        ) as agent:
            done = await agent.run("hi")
            assert isinstance(done, Task)
            with pytest.raises(TaskNotFoundError):
                await agent.get("nobody's")


async def test_calls_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    stage = Stage()
    answers: dict[int, str] = {}
    async with (
        on_sockets(*stage.agents) as served,
        Client(served.url, bindings=["GRPC"]) as agent,
    ):

        async def ask(number: int) -> None:
            done = await agent.run(f"{number}")
            assert isinstance(done, Task)
            answers[number] = (done.artifacts or [])[0].text

        for _ in range(3):
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(ask, number)
    assert answers == {number: f"You said: {number}" for number in range(20)}
