"""Limits of tasks and streams hold however many requests come in the same moment."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import grpc.aio
import msgspec
import pytest

from greenroom import Agent, InputRequired, TaskContext
from greenroom.auth import Limits, Security, static_tokens
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.protobuf import codec, v1
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.transports.client.http import request
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, send
from tests.support.servers import OnSockets

pytestmark = pytest.mark.anyio
ME = {"Authorization": "Bearer the-token-of-a-good-client"}
NOW = t.SendMessageConfiguration(return_immediately=True)
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MANY = 10


def security() -> Security:
    return Security(static_tokens({"me": ME["Authorization"].removeprefix("Bearer ")}))


def at_once(text: str, task: str | None = None) -> t.SendMessageRequest:
    return t.SendMessageRequest(message=send(text, task_id=task).message, configuration=NOW)


def working(limits: Limits, agent: Agent, tmp_path: Path, **runtime: Any) -> Any:
    """On disk, so that there is something to wait for between a check and what it is about."""
    store = f"sqlite:///{tmp_path}/tasks.db?durability=relaxed"
    settings = RuntimeSettings(**runtime)
    return serving(security(), agent, limits=limits, store=store, runtime=settings)


async def outcomes(server: OnSockets, binding: str, asked: list[Any]) -> Counter[str]:
    value: Counter[str] = Counter()

    async def one(what: Any) -> None:
        value[(await server.call(binding, ops.SEND, what, ME)).outcome] += 1

    async with anyio.create_task_group() as group:
        for what in asked:
            group.start_soon(one, what)
    return value


@pytest.mark.parametrize("binding", BINDINGS)
async def test_new_tasks(binding: str, tmp_path: Path) -> None:
    agent = Agent("Slow")
    release = anyio.Event()

    @agent.handler
    async def work(ctx: TaskContext) -> str:
        await release.wait()
        return "done"

    async with working(Limits(tasks=3), agent, tmp_path) as server:
        asked = [at_once("x") for _ in range(MANY)]
        seen = await outcomes(server, binding, asked)
        assert seen == {"ok": 3, "RESOURCE_EXHAUSTED": MANY - 3}
        # A repeat is answered with what its first send became: it starts nothing.
        first = await server.call(binding, ops.LIST_TASKS, t.ListTasksRequest(), ME)
        assert len(first.body["tasks"]) == 3
        release.set()
        with anyio.fail_after(10):
            while server.app.runtime.statistics()["handlers_running"]:
                await anyio.lowlevel.checkpoint()
        assert await outcomes(server, binding, [at_once("x")]) == {"ok": 1}


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("how", ["asks", "asleep", "receives", "rests", "returns"])
async def test_follow_ups(binding: str, how: str, tmp_path: Path) -> None:
    """Who waits for a client does not count, and counts again from the client's message on."""
    agent = Agent("Curious")
    release = anyio.Event()

    @agent.handler
    async def ask(ctx: TaskContext) -> Any:
        if how == "returns":
            if ctx.text == "begin":
                return InputRequired("What?")
        elif how in ("receives", "rests"):
            await ctx.receive()
        else:
            await ctx.ask("What?", str)
        return await release.wait()

    idle = 0.01 if how in ("asleep", "rests") else 60.0
    listens = how in ("receives", "rests")
    async with working(Limits(tasks=3), agent, tmp_path, idle=idle) as server:
        runtime = server.app.runtime
        tasks = []
        for number in range(1, MANY + 1):
            asked = at_once("begin") if listens else send("begin")
            answer = await server.call("rest", ops.SEND, asked, ME)
            assert answer.outcome == "ok", answer
            tasks.append(answer.body["task"]["id"])
            with anyio.fail_after(10):
                while how == "receives" and runtime.statistics()["handlers_waiting"] < number:
                    await anyio.lowlevel.checkpoint()
        with anyio.fail_after(10):
            while idle < 1 and runtime.directory:
                await anyio.lowlevel.checkpoint()
        seen = await outcomes(server, binding, [at_once("go", task) for task in tasks])
        assert seen == {"ok": 3, "RESOURCE_EXHAUSTED": MANY - 3}
        if not listens:
            waiting = t.ListTasksRequest(status=t.TaskState.INPUT_REQUIRED)
            left = await server.call("rest", ops.LIST_TASKS, waiting, ME)
            assert len(left.body["tasks"]) == MANY - 3
        release.set()


@pytest.mark.parametrize("binding", BINDINGS)
async def test_streams(binding: str, tmp_path: Path) -> None:
    agent = Agent("Curious")

    @agent.handler
    async def ask(ctx: TaskContext) -> str:
        return await ctx.ask("What?", str)

    async with working(Limits(streams=3), agent, tmp_path, idle=0.01) as server:
        task = (await server.call("rest", ops.SEND, send("x"), ME)).body["task"]["id"]
        subscribe = t.SubscribeToTaskRequest(id=task)
        with anyio.fail_after(10):
            while server.app.runtime.directory:  # so that the store is asked
                await anyio.lowlevel.checkpoint()
        seen: Counter[Any] = Counter()
        told = anyio.Event()

        def count(outcome: Any) -> None:
            seen[outcome] += 1
            if seen.total() == MANY:
                told.set()

        async def over_http() -> None:
            if binding == "rest":
                path, body = f"/tasks/{task}:subscribe", b""
            else:
                envelope = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask"}
                path = "/a2a"
                body = msgspec.json.encode({**envelope, "params": subscribe})
            headers = {**ME, "A2A-Version": "1.0", "Content-Type": "application/json"}
            async with request("POST", server.url + path, headers=headers, body=body) as answer:
                count("ok" if answer.status == 200 else "refused")
                await told.wait()

        async def over_grpc() -> None:
            metadata = (("authorization", ME["Authorization"]),)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                call: Any = channel.unary_stream("/lf.a2a.v1.A2AService/SubscribeToTask")
                stream = call(codec.write(v1.V1_0, subscribe), metadata=metadata)
                try:
                    await stream.read()
                    count("ok")
                except grpc.aio.AioRpcError as error:
                    count("refused" if error.code() is EXHAUSTED else error.code())
                await told.wait()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(MANY):
                    group.start_soon(over_grpc if binding == "grpc" else over_http)
            assert seen == {"ok": 3, "refused": MANY - 3}
            while server.app.runtime.statistics()["streams_open"]:
                await anyio.lowlevel.checkpoint()
        assert (await server.call(binding, ops.SUBSCRIBE, subscribe, ME)).outcome == "ok"
