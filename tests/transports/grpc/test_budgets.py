"""Connections, unread answers and control frames are bounded for each peer and in all."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb

from greenroom.auth import Security, static_tokens
from greenroom.transports.grpc.status import Status

from .raw import SEND, RawClient, framed, request
from .serving import MIB, Serving, said, serving, stub

GET = "/lf.a2a.v1.A2AService/GetTask"
WATCH = "/grpc.health.v1.Health/Watch"
ADA, BOB = "the-token-of-ada-lovelace", "the-token-of-bob-the-builder"


def refused(running: Serving) -> bool:
    with RawClient(running.server.port) as raw:
        return raw.call(framed(b""), "/grpc.health.v1.Health/Check").status != Status.OK


def test_an_address_has_only_so_many_connections() -> None:
    with serving(max_connections_per_address=2) as running, ExitStack() as stack:
        peers = [stack.enter_context(RawClient(running.server.port)) for _ in range(2)]
        for peer in peers:
            assert peer.call(request("hello", f"m-{id(peer)}")).status == Status.OK
        assert refused(running)
        assert peers[0].call(request("again", "m-again")).status == Status.OK
        peers[1].socket.close()
        running.until(lambda: len(running.sessions) == 1, "one is gone")
        assert not refused(running)


def test_trusted_proxies_have_as_many_connections_as_there_are() -> None:
    limits: Any = {"max_connections_per_address": 1, "trusted_proxies": ("127.0.0.1",)}
    with serving(**limits) as running, RawClient(running.server.port) as raw:
        assert raw.call(request("hello", "proxied")).status == Status.OK
        assert not refused(running)


@pytest.mark.parametrize("limit", ["max_unread_caller", "max_unread_total"])
def test_unread_answers_are_bounded_over_all_connections(limit: str) -> None:
    """Of one caller, and of two callers who have a connection each."""
    tokens = Security(static_tokens({"ada": ADA, "bob": BOB}))
    settings: Any = {limit: 8 * MIB}
    with serving(security=tokens, **settings) as running, ExitStack() as stack:
        with running.channel() as channel:
            slow = []
            for token in (ADA, ADA, BOB, BOB):
                mine = ("authorization", f"Bearer {token}")
                task = stub(channel).SendMessage(said("large 3000000"), metadata=[mine]).task
                peer = stack.enter_context(RawClient(running.server.port, initial_window_size=0))
                body = framed(pb.GetTaskRequest(id=task.id).SerializeToString())
                for _ in range(2):
                    stream = peer.begin(GET, mine)
                    peer.data(stream, body)
                    slow.append((peer, stream))
        shared = running.server.shared
        waiting = 2 if limit == "max_unread_total" else 4
        running.until(
            lambda: shared.calls == waiting == shared.unread // 3_000_000,
            "what is too much has ended, and the rest waits",
        )
        for peer in dict.fromkeys(peer for peer, _ in slow):
            peer.read(lambda: False, 0.2)
        statuses = [peer.answers[stream].status for peer, stream in slow]
        assert statuses.count(None) == waiting
        assert statuses.count(Status.RESOURCE_EXHAUSTED) == len(slow) - waiting
        stack.pop_all().close()
        running.until(lambda: not running.sessions, "they are gone")
        assert shared.unread == 0
        assert not shared.unread_of


def test_window_updates_that_nothing_earned_are_control_frames() -> None:
    """However many calls wait: an update wakes those that wait for room, and no other."""
    with serving(control_frames=200) as running, RawClient(running.server.port) as raw:
        for _ in range(16):
            raw.data(raw.begin(WATCH), framed(b""))
        raw.write(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01" * 2000)
        raw.read(lambda: raw.goaway is not None)
        assert raw.goaway == (11, b"too_many_control_frames")


def test_window_updates_of_who_reads_are_free() -> None:
    with serving(control_frames=20) as running:
        with RawClient(running.server.port, initial_window_size=100) as raw:
            answer = raw.call(request("large 50000", "updates-1"), SEND)
            assert answer.status == Status.OK
            assert running.server.shared.closed_abusive == 0


def test_an_exception_of_one_connection_ends_that_connection_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError("h2 has a fault" + "\n" * 1000)

    with serving() as running, RawClient(running.server.port) as other:
        assert other.call(request("hello", "m-other-1")).status == Status.OK
        with RawClient(running.server.port) as raw:
            assert raw.call(request("hello", "m-raw")).status == Status.OK
            port = raw.socket.getsockname()[1]
            [session] = [
                one
                for one in running.sessions
                if one.transport.get_extra_info("peername")[1] == port
            ]
            monkeypatch.setattr(session.h2, "receive_data", fail)
            raw.begin()
            raw.read(lambda: raw.closed)
            assert raw.closed
        assert other.call(request("hello", "m-other-2")).status == Status.OK
        assert len(running.sessions) == 1
    records = [one for one in caplog.records if one.name == "greenroom.transports.grpc"]
    [record] = [one for one in records if one.levelname != "DEBUG"]
    assert record.exc_info is None
    assert len(record.getMessage()) < 300
