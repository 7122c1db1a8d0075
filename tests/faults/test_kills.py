"""SIGKILL: at every point of a task, and at any moment under load."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Client, Place, Zygote, check, read_effects


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as found:
        yield found


@pytest.fixture
def place(zygote: Zygote, tmp_path: Path) -> Iterator[Place]:
    found = Place(zygote, tmp_path)
    yield found
    if found.pid:
        found.kill()


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
    # Every eighth, another eighth each day of the week: the long run takes them all.
    kill_at(place, range(1 + int(time.time() / 86400) % 8, total - 2, 8))


@pytest.mark.long
def test_killed_at_every_point_of_a_task(place: Place, tmp_path: Path) -> None:
    kill_at(place, range(1, count_points(place, tmp_path) - 1))


def kill_under_load(place: Place, kills: int, seed: int, clients: int = 6) -> None:
    """Clients start task after task while servers die after any time."""
    chance = random.Random(seed)
    done: list[Client] = []
    failures: list[BaseException] = []
    over = threading.Event()
    served = threading.Event()

    def revive() -> None:
        time.sleep(0.005)
        if not served.wait(30):
            raise AssertionError("no server came back")

    def work() -> None:
        try:
            while not over.is_set():
                client = Client(place, revive)
                client.run()
                done.append(client)
        except BaseException as error:
            failures.append(error)

    place.start()
    served.set()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 0.25))
        served.clear()
        place.kill()
        if failures:
            break
        place.start()
        served.set()
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
    kill_under_load(place, kills=50, seed=20)


@pytest.mark.long
def test_killed_500_times_under_load(place: Place) -> None:
    kill_under_load(place, kills=500, seed=int(time.time()), clients=12)
