"""A skill's scope is asked for wherever the skill would go on, whatever a message names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from greenroom import Agent, InputRequired, RuntimeSettings, TaskContext
from greenroom.auth import Security, StaticToken, static_tokens
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, Answer, said, send
from tests.support.servers import OnSockets

pytestmark = pytest.mark.anyio
FULL = {"Authorization": "Bearer zoe-may-refund-and-complain"}
REFUNDS = {"Authorization": "Bearer zoe-may-refund-but-not-complain"}
BARE = {"Authorization": "Bearer zoe-may-nothing-in-particular"}


def security() -> Security:
    """Three credentials of one owner."""
    given = {"Bearer zoe-may-refund-and-complain": ["desk:refund", "desk:complain"]}
    given["Bearer zoe-may-refund-but-not-complain"] = ["desk:refund"]
    given["Bearer zoe-may-nothing-in-particular"] = []
    return Security(
        static_tokens(
            [
                StaticToken.of("zoe", header.partition(" ")[2], scopes=scopes)
                for header, scopes in given.items()
            ]
        )
    )


def desk() -> Agent:
    agent = Agent("Desk")

    @agent.skill("talk")
    async def talk(ctx: TaskContext) -> str | InputRequired:
        return InputRequired("And?") if ctx.text == "ask" else f"talked of {ctx.text}"

    @agent.skill("refund", scopes=["desk:refund"])
    async def refund(ctx: TaskContext) -> str:
        return f"refunded: {await ctx.ask('Sure?')}"

    @agent.skill("complain", scopes=["desk:complain"])
    async def complain(ctx: TaskContext) -> str | InputRequired:
        """One call for each message."""
        return InputRequired("And?") if ctx.text != "enough" else "complained"

    @agent.skill("listen", scopes=["desk:refund"])
    async def listen(ctx: TaskContext) -> str:
        await ctx.status("listening")
        return f"heard {(await ctx.receive()).text}"

    return agent


async def begun(server: OnSockets, skill: str, at_once: bool = False) -> str:
    asked = send("ask", skill=skill)
    if at_once:
        at_once_please = t.SendMessageConfiguration(return_immediately=True)
        asked = structs.replace(asked, configuration=at_once_please)
    answer = await server.call("rest", ops.SEND, asked, FULL)
    assert answer.outcome == "ok", answer.text
    task: str = answer.body["task"]["id"]
    return task


def refused(answer: Answer, scope: str) -> None:
    assert answer.outcome == "PERMISSION_DENIED", answer.text
    assert answer.status in (403, "PERMISSION_DENIED")
    assert f"Missing scope: {scope}" in answer.text


@pytest.mark.parametrize("binding", BINDINGS)
async def test_who_may_not_use_a_skill_may_not_go_on_with_it(binding: str) -> None:
    async with serving(security(), desk()) as server:
        for skill, scope in (("refund", "desk:refund"), ("complain", "desk:complain")):
            task = await begun(server, skill)
            for operation in (ops.SEND, ops.STREAM):
                for named in (None, "talk"):
                    more = send("yes", task_id=task, skill=named)
                    refused(await server.call(binding, operation, more, BARE), scope)
                of_request = structs.replace(send("yes", task_id=task), metadata={"skill": "talk"})
                refused(await server.call(binding, operation, of_request, BARE), scope)
            # It changed nothing, and may be read and ended: it is its owner's.
            read = await server.call(binding, ops.GET_TASK, t.GetTaskRequest(id=task), BARE)
            assert len(read.body["history"]) == 1
            seen = t.SubscribeToTaskRequest(id=task)
            assert (await server.call(binding, ops.SUBSCRIBE, seen, BARE)).outcome == "ok"
            end = t.CancelTaskRequest(id=task)
            assert (await server.call(binding, ops.CANCEL, end, BARE)).outcome == "ok"


@pytest.mark.parametrize("binding", BINDINGS)
async def test_who_names_another_skill_needs_both(binding: str) -> None:
    async with serving(security(), desk()) as server:
        task = await begun(server, "refund")
        other = send("yes", task_id=task, skill="complain")
        refused(await server.call(binding, ops.SEND, other, REFUNDS), "desk:complain")
        answer = await server.call(binding, ops.SEND, send("yes", task_id=task), REFUNDS)
        assert "refunded: yes" in answer.text

        task = await begun(server, "talk")
        more = send("ask", task_id=task)
        assert (await server.call(binding, ops.SEND, more, BARE)).outcome == "ok"
        other = send("more", task_id=task, skill="complain")
        refused(await server.call(binding, ops.SEND, other, BARE), "desk:complain")
        assert (await server.call(binding, ops.SEND, other, FULL)).outcome == "ok"
        # From now on it is that skill's.
        refused(
            await server.call(binding, ops.SEND, send("x", task_id=task), REFUNDS), "desk:complain"
        )
        answer = await server.call(binding, ops.SEND, send("enough", task_id=task), FULL)
        assert "complained" in answer.text


async def test_a_handler_at_work_is_told_nothing_either() -> None:
    async with serving(security(), desk(), with_grpc=False) as server:
        task = await begun(server, "listen", at_once=True)
        refused(
            await server.call("rest", ops.SEND, send("psst", task_id=task), BARE), "desk:refund"
        )
        answer = await server.call("rest", ops.SEND, send("hello", task_id=task), REFUNDS)
        assert said(answer) == "heard hello"


@pytest.mark.parametrize("away", ["restart", "rest"])
async def test_a_task_that_left_memory_remembers_its_skill(tmp_path: Path, away: str) -> None:
    """Also in its second turn, whose message names no skill."""
    store = f"sqlite:///{tmp_path / 'tasks.db'}"
    resting = RuntimeSettings(idle=0.0)
    async with serving(security(), desk(), store=store, with_grpc=False, runtime=resting) as first:
        tasks = {
            "desk:refund": await begun(first, "refund"),
            "desk:complain": await begun(first, "complain"),
        }
        again = send("more", task_id=tasks["desk:complain"])
        assert (await first.call("rest", ops.SEND, again, FULL)).outcome == "ok"
        if away == "rest":
            with anyio.fail_after(10):
                while first.app.runtime.statistics()["actors"]:
                    await anyio.lowlevel.checkpoint()
            await gone_on(first, tasks)
            return
    async with serving(security(), desk(), store=store, with_grpc=False) as second:
        await gone_on(second, tasks)


async def gone_on(server: OnSockets, tasks: dict[str, str]) -> None:
    for scope, task in tasks.items():
        refused(await server.call("rest", ops.SEND, send("enough", task_id=task), BARE), scope)
        answer = await server.call("rest", ops.SEND, send("enough", task_id=task), FULL)
        assert said(answer) in ("refunded: enough", "complained")


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_skill_that_there_is_not(binding: str) -> None:
    """It runs nothing, and what is said of the others is what the public card says."""
    agent = desk()

    @agent.skill("hidden", extended=True)
    async def hidden(ctx: TaskContext) -> str:
        return "found"

    async with serving(security(), agent) as server:
        task = await begun(server, "refund")
        wrong: list[Any] = [send("x", skill="refnud"), send("x", skill="refnud", task_id=task)]
        for asked in wrong:
            answer = await server.call(binding, ops.SEND, asked, FULL)
            assert answer.outcome in ("INVALID_PARAMS", "-32602"), answer.text
            assert answer.status in (400, 200, "INVALID_ARGUMENT")
            assert "talk, refund, complain, listen" in answer.text
            assert "hidden" not in answer.text
        found = await server.call(binding, ops.SEND, send("x", skill="hidden"), FULL)
        assert found.outcome == "ok"
