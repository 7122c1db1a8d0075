"""SIGTERM under load, and processes that stand still for longer than their lease."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..e2e.process import pythons
from .harness import Client, Place, Zygote, check, read_effects


@pytest.fixture(params=pythons(), ids=lambda path: Path(path).parent.parent.name)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with Zygote(request.param) as zygote:
        found = Place(zygote, tmp_path)
        yield found
        found.signal(signal.SIGCONT)
        if found.pid:
            found.kill()


def test_sigterm_under_load_loses_nothing(place: Place) -> None:
    """Every server is told to go amid open streams; the next one resumes what it left."""
    over, served = threading.Event(), threading.Event()
    done: list[Client] = []
    failures: list[BaseException] = []
    arguments = ("--grace", "0.3", "--deadline", "5")

    def revive() -> None:
        time.sleep(0.01)
        assert served.wait(30)

    def work() -> None:
        try:
            while not over.is_set():
                client = Client(place, revive)
                client.run()
                done.append(client)
        except BaseException as error:
            failures.append(error)

    place.start(*arguments)
    served.set()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.4)
        served.clear()
        began = time.monotonic()
        place.signal(signal.SIGTERM)
        place.wait(10)
        assert time.monotonic() - began < 5.5
        place.start(*arguments)
        served.set()
    over.set()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    place.kill()
    effects = read_effects(place.effects)
    assert len(done) > 8
    for client in done:
        check(client, place.journal(client.task), effects)


def test_a_process_that_stands_still_keeps_its_file_and_goes_on(
    place: Place, tmp_path: Path
) -> None:
    """On SQLite nobody can take over from it; when it wakes it gives its tasks up, and takes up."""
    lease = ("--set", "runtime.lease=0.6")
    place.start(*lease)
    clients = [Client(place, lambda: time.sleep(0.05)) for _ in range(4)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(0.03)
    place.signal(signal.SIGSTOP)
    stopped = place.pid
    time.sleep(1.5)
    with pytest.raises(AssertionError, match="is served by another process"):
        place.start(*lease)
    place.pid = stopped
    place.signal(signal.SIGCONT)
    for thread in threads:
        thread.join(30)
    place.kill()
    effects = read_effects(place.effects)
    for client in clients:
        assert client.result, "it never ended"
        check(client, place.journal(client.task), effects)
