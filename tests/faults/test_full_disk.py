"""A real server on a real file that may not grow: what it acknowledged it has, and it recovers.

The limit is the kernel's own on the size of files (RLIMIT_FSIZE), set and lifted from outside.
"""

from __future__ import annotations

import http.client
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .harness import Client, Events, Place, Zygote, check, read_effects


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Zygote() as zygote:
        crash_place = Place(zygote, tmp_path)
        yield crash_place
        if crash_place.pid:
            crash_place.kill()


def limit(place: Place, size: int) -> None:
    """Let no file of the server grow beyond ``size`` bytes."""
    hard = resource.prlimit(place.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(place.pid, resource.RLIMIT_FSIZE, (size, hard))


def status(place: Place, path: str) -> int:
    parts = urlsplit(place.url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_server_outlives_a_full_disk_and_loses_nothing(place: Place) -> None:
    room, events = threading.Event(), Events()

    def revive() -> None:
        assert room.wait(30)

    place.start("--set", "runtime.heartbeat=0.4")
    room.set()
    clients = [Client(place, revive, events.heard) for _ in range(24)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads[:12]:
        thread.start()
    for time_of_scarcity in range(2):
        events.wait_for(40)
        room.clear()
        limit(place, Path(f"{place.path}-wal").stat().st_size + 10_000 * time_of_scarcity)
        while status(place, "/ready") == 200:
            pass
        if not time_of_scarcity:
            for thread in threads[12:]:
                thread.start()  # new tasks are asked for as well
        assert status(place, "/health") == 200
        limit(place, resource.RLIM_INFINITY)
        while status(place, "/ready") != 200:
            pass
        room.set()
    for thread in threads:
        thread.join(60)
    assert place.starts == 1
    assert place.alive
    assert any(client.deaths for client in clients), "nobody was refused"
    place.kill()
    effects = read_effects(place.effects)
    for client in clients:
        assert client.result, "it never ended"
        check(client, place.journal(client.task), effects)
