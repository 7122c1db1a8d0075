"""Health and reflection answer anybody: what they take and keep is little."""

from __future__ import annotations

from contextlib import ExitStack

from greenroom.auth import Security, static_tokens
from greenroom.transports.grpc.rpc import MAX_DISCOVERY_MESSAGE
from greenroom.transports.grpc.shared import MAX_DISCOVERY, MAX_DISCOVERY_PER_ADDRESS
from greenroom.transports.grpc.status import Status

from .raw import RawClient, framed
from .serving import serving

WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
PART = framed(b"\x22\x0elf.a2a.v1.Part")
"""A question that is answered with descriptors of some 20 KB."""


def locked() -> Security:
    return Security(static_tokens("the-token-of-a-good-client"))


def test_a_message_has_a_few_kilobytes() -> None:
    with serving(security=locked()) as running, RawClient(running.server.port) as raw:
        for path in (REFLECTION, CHECK):
            stream = raw.begin(path)
            size = MAX_DISCOVERY_MESSAGE + 1
            raw.data(stream, b"\0" + size.to_bytes(4), end=False)
            assert raw.answer(stream).status == Status.RESOURCE_EXHAUSTED
        name = b"x" * (MAX_DISCOVERY_MESSAGE - 3)
        longest = b"\x22" + bytes((len(name) & 127 | 128, len(name) >> 7)) + name
        answer = raw.call(framed(longest), REFLECTION)
        assert answer.status == Status.OK
        assert name in answer.data


def test_unfinished_messages_and_silence_end_with_the_time_of_a_request() -> None:
    with serving(request_timeout=0.2) as running, RawClient(running.server.port) as raw:
        unfinished, silent, between = (raw.begin(REFLECTION) for _ in range(3))
        raw.data(unfinished, b"\0\0\0\x0f\xff" + b"x" * 3000, end=False)
        raw.data(between, PART, end=False)
        for stream in (unfinished, silent, between):
            assert raw.answer(stream).status == Status.DEADLINE_EXCEEDED
        assert raw.answers[between].data
        assert running.server.shared.buffered == 0


def test_a_connection_and_an_address_have_few_such_calls() -> None:
    with serving(security=locked()) as running, ExitStack() as stack:
        peers = [
            stack.enter_context(RawClient(running.server.port))
            for _ in range(MAX_DISCOVERY_PER_ADDRESS // MAX_DISCOVERY)
        ]
        for peer in peers:
            for number in range(MAX_DISCOVERY):
                stream = peer.begin(WATCH if number % 2 else REFLECTION)
                peer.data(stream, framed(b"") if number % 2 else PART, end=bool(number % 2))
                answer = peer.answers[stream]
                peer.read(lambda answer=answer: answer.data)  # type: ignore[misc]
                assert answer.data
        over = peers[0].call(framed(b""), CHECK)
        assert over.status == Status.RESOURCE_EXHAUSTED
        assert "connection" in over.fields["grpc-message"]
        last = stack.enter_context(RawClient(running.server.port))
        over = last.call(framed(b""), CHECK)
        assert over.status == Status.RESOURCE_EXHAUSTED
        assert "address" in over.fields["grpc-message"]
        peers.pop().socket.close()
        running.until(lambda: len(running.sessions) == len(peers) + 1, "it is gone")
        assert last.call(framed(b""), CHECK).status == Status.OK
    assert not running.server.shared.discovery_of


def test_answers_count_as_unread_before_they_are_built() -> None:
    with serving(security=locked(), max_unread=60_000) as running:
        with RawClient(running.server.port, initial_window_size=0) as raw:
            streams = [raw.begin(REFLECTION) for _ in range(MAX_DISCOVERY)]
            for stream in streams:
                raw.data(stream, PART, end=False)
            raw.read(lambda: any(raw.answers[one].over for one in streams))
            [session] = running.sessions
            assert 0 < session.unread <= 60_000
            assert session.unread == running.server.shared.unread
            over = [one for one in streams if raw.answers[one].over]
            assert {raw.answers[one].status for one in over} == {Status.RESOURCE_EXHAUSTED}
        running.until(lambda: not running.sessions, "it is gone")
        assert running.server.shared.unread == 0
