"""Time-outs by the thousand: in order, and without spinning where a setting is zero."""

from __future__ import annotations

import anyio
import pytest

from greenroom import Agent, TaskContext
from greenroom.runtime.concurrency.lanes import Ticker
from tests.support.drive import result, running, take

pytestmark = pytest.mark.anyio


async def test_a_task_may_leave_memory_at_once_and_not_while_somebody_listens() -> None:
    agent = Agent("Curious")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        return f"Hello {await ctx.ask('Who?')}"

    async with running(agent, idle=0.0) as peer:
        task = await peer.send("hi")
        stream = await peer.subscribe(task.id)
        await take(stream, 1)
        await anyio.sleep(10.0)
        assert peer.runtime.statistics()["actors"] == 1
        stream.close()
        await anyio.sleep(1.0)
        assert peer.runtime.statistics()["actors"] == 0
        assert result(await peer.send("Ada", task=task.id)) == "Hello Ada"


async def test_what_is_due_is_handed_out_in_order_and_what_was_discarded_is_not() -> None:
    ticker, due = Ticker(), list[int]()
    ticker.time = lambda: 0.0
    lane = ticker.lane(5.0, due.append)
    for number in range(10):
        lane.add(number)
    lane.add(3)  # anew: now the last
    for number in (0, 4, 99):
        lane.discard(number)
    assert lane.expire(4.9) == 5.0
    assert due == []
    assert lane.expire(5.0) == float("inf")
    assert due == [1, 2, 5, 6, 7, 8, 9, 3]
