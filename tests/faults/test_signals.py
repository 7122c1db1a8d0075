"""SIGTERM under load, and processes that stand still for longer than their lease."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.interpreters import pythons

from .harness import Client, Events, Place, Zygote, check, read_effects


@pytest.fixture(params=pythons())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with Zygote(request.param) as zygote:
        crash_place = Place(zygote, tmp_path)
        yield crash_place
        crash_place.signal(signal.SIGCONT)
        if crash_place.pid:
            crash_place.kill()


def test_sigterm_under_load_loses_nothing(place: Place) -> None:
    """Every server is told to go amid open streams; the next one resumes what it left."""
    over, served, events = threading.Event(), threading.Event(), Events()
    done: list[Client] = []
    failures: list[BaseException] = []
    arguments = ("--grace", "0.3", "--deadline", "5")

    def revive() -> None:
        assert served.wait(30)

    def work() -> None:
        try:
            while not over.is_set():
                client = Client(place, revive, events.heard)
                client.run()
                done.append(client)
        except BaseException as error:
            failures.append(error)

    place.start(*arguments)
    served.set()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            events.wait_for(100)
            served.clear()
            place.signal(signal.SIGTERM)
            place.wait()
            assert '"event":"draining"' in place.log
            assert '"event":"deadline"' not in place.log, "its watchdog had to end it"
            place.start(*arguments)
            served.set()
    finally:
        over.set()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    place.kill()
    effects = read_effects(place.effects)
    assert len(done) > 8
    for client in done:
        check(client, place.journal(client.task), effects)


def lease_of(path: Path) -> float:
    """Until when the server of a store said that it lives."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        (until,) = db.execute("SELECT max(until) FROM node").fetchone()
    return float(until)


def test_a_process_that_stands_still_keeps_its_file_and_goes_on(place: Place) -> None:
    """On SQLite nobody can take over from it; when it wakes it gives its tasks up, and takes up."""
    lease = ("--set", "runtime.lease=2")
    events = Events()
    place.start(*lease)
    clients = [Client(place, lambda: None, events.heard) for _ in range(4)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    events.wait_for(8)
    place.signal(signal.SIGSTOP)
    stopped, until = place.pid, lease_of(place.path)
    late = False
    while not late:
        late = time.time() > until  # looked at before: the last try is after the lease
        with pytest.raises(AssertionError, match="is served by another process"):
            place.start(*lease)
    place.pid = stopped
    place.signal(signal.SIGCONT)
    for thread in threads:
        thread.join(90)
    place.kill()
    effects = read_effects(place.effects)
    for client in clients:
        assert client.result, "it never ended"
        check(client, place.journal(client.task), effects)
