"""What becomes of a webhook that is down, slow, gone, or refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from greenroom.runtime.journal.entries import Pruned
from greenroom.runtime.push.ports import Answer
from greenroom.runtime.push.records import State
from greenroom.testing import virtual_time
from tests.support.clock import BACKENDS

from .driving import Driven, PortReceiver, driven

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    return virtual_time(request.param)


async def test_every_event_is_delivered_in_order() -> None:
    receiver = PortReceiver()
    async with driven(receiver, merge=False) as server:
        task = await server.send()
        await anyio.sleep(5)
        assert receiver.delivered() == await server.events(task)
        row = await server.row(task)
        assert not row.open
        assert (await server.health(task)).state is State.DONE


async def test_a_receiver_that_is_down_for_a_day_gets_everything() -> None:
    receiver = PortReceiver(lambda url, number: Answer(error="no connection"))
    async with driven(receiver, merge=False) as server:
        task = await server.send()
        await anyio.sleep(DAY - 60)
        health = await server.health(task)
        assert health.state is State.FAILING
        assert health.why == "no connection"
        assert len({one.id for one in receiver.attempts}) == 1, "it never passed the first event"
        assert 20 < len(receiver.attempts) < 60
        gaps = [b.at - a.at for a, b in zip(receiver.attempts, receiver.attempts[1:], strict=False)]
        assert gaps[0] < 8
        assert max(gaps) < 3600 * 1.3
        await anyio.sleep(2 * 3600)
        assert (await server.health(task)).state is State.DEAD
        receiver.answer = lambda url, number: Answer(200)
        await anyio.sleep(8 * 3600)
        assert (await server.health(task)).state is State.DONE
        assert receiver.delivered() == await server.events(task)


async def test_an_endpoint_that_only_fails_is_disabled_after_days() -> None:
    receiver = PortReceiver(lambda url, number: Answer(503))
    async with driven(receiver) as server:
        task = await server.send()
        await anyio.sleep(6 * DAY)
        assert not (await server.row(task)).open
        assert (await server.health(task)).state is State.DISABLED
        made = len(receiver.attempts)
        await anyio.sleep(6 * DAY)
        assert len(receiver.attempts) == made
        receiver.answer = lambda url, number: Answer(200)
        await server.create(task, url="https://one.test/hook", id="hook 0")  # registered anew
        await anyio.sleep(5)
        assert (await server.health(task)).state is State.DONE
        assert receiver.delivered()


@pytest.mark.parametrize("status", [500, 503, 401, 403, 408, 409, 425, 429, 302, 0])
async def test_what_may_change_is_tried_again(status: int) -> None:
    receiver = PortReceiver(lambda url, number: Answer(200 if number > 4 else status))
    async with driven(receiver, merge=False) as server:
        task = await server.send()
        await anyio.sleep(600)
        assert receiver.delivered() == await server.events(task)
        health = await server.health(task)
        assert (health.failed, health.dead_letters, health.state) == (5, 0, State.DONE)


async def test_an_endpoint_that_is_gone_is_disabled_at_once() -> None:
    receiver = PortReceiver(lambda url, number: Answer(410))
    async with driven(receiver) as server:
        task = await server.send()
        await anyio.sleep(DAY)
        assert len(receiver.attempts) == 1
        assert (await server.health(task)).state is State.DISABLED


async def test_what_is_refused_becomes_a_dead_letter_and_the_next_has_its_turn() -> None:
    receiver = PortReceiver(lambda url, number: Answer(422 if number < 3 else 200))
    async with driven(receiver, merge=False) as server:
        task = await server.send()
        await anyio.sleep(600)
        health = await server.health(task)
        assert health.dead_letters == 1
        assert health.dead[0].generation == 2
        assert health.dead[0].why == "422"
        assert receiver.delivered() == (await server.events(task))[1:]


@pytest.mark.parametrize(("asked", "least"), [(120.0, 120.0), (1e9, 3600.0), (0.0, 3.9)])
async def test_retry_after_is_honoured_within_bounds(asked: float, least: float) -> None:
    receiver = PortReceiver(
        lambda url, number: Answer(200) if number else Answer(429, retry_after=asked)
    )
    async with driven(receiver) as server:
        await server.send()
        await anyio.sleep(2 * 3600)
        first, second, *_ = receiver.attempts
        assert least <= second.at - first.at <= max(least, 6.0) + 2
        assert second.id == first.id
        assert second.body == first.body


async def test_chunks_that_wait_are_merged_and_a_repeat_is_the_same() -> None:
    receiver = PortReceiver(lambda url, number: Answer(200 if number > 5 else 500))
    async with driven(receiver) as server:
        task = await server.send()
        await anyio.sleep(3600)
        bodies: dict[str, bytes] = {}
        for one in receiver.attempts:
            assert bodies.setdefault(one.id, one.body) == one.body
        delivered = [json.loads(body) for body in receiver.delivered()]
        assert len(delivered) < len(await server.events(task))
        words = [
            part["text"]
            for event in delivered
            if (update := event.get("artifactUpdate"))
            for part in update["artifact"]["parts"]
        ]
        assert [word for word in words if word] == ["one", "two", "three"] * 3


async def test_chunks_are_never_merged_for_1_1() -> None:
    receiver = PortReceiver(lambda url, number: Answer(200 if number > 5 else 500))
    async with driven(receiver) as server:
        task = await server.send(version="1.1")
        await anyio.sleep(3600)
        delivered = [json.loads(body) for body in receiver.delivered()]
        numbers = [next(iter(event.values()))["generation"] for event in delivered]
        assert numbers == list(range(2, len(await server.events(task)) + 2))


async def test_filters_and_snapshots() -> None:
    receiver = PortReceiver()
    async with driven(receiver) as server:
        task = await server.send("1", "https://all.test/")
        for name in ("status", "terminal", "snapshot"):
            extensions = (f"urn:greenroom:push:{name}",)
            url = f"https://{name}.test/"
            await server.create(task, url=url, id=name, extensions=extensions)
        await anyio.sleep(30)
        kinds = {
            name: [
                next(iter(json.loads(body))) for body in receiver.delivered(f"https://{name}.test/")
            ]
            for name in ("status", "terminal", "snapshot")
        }
        assert set(kinds["status"]) == {"statusUpdate"}
        assert kinds["terminal"] == ["statusUpdate"]
        assert kinds["snapshot"][0] == "task"
        late = "https://late.test/"
        extensions = ("urn:greenroom:push:snapshot",)
        await server.create(task, url="https://never.test/", id="never")
        await server.create(task, url=late, id="late", extensions=extensions)
        await anyio.sleep(5)
        [snapshot] = receiver.delivered(late)
        assert json.loads(snapshot)["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert receiver.delivered("https://never.test/") == []


async def test_a_thousand_configurations_of_a_slow_host_delay_no_other_host() -> None:
    receiver = PortReceiver()
    receiver.takes = 10.0
    async with driven(receiver, per_host=8) as server:
        for task in range(50):
            await server.send("1", *(f"https://slow.test/{task}/{number}" for number in range(20)))
        await anyio.sleep(30)
        receiver.takes = 0.01
        began = server.now()
        await server.send("0", "https://quick.test/")
        await anyio.sleep(20)
        came = [one.at - began for one in receiver.attempts if one.url == "https://quick.test/"]
        assert came[0] < 0.5
    assert max(receiver.most.values()) == 1, "one delivery of a configuration at once"


async def test_a_configuration_that_is_deleted_is_told_nothing_more() -> None:
    receiver = PortReceiver()
    async with driven(receiver) as server:
        task = await server.send("10")
        await anyio.sleep(5)
        before = len(receiver.attempts)
        assert await server.store.delete_push((await server.row(task)).scope, task, "hook 0")
        await anyio.sleep(60)
        assert len(receiver.attempts) == before


async def test_retention_leaves_a_reader_that_is_behind_its_task() -> None:
    receiver = PortReceiver(lambda url, number: Answer(500))
    async with driven(receiver, merge=False) as server:
        task = await server.send()
        await anyio.sleep(60)
        scope = (await server.row(task)).scope
        assert (await prune(server)).tasks == 0
        receiver.answer = lambda url, number: Answer(200)
        await anyio.sleep(7200)
        assert b"COMPLETED" in receiver.delivered()[-1]
        assert (await prune(server)).tasks == 1
        assert await server.store.push(scope, task, "hook 0") is None


async def prune(server: Driven) -> Pruned:
    return await server.store.prune(
        tasks_before=1e12, sends_before=0.0, events_before=1e12, limit=9
    )
