"""SIGKILL while webhooks are delivered: every event arrives, in order, under one id."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import Kind
from greenroom.stores.sqlite import SQLiteStore
from tests.support.receiver import Delivery, Receiver, Reply, receiving

from .harness import BROKEN, HERE, Place, Zygote, call
from .test_kills import seed

SCOPE = TaskScope("", "pusher", "anonymous")
QUICK = (
    "--set", "push.allow_private=true", "--set", "push.first_delay=0.02",
    "--set", "push.max_delay=0.1",
)  # fmt: skip
UNMERGED = (*QUICK, "--set", "push.merge=false")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as found:
        yield found


@pytest.fixture
def place(zygote: Zygote, tmp_path: Path) -> Iterator[Place]:
    found = Place(zygote, tmp_path, HERE / "push_agent.py")
    yield found
    if found.pid:
        found.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


class Sender:
    """Sends one message whose task two webhooks are told of."""

    def __init__(self, place: Place, receiver: Receiver) -> None:
        self._place = place
        self._message = str(uuid.uuid4())
        self.path = f"/{self._message}"
        self._url = receiver.url + self.path
        self.task = ""

    def send(self) -> None:
        """Raises what a server that dies makes of it."""
        message = {"messageId": self._message, "role": "ROLE_USER", "parts": [{"text": "go"}]}
        configuration = {
            "returnImmediately": True,
            "taskPushNotificationConfig": {"url": self._url, "id": "hook"},
        }
        params = {"message": message, "configuration": configuration}
        found = call(self._place.url, "SendMessage", params)
        self.task = found["task"]["id"]

    def persist(self) -> None:
        """Send until it was answered."""
        deadline = time.monotonic() + 30
        while not self.task:
            assert time.monotonic() < deadline, "no server answers"
            try:
                self.send()
            except BROKEN:
                time.sleep(0.005)

    def told_the_end(self, ledger: list[Delivery]) -> bool:
        return any(
            one.path == self.path and one.status == 204 and b"TASK_STATE_COMPLETED" in one.body
            for one in ledger
        )


def generation(delivery: Delivery) -> int:
    found = re.search(r"generation=(\d+)", delivery.headers["greenroom-delivery"])
    assert found is not None
    return int(found[1])


def journals(path: Path, tasks: list[str]) -> dict[str, dict[int, Any]]:
    """The events on disk of each task, by generation; for when no server runs."""

    async def read() -> dict[str, dict[int, Any]]:
        store = SQLiteStore(path)
        await store.open(now=time.time())
        try:
            return {
                task: {
                    entry.generation: json.loads(entry.body)
                    for entry in await store.journal(SCOPE, task)
                    if entry.kind is Kind.EVENT
                }
                for task in tasks
            }
        finally:
            await store.close()

    return anyio.run(read)


def check_exact(sender: Sender, receiver: Receiver, events: dict[int, Any]) -> None:
    """Without merging: what came, without the repeats, is the journal."""
    came = receiver.of(sender.path)
    check_order(came)
    once = receiver.once(sender.path)
    assert {generation(one): one.json for one in once} == events
    assert [generation(one) for one in once] == sorted(events)


def check_order(came: list[Delivery]) -> None:
    """A repeat comes right behind what it repeats, under the same id, with the same content."""
    numbers = [generation(one) for one in came]
    assert numbers == sorted(numbers), "a later event came before an earlier one"
    bodies: dict[str, bytes] = {}
    for one in came:
        assert bodies.setdefault(one.id, one.body) == one.body
    assert len({generation(one) for one in came}) == len(bodies), "one event has two ids"


def check_merged(sender: Sender, receiver: Receiver, events: dict[int, Any]) -> None:
    """With merging: the parts and statuses that came, without the repeats, are the journal's."""
    check_order(receiver.of(sender.path))
    came = [one.json for one in receiver.once(sender.path)]
    assert _told(came) == _told([events[number] for number in sorted(events)])


def _told(events: list[Any]) -> tuple[Any, Any]:
    statuses = [event["statusUpdate"] for event in events if "statusUpdate" in event]
    parts: dict[str, list[Any]] = {}
    for event in events:
        if update := event.get("artifactUpdate"):
            artifact = update["artifact"]
            if not update.get("append"):
                parts[artifact["artifactId"]] = []
            parts[artifact["artifactId"]] += artifact["parts"]
    return statuses, parts


def count_points(place: Place, receiver: Receiver, folder: Path) -> int:
    points = folder / "points"
    place.start(*UNMERGED, FAULT_POINTS=str(points))
    sender = Sender(place, receiver)
    sender.persist()
    receiver.wait_for(sender.told_the_end)
    place.kill()
    return len(points.read_text().splitlines())


def kill_at(place: Place, receiver: Receiver, points: range) -> None:
    """One task for each point: its server dies there, and the next one delivers the rest."""
    senders: list[Sender] = []
    for point in points:
        if place.pid:
            place.kill()
        place.start(*UNMERGED, FAULT_KILL_AT=str(point))
        sender = Sender(place, receiver)
        with contextlib.suppress(*BROKEN):
            sender.send()
        place.wait()
        place.start(*UNMERGED)
        sender.persist()
        senders.append(sender)
        receiver.wait_for(sender.told_the_end)
    place.kill()
    found = journals(place.path, [sender.task for sender in senders])
    for sender in senders:
        check_exact(sender, receiver, found[sender.task])


def test_killed_at_some_points_of_a_delivery(
    place: Place, receiver: Receiver, tmp_path: Path
) -> None:
    total = count_points(place, receiver, tmp_path)
    assert total > 100
    kill_at(place, receiver, range(1 + seed() % 9, total - 12, 9))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_at_every_point_of_a_delivery(
    place: Place, receiver: Receiver, tmp_path: Path
) -> None:
    kill_at(place, receiver, range(1, count_points(place, receiver, tmp_path) - 12))


def reaches(wanted: int, ledger: list[Delivery]) -> bool:
    return len(ledger) >= wanted


def kill_under_load(place: Place, receiver: Receiver, kills: int, chance: random.Random) -> None:
    """Senders begin task after task while servers die at any moment."""
    senders: list[Sender] = []
    over = threading.Event()
    failures: list[BaseException] = []

    def flaky(path: str, headers: Any, body: bytes) -> Reply:
        return Reply(chance.choice((204, 204, 204, 500, 0, 429)))

    receiver.answer = flaky

    def work() -> None:
        try:
            while not over.is_set():
                sender = Sender(place, receiver)
                senders.append(sender)
                sender.persist()
                while not (over.is_set() or sender.told_the_end(receiver.ledger[-400:])):
                    over.wait(0.01)
        except BaseException as error:
            failures.append(error)

    place.start(*QUICK)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            wanted = len(receiver.ledger) + chance.randrange(1, 60)
            receiver.wait_for(partial(reaches, wanted), within=30)
            place.kill()
            if failures:
                break
            place.start(*QUICK)
    finally:
        over.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    receiver.answer = lambda path, headers, body: Reply()
    for sender in senders:
        receiver.wait_for(sender.told_the_end, within=60)
    place.kill()
    found = journals(place.path, [sender.task for sender in senders])
    for sender in senders:
        check_merged(sender, receiver, found[sender.task])


def test_killed_at_any_moment_under_load(place: Place, receiver: Receiver) -> None:
    kill_under_load(place, receiver, 50, random.Random(seed()))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_five_hundred_times_under_load(place: Place, receiver: Receiver) -> None:
    kill_under_load(place, receiver, 500, random.Random(seed(21)))
