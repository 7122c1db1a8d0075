"""Streams end with the credential that opened them, and with nobody else's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import grpc.aio
import msgspec
import pytest

from greenroom import Agent, MemoryStore, Runtime, TaskContext
from greenroom.auth import (
    ApiKeys,
    Call,
    Introspection,
    InvalidCredential,
    Principal,
    Scheme,
    Security,
    enterprise_tokens,
    identify,
    new_key,
    static_tokens,
)
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.errors import UnauthenticatedError, UnavailableError
from greenroom.protocol.protobuf import codec, v1
from greenroom.protocol.sse import Decoder
from greenroom.runtime.security.schemes.api_keys import KeyFile
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.testing import LoopClock
from greenroom.transports.client.http import request
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, send
from tests.support.clock import virtual_backend
from tests.support.drive import read
from tests.support.issuer import Issuer
from tests.support.provider import CLIENT
from tests.support.servers import OnSockets

__all__ = ["virtual_backend"]
YOU = {"Authorization": "Bearer the-token-of-another-client"}
Withdraw = Callable[[], None]


def curious() -> Agent:
    agent = Agent("Curious")

    @agent.handler
    async def ask(ctx: TaskContext) -> str:
        return await ctx.ask("What?", str)

    return agent


def revoked(folder: Path, issuer: Issuer) -> tuple[Scheme, Mapping[str, str], Withdraw]:
    file = KeyFile(folder / "keys.json")
    key, text = new_key("me", now=time.time())
    file.add(key)
    return ApiKeys(file.path), {"X-API-Key": text}, lambda: _revoke(file, key.id)


def _revoke(file: KeyFile, id_: str) -> None:
    assert file.revoke(id_, time.time()) is not None


def expired(folder: Path, issuer: Issuer) -> tuple[Scheme, Mapping[str, str], Withdraw]:
    key, text = new_key("me", now=time.time(), lifetime=1.0)
    return ApiKeys([key]), {"X-API-Key": text}, lambda: None


def inactive(folder: Path, issuer: Issuer) -> tuple[Scheme, Mapping[str, str], Withdraw]:
    token = issuer.opaque("an-opaque-token-of-mine", sub="me")
    verifier = Introspection(
        f"{issuer.url}/introspect", client_id=CLIENT[0], client_secret=CLIENT[1]
    )
    scheme = enterprise_tokens(verifier, issuer="platform", keep=0.05)
    headers = {"Authorization": f"Bearer {token}"}
    return scheme, headers, lambda: issuer.withdraw(token)


async def over_http(
    server: OnSockets, binding: str, task: str, headers: Mapping[str, str], opened: anyio.Event
) -> str:
    """Read a stream to its end; return what it ended with."""
    subscribe = t.SubscribeToTaskRequest(id=task)
    path, body = f"/tasks/{task}:subscribe", b""
    if binding == "jsonrpc":
        envelope = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": subscribe}
        path, body = "/a2a", msgspec.json.encode(envelope)
    fields = {**headers, "A2A-Version": "1.0", "Content-Type": "application/json"}
    text = b""
    async with request("POST", server.url + path, headers=fields, body=body) as answer:
        assert answer.status == 200
        async for chunk in answer.chunks():
            opened.set()
            text += chunk
    if binding == "rest":
        return text.decode().rpartition("\n\n:")[2]
    decoder = Decoder()
    decoder.receive_data(text)
    last = [*iter(decoder.next_event, None)][-1]
    return str(json.loads(last.data)["error"]["data"][0]["reason"])


async def over_grpc(
    server: OnSockets, task: str, headers: Mapping[str, str], opened: anyio.Event
) -> str:
    metadata = tuple((name.lower(), value) for name, value in headers.items())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call: Any = channel.unary_stream("/lf.a2a.v1.A2AService/SubscribeToTask")
        asked = codec.write(v1.V1_0, t.SubscribeToTaskRequest(id=task))
        stream = call(asked, metadata=metadata)
        try:
            while await stream.read() is not grpc.aio.EOF:
                opened.set()
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.mark.anyio
@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("how", [revoked, expired, inactive])
async def test_on_every_binding(how: Any, binding: str, issuer: Issuer, tmp_path: Path) -> None:
    scheme, mine, withdraw = how(tmp_path, issuer)
    other = static_tokens({"you": YOU["Authorization"].removeprefix("Bearer ")})
    security = Security(scheme, other)
    async with serving(security, curious(), runtime=RuntimeSettings(heartbeat=0.2)) as server:
        ended: dict[str, str] = {}
        opened = {who: anyio.Event() for who in ("me", "you")}
        tasks = {
            who: (await server.call("rest", ops.SEND, send("x"), headers)).body["task"]["id"]
            for who, headers in (("me", mine), ("you", YOU))
        }

        async def watch(who: str, headers: Mapping[str, str]) -> None:
            if binding == "grpc":
                ended[who] = await over_grpc(server, tasks[who], headers, opened[who])
            else:
                found = await over_http(server, binding, tasks[who], headers, opened[who])
                ended[who] = found
            if who == "me":
                group.cancel_scope.cancel()

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(watch, "me", mine)
                group.start_soon(watch, "you", YOU)
                for event in opened.values():
                    await event.wait()
                withdraw()
            while server.app.runtime.statistics()["streams_open"]:
                await anyio.lowlevel.checkpoint()
    said = " UNAUTHENTICATED\n\nretry: 1000\n\n" if binding == "rest" else "UNAUTHENTICATED"
    assert ended == {"me": said}


# --- the watch itself, without waiting ------------------------------------------------------------


class Doubtful:
    """A scheme whose credentials are all good, as far as it remembers and can tell."""

    name = "doubtful"
    card = static_tokens("x" * 16).card

    def __init__(self, expires: float | None = None) -> None:
        self.expires = expires
        self.remembers = True
        self.answer: Exception | None = None
        self.asked = 0

    def _principal(self) -> Principal:
        return identify(scheme="doubtful", issuer="x", subject="me", expires=self.expires)

    def known(self, call: Call, now: float) -> Principal | None:
        return self._principal() if self.remembers else None

    def credential(self, call: Call) -> bytes | None:
        return b"x"

    async def verify(self, call: Call, now: float) -> Principal | None:
        self.asked += 1
        if self.answer is not None:
            raise self.answer
        return self._principal()

    def challenge(self, error: str | None) -> str:
        return "Bearer"


async def watched(scheme: Doubtful, after: float, then: Callable[[], None]) -> float:
    """Open a stream, do something after a while, and return the seconds until the stream failed;
    ``TimeoutError`` if it did not."""
    runtime = Runtime(
        curious(), store=MemoryStore(), security=Security(scheme), clock=LoopClock(1000.0)
    )
    async with runtime:
        call = Call(binding="TEST")
        task = (await runtime.dispatch(call, ops.SEND, send("x"))).task.id
        asked = t.SubscribeToTaskRequest(id=task)
        stream = await runtime.dispatch(Call(binding="TEST"), ops.SUBSCRIBE, asked)
        began = anyio.current_time()

        async def do() -> None:
            await anyio.sleep(after)
            then()

        async with anyio.create_task_group() as group:
            group.start_soon(do)
            with anyio.fail_after(100), pytest.raises(UnauthenticatedError):
                await read(stream)
        assert runtime.statistics()["streams_open"] == 0
        return anyio.current_time() - began


def run(backend: tuple[str, Mapping[str, Any]], function: Any, *arguments: Any) -> Any:
    name, options = backend
    return anyio.run(function, *arguments, backend=name, backend_options=dict(options))


def test_at_the_second_when_it_ends(virtual_backend: Any) -> None:
    scheme = Doubtful(expires=1042.0)
    took = run(virtual_backend, watched, scheme, 1.0, lambda: None)
    assert 41.0 <= took <= 43.0
    assert not scheme.asked


def test_within_a_heartbeat_of_its_withdrawal(virtual_backend: Any) -> None:
    scheme = Doubtful()

    def withdraw() -> None:
        scheme.remembers, scheme.answer = False, InvalidCredential("it was withdrawn")

    assert 20.0 <= run(virtual_backend, watched, scheme, 20.0, withdraw) <= 36.0


async def polled(scheme: Doubtful) -> None:
    """Ask for a task once it has changed, and lose the credential before it does."""
    runtime = Runtime(
        curious(), store=MemoryStore(), security=Security(scheme), clock=LoopClock(1000.0)
    )
    async with runtime:
        task = (await runtime.dispatch(Call(binding="TEST"), ops.SEND, send("x"))).task.id
        asked = t.GetTaskRequest(id=task, current_generation=99)
        async with anyio.create_task_group() as group:

            async def lose() -> None:
                await anyio.sleep(1.0)
                scheme.remembers, scheme.answer = False, InvalidCredential("it was withdrawn")

            group.start_soon(lose)
            await runtime.dispatch(Call(binding="TEST"), ops.GET_TASK, asked)


def test_before_a_request_that_was_held_open_is_answered(virtual_backend: Any) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        run(virtual_backend, polled, Doubtful())
    assert caught.group_contains(UnauthenticatedError)


def test_nobody_is_sent_off_because_nobody_can_tell(virtual_backend: Any) -> None:
    scheme = Doubtful()

    def lose() -> None:
        scheme.remembers, scheme.answer = False, UnavailableError()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(virtual_backend, watched, scheme, 1.0, lose)
    assert caught.group_contains(TimeoutError)
    assert scheme.asked > 3
