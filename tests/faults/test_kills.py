"""SIGKILL: at every point of a task, and at any moment under load."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Client, Events, Place, Zygote, check, read_effects


def seed(default: int = 20) -> int:
    """Of what is left to chance: ``FAULT_SEED`` if that is set. pytest shows it where it fails."""
    value = int(os.environ.get("FAULT_SEED", default))
    print(f"again with FAULT_SEED={value}")
    return value


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.fixture
def place(zygote: Zygote, tmp_path: Path) -> Iterator[Place]:
    crash_place = Place(zygote, tmp_path)
    yield crash_place
    if crash_place.pid:
        crash_place.kill()


def count_points(place: Place, folder: Path) -> int:
    """Play the script without a fault and return how many points it passes."""
    points = folder / "points"
    place.start(FAULT_POINTS=str(points))
    client = Client(place, lambda: pytest.fail("nobody killed it"))
    client.run()
    place.kill()
    check(client, place.journal(client.task), read_effects(place.effects))
    return len(points.read_text().splitlines())


def kill_at(place: Place, points: range) -> None:
    """One task per point: its server dies there, and the next one finishes it."""
    clients: list[Client] = []
    for point in points:
        if clients:
            place.kill()
        place.start(FAULT_KILL_AT=str(point))

        def revive() -> None:
            place.wait()
            place.start()

        client = Client(place, revive)
        client.run()
        assert client.deaths == 1, f"nobody died at point {point}"
        clients.append(client)
    place.kill()
    effects = read_effects(place.effects)
    for client in clients:
        check(client, place.journal(client.task), effects)


def test_killed_at_some_points_of_a_task(place: Place, tmp_path: Path) -> None:
    total = count_points(place, tmp_path)
    assert total > 60
    # Every eighth; the long run takes them all.
    kill_at(place, range(1 + seed() % 8, total - 2, 8))


@pytest.mark.long
def test_killed_at_every_point_of_a_task(place: Place, tmp_path: Path) -> None:
    kill_at(place, range(1, count_points(place, tmp_path) - 1))


def kill_under_load(place: Place, kills: int, seed: int, clients: int = 6) -> None:
    """Clients start task after task while servers die after any number of events."""
    chance = random.Random(seed)
    events = Events()
    done: list[Client] = []
    failures: list[BaseException] = []
    over = threading.Event()
    served = threading.Event()

    def revive() -> None:
        if not served.wait(30):
            raise AssertionError("no server came back")

    def work() -> None:
        try:
            while not over.is_set():
                client = Client(place, revive, events.heard)
                client.run()
                done.append(client)
        except BaseException as error:
            failures.append(error)

    place.start()
    served.set()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            events.wait_for(chance.randrange(60))
            served.clear()
            place.kill()
            if failures:
                break
            place.start()
            served.set()
    finally:
        over.set()
    for thread in threads:
        thread.join(90)
    assert not failures, failures
    place.kill()
    effects = read_effects(place.effects)
    assert len(done) >= clients
    assert sum(client.deaths for client in done) >= kills
    for client in done:
        check(client, place.journal(client.task), effects)


def test_killed_at_any_moment_under_load(place: Place) -> None:
    kill_under_load(place, kills=50, seed=seed())


@pytest.mark.long
def test_killed_500_times_under_load(place: Place) -> None:
    kill_under_load(place, kills=500, seed=seed(random.getrandbits(32)), clients=12)
