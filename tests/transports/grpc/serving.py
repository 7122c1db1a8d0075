"""A gRPC server on a real socket, in an event loop of its own, beside the test that calls it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anyio
import grpc
from a2a.types import a2a_pb2 as pb
from a2a.types import a2a_pb2_grpc as stubs
from anyio.from_thread import BlockingPortal, start_blocking_portal

from greenroom import Agent, MemoryStore, Message, Part, Role, Runtime, Skill, TaskContext
from greenroom.auth import Limits, Security
from greenroom.protocol.types import AgentExtension
from greenroom.runtime.journal.store import Store
from greenroom.transports.grpc.server import GrpcServer
from greenroom.transports.grpc.session import Session
from greenroom.transports.grpc.settings import GrpcSettings
from greenroom.transports.settings import Forwarding, Listen, Tls
from tests.support.servers import make_runtime, on_sockets

MODES = ["text/plain", "application/json", "image/png"]
MIB = 1024 * 1024


def make_agents() -> list[Agent]:
    """A desk that does what it is told, one that replies directly, one with an extension."""
    desk = Agent(
        "Desk",
        description="Does what its message says.",
        version="1.2.3",
        skills=[Skill(id="do", name="Do", description="Does what it is told.", tags=["test"])],
        input_modes=MODES,
        output_modes=MODES,
    )

    @desk.handler
    async def do(ctx: TaskContext) -> None:
        command, _, rest = ctx.text.partition(" ")
        match command:
            case "count":
                async with ctx.artifact("count") as numbers:
                    for number in range(int(rest)):
                        await numbers.write(f"{number} ")
            case "flood":
                async with ctx.artifact("flood") as flood:
                    for _ in range(int(rest)):
                        await flood.write("x" * 65_536)
            case "large":
                await ctx.artifact("large", "x" * int(rest))
            case "ask":
                name = await ctx.ask("What is your name?")
                await ctx.artifact("reply", f"Hello {name}")
            case "parts":
                await ctx.artifact("reply", list(ctx.parts))
            case "wait":
                await ctx.status("Waiting.")
                await anyio.sleep_forever()
            case "fail":
                raise RuntimeError("the secret cause")
            case _:
                await ctx.artifact("reply", f"You said: {ctx.text}")

    direct = Agent("Direct", description="Replies without a task.", slug="direct")

    @direct.handler
    async def reply(ctx: TaskContext) -> Message:
        said = [Part(text=f"You said: {ctx.text}")]
        return Message(message_id=str(uuid.uuid4()), role=Role.AGENT, parts=said)

    strict = Agent(
        "Strict",
        description="Talks only to those who know its extension.",
        slug="strict",
        extensions=[AgentExtension(uri="https://example.com/manners", required=True)],
    )

    @strict.handler
    async def politely(ctx: TaskContext) -> str:
        return f"Thank you for: {ctx.text}"

    return [desk, direct, strict]


class Serving:
    """The running server; ``call`` runs a function in its loop."""

    def __init__(self, portal: BlockingPortal, server: GrpcServer) -> None:
        self.portal = portal
        self.server = server
        self.address = f"127.0.0.1:{server.port}"

    @property
    def runtime(self) -> Runtime:
        return self.server.runtime

    @property
    def sessions(self) -> list[Session]:
        """What the calls of each open connection share."""
        connections: Any = self.server.shared.connections
        return [connection.session for connection in connections]

    def channel(self, **options: Any) -> grpc.Channel:
        return grpc.insecure_channel(self.address, options=list(options.items()))

    def until(self, true: Any, what: str, seconds: float = 10.0) -> None:
        """Wait for what the server will do by itself."""

        async def wait() -> None:
            with anyio.fail_after(seconds):
                while not true():  # noqa: ASYNC110  # the server has no event for it
                    await anyio.sleep(0.01)

        try:
            self.portal.call(wait)
        except TimeoutError:
            raise AssertionError(f"in vain: {what}") from None


@contextmanager
def serving(
    agents: Sequence[Agent] | None = None,
    *,
    security: Security | None = None,
    limits: Limits | None = None,
    store: Store | None = None,
    **settings: Any,
) -> Iterator[Serving]:
    """Serve on a free port with these settings, in the loop of another thread."""
    tls = Tls(**{name: settings.pop(name) for name in Tls.__struct_fields__ if name in settings})
    listen = Listen(port=0, tls=tls, **{n: settings.pop(n) for n in ("host",) if n in settings})
    forwarding = Forwarding(proxies=settings.pop("trusted_proxies", ()))
    runtime = make_runtime(
        *(agents or make_agents()), store=store or MemoryStore(), security=security, limits=limits
    )
    with start_blocking_portal() as portal:
        running = on_sockets(
            runtime=runtime,
            beside=GrpcSettings(**settings),
            grpc_listen=listen,
            forwarding=forwarding,
        )
        with portal.wrap_async_context_manager(running) as served:
            assert served.grpc is not None
            yield Serving(portal, served.grpc)


def said(text: str, **fields: Any) -> pb.SendMessageRequest:
    """A message as the official classes have it."""
    tenant = fields.pop("tenant", "")
    return pb.SendMessageRequest(
        tenant=tenant,
        message=pb.Message(
            message_id=str(uuid.uuid4()),
            role=pb.ROLE_USER,
            parts=[pb.Part(text=text)],
            **fields,
        ),
    )


def stub(channel: grpc.Channel) -> Any:
    return stubs.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
