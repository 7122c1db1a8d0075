"""Agents that do what their messages say, and a runtime that tells what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import anyio

from greenroom import Agent, Artifact, MemoryStore, Message, Part, Role, Runtime, TaskContext
from greenroom.protocol.operations import Operation
from greenroom.protocol.types import AgentExtension
from greenroom.runtime.call import Call

EXTENSION = "https://example.com/extensions/receipts/v1"
"""The one that the strict agent of ``Stage`` requires."""


def desk() -> Agent:
    """Remembers a secret, asks, streams; has skills that need scopes."""
    agent = Agent("Desk", description="For tests.")

    @agent.handler
    async def handle(ctx: TaskContext) -> str | None:
        if ctx.text.startswith("ask"):
            answer = await ctx.ask("What?", str)
            return f"secret of the owner: {answer}"
        if ctx.text.startswith("whoami"):
            principal = ctx.principal
            return f"{principal.tenant}|{principal.owner}"
        return f"secret of the owner: {ctx.text}"

    @agent.skill("admin", scopes=["desk:admin"])
    async def admin(ctx: TaskContext) -> str:
        return "secret of the owner: done as admin"

    return agent


class Stage:
    """Agents that do what the first word of their message says, as far as ``go`` lets them."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.calls: list[Call] = []
        """What a ``WatchedRuntime`` was called with."""
        self.agent = Agent("Stage", description="Does what it is told.")
        self.agent.handler(self._do)
        self.direct = Agent("Direct", description="Answers with a message.", slug="direct")
        self.direct.handler(self._direct)
        self.quiet = Agent("Quiet", description="Does not stream.", slug="quiet", streaming=False)
        self.quiet.handler(self._do)
        self.strict = Agent(
            "Strict",
            description="Wants an extension.",
            slug="strict",
            extensions=[AgentExtension(uri=EXTENSION, required=True)],
        )
        self.strict.handler(self._do)
        self.other = Agent("Other", description="Another one.", slug="other")
        self.other.handler(self._other)
        self.agents = [self.agent, self.direct, self.quiet, self.strict]

    async def _do(self, ctx: TaskContext) -> Any:
        match ctx.text.split():
            case ["wait"]:
                await self.go.wait()
                return "went"
            case ["tell"]:
                await ctx.status("looking")
                await ctx.artifact("report", "half")
                await self.go.wait()
                await ctx.artifact("more", "all")
            case ["go" | "count" as word, number]:
                if word == "go":
                    await self.go.wait()
                async with ctx.artifact("count") as out:
                    for index in range(int(number)):
                        await out.write(f"{index} ")
            case ["ask"]:
                return f"Hello {await ctx.ask('Who are you?')}"
            case ["auth"]:
                answer = await ctx.require_auth("Please sign in")
                return f"signed in by {answer.text}"
            case ["three"]:
                for name in ("one", "two", "three"):
                    await ctx.artifact(name, name)
            case ["nothing"]:
                pass
            case ["large", size]:
                return "x" * int(size)
            case ["data"]:
                return {"answer": 42}
            case ["file"]:
                part = Part(raw=b"\x00\xff", filename="two.bin", media_type="application/pdf")
                return Artifact(artifact_id="file", name="two.bin", parts=[part])
            case ["fail"]:
                raise RuntimeError("the secret cause")
            case ["reject"]:
                await ctx.reject("not for me")
            case _:
                return f"You said: {ctx.text}"
        return None

    async def _direct(self, ctx: TaskContext) -> Message:
        return Message(
            message_id=str(uuid4()),
            role=Role.AGENT,
            context_id=ctx.context_id,
            parts=[Part(text=f"At once: {ctx.text}")],
        )

    async def _other(self, ctx: TaskContext) -> Message:
        return Message(message_id="reply", role=Role.AGENT, parts=[Part(text="directly")])


class WatchedRuntime(Runtime):
    """The runtime itself; tests see its calls, and can have it refuse or activate extensions.

    Some errors need a whole deployment: ``fault`` is raised in their place.
    """

    def __init__(self, stage: Stage, agents: Sequence[Agent], **options: Any) -> None:
        super().__init__(agents, store=MemoryStore(), **options)
        self.calls = stage.calls
        self.activate: tuple[str, ...] = ()
        self.fault: Exception | None = None
        self.stream: Any = None
        """What streaming operations get instead of a stream of the runtime."""

    async def dispatch(self, call: Call, operation: Operation, request: Any) -> Any:
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault
        if self.stream is not None and operation.streaming:
            return self.stream
        if self.activate:
            call.activated = self.activate
        return await super().dispatch(call, operation, request)
