"""The state machine is a table, written down here a second time and held against the runtime."""

from __future__ import annotations

import pytest

from greenroom import Agent, TaskContext, TaskState
from greenroom.runtime.actor.states import TRANSITIONS, IllegalTransition
from tests.support.drive import STATES, running
from tests.support.paths import ROOT

pytestmark = pytest.mark.anyio

ENDS = {"CANCELED", "FAILED", "REJECTED"}
TABLE = {
    "SUBMITTED": {"WORKING", *ENDS},
    "WORKING": {"WORKING", "INPUT_REQUIRED", "AUTH_REQUIRED", "COMPLETED", *ENDS},
    "INPUT_REQUIRED": {"WORKING", *ENDS},
    "AUTH_REQUIRED": {"WORKING", "INPUT_REQUIRED", *ENDS},
    "COMPLETED": set(),
    "FAILED": set(),
    "CANCELED": set(),
    "REJECTED": set(),
}
WAYS = {
    "WORKING": [],
    "INPUT_REQUIRED": [TaskState.INPUT_REQUIRED],
    "AUTH_REQUIRED": [TaskState.AUTH_REQUIRED],
    "COMPLETED": [TaskState.COMPLETED],
    "FAILED": [TaskState.FAILED],
    "CANCELED": [TaskState.CANCELED],
    "REJECTED": [TaskState.REJECTED],
}
"""How a handler gets its task to a state; none of its doings leaves it submitted."""


@pytest.mark.parametrize("new", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("old", WAYS)
async def test_every_pair(old: str, new: TaskState) -> None:
    refused: list[IllegalTransition] = []
    agent = Agent("Pairs")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.status("begin")
        for state in WAYS[old]:
            await ctx.status(state=state)
        try:
            await ctx.status("then", new)
        except IllegalTransition as illegal:
            refused.append(illegal)
            raise

    async with running(agent) as peer:
        task = await peer.over((await peer.send("go", now=True)).id)
        legal = new.name in TABLE[old]
        assert legal == (not refused)
        if legal:
            assert task.status.state.terminal or task.status.state is new
        else:
            assert f"cannot become {new.name.lower()}" in str(refused[0])
            ended = old in ("COMPLETED", *ENDS)
            assert task.status.state.name == (old if ended else "FAILED")


@pytest.mark.parametrize("new", STATES, ids=lambda state: state.name)
async def test_from_submitted(new: TaskState) -> None:
    from greenroom.runtime.actor.states import check

    if new.name in TABLE["SUBMITTED"]:
        check(TaskState.SUBMITTED, new)
    else:
        with pytest.raises(IllegalTransition, match=r"what may follow is: .*working"):
            check(TaskState.SUBMITTED, new)


async def test_nothing_is_emitted_after_the_end() -> None:
    refused: list[Exception] = []
    agent = Agent("Late")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.status("done", TaskState.COMPLETED)
        try:
            await ctx.artifact("late", "text")
        except IllegalTransition as illegal:
            refused.append(illegal)

    async with running(agent) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
        assert task.artifacts is None
        assert refused


def test_the_picture_in_the_architecture_is_the_table() -> None:
    """The page holds the lines that the table gives."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = page.partition("stateDiagram-v2\n")[2].partition("```")[0]
    assert sorted(picture.splitlines()) == sorted(
        f"    {old.name} --> {target}"
        for old, following in TRANSITIONS.items()
        for target in ([new.name for new in following] or ["[*]"])
    )
