"""What a hostile peer can do: nothing to others, and to itself what gRPC says."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.exceptions import ProtocolError

from greenroom.transports.grpc.status import Status

from .raw import SEND, STREAM, RawClient, framed, request
from .serving import MIB, Serving, serving

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

_ids = itertools.count()


def fresh() -> str:
    return f"raw-{next(_ids)}-{os.getpid()}"


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(request_timeout=2.0, control_frames=300) as running:
        yield running


@pytest.fixture
def raw(server: Serving) -> Iterator[RawClient]:
    with RawClient(server.server.port) as client:
        yield client


@pytest.fixture(autouse=True)
def neighbour(server: Serving) -> Iterator[None]:
    """Whatever a test does on its connections, another one works before and after."""
    with RawClient(server.server.port) as other:
        assert other.call(request("before", fresh())).status == Status.OK
        yield
        assert other.call(request("after", fresh())).status == Status.OK
    server.until(lambda: not server.server.shared.calls, "all calls are over")


def rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_messages_of_random_bytes_are_invalid(raw: RawClient) -> None:
    dice = random.Random(7)
    for size in (1, 2, 3, 10, 100, 1000, 60_000):
        answer = raw.call(framed(dice.randbytes(size)))
        assert answer.status == Status.INVALID_ARGUMENT, size


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", Status.INTERNAL),
        (b"\0", Status.INTERNAL),
        (b"\0\0\0\0\x05abc", Status.INTERNAL),
        (b"\x07\0\0\0\x01a", Status.INTERNAL),
        (framed(b"", 1), Status.INTERNAL),
        (framed(b"") * 2, Status.INTERNAL),
        (framed(b""), Status.INVALID_ARGUMENT),
        (b"\0\xff\xff\xff\xff", Status.RESOURCE_EXHAUSTED),
        (b"\0\x00\x40\x00\x01", Status.RESOURCE_EXHAUSTED),
    ],
)
def test_broken_prefixes_have_their_status(raw: RawClient, body: bytes, status: Status) -> None:
    assert raw.call(body).status == status


@pytest.mark.parametrize("path", [SEND, STREAM])
def test_a_message_in_pieces_is_one_message(raw: RawClient, path: str) -> None:
    stream = raw.begin(path)
    body = request("in pieces", fresh())
    for at in range(0, len(body), 7):
        raw.data(stream, body[at : at + 7], end=False)
    raw.data(stream, b"")
    answer = raw.answer(stream)
    assert answer.status == Status.OK
    assert b"You said: in pieces" in answer.data


@pytest.mark.parametrize(
    ("fields", "http"),
    [
        ([(":method", "GET")], "405"),
        ([("content-type", "application/json")], "415"),
        ([("content-type", "application/grpc+json")], "415"),
    ],
)
def test_what_is_no_grpc_is_refused_in_http(
    raw: RawClient, fields: list[tuple[str, str]], http: str
) -> None:
    answer = raw.answer(raw.begin(SEND, *fields, end=True))
    assert answer.fields[":status"] == http


@pytest.mark.parametrize("authority", ["[", "]x", "a:b:c", "\0", ""])
def test_a_host_that_is_none_still_gets_the_card(raw: RawClient, authority: str) -> None:
    path = "/a2a.v1.A2AService/GetAgentCard"
    answer = raw.call(framed(b""), path, (":authority", authority))
    assert answer.status == Status.OK
    assert b"Desk" in answer.data


@pytest.mark.parametrize("timeout", ["", "5", "x", "-5S", "123456789S", "5s", "٣S"])
def test_malformed_timeouts_are_invalid(raw: RawClient, timeout: str) -> None:
    answer = raw.call(request("hi", fresh()), SEND, ("grpc-timeout", timeout))
    assert answer.status == Status.INVALID_ARGUMENT


def test_compressed_messages_are_bounded_after_decompression(raw: RawClient) -> None:
    gzipped = ("grpc-encoding", "gzip")
    small = gzip.compress(request("zipped", fresh())[5:])
    assert raw.call(framed(small, 1), SEND, gzipped).status == Status.OK
    bomb = gzip.compress(b"\0" * (64 * MIB))
    assert raw.call(framed(bomb, 1), SEND, gzipped).status == Status.RESOURCE_EXHAUSTED
    assert raw.call(framed(b"no gzip", 1), SEND, gzipped).status == Status.INTERNAL
    assert raw.call(framed(small[:-9], 1), SEND, gzipped).status == Status.INTERNAL


def test_300_mib_of_one_unfinished_message_are_not_kept(server: Serving) -> None:
    before = rss()
    with RawClient(server.server.port) as raw:
        stream = raw.begin()
        raw.data(stream, b"\0" + (600 * MIB).to_bytes(4), end=False)
        answer = raw.answer(stream)
        assert answer.status == Status.RESOURCE_EXHAUSTED
        sent, chunk = 0, b"x" * 16_384
        # The stream is over; who keeps sending all the same gets nowhere, or is not kept.
        frame = len(chunk).to_bytes(3) + b"\0\0" + stream.to_bytes(4) + chunk
        while sent < 300 * MIB and not raw.closed:
            raw.write(frame * 16)
            sent += 16 * len(chunk)
            raw.read(lambda: True)
    assert rss() - before < 64 * MIB


def test_unfinished_messages_of_one_connection_are_bounded() -> None:
    limits: Any = {"max_buffered": 6 * MIB, "max_receive": 4 * MIB}
    with serving(**limits) as running, RawClient(running.server.port) as raw:
        streams = [raw.begin() for _ in range(4)]
        piece = b"x" * 16_000
        refused = []
        for stream in streams:
            raw.data(stream, b"\0" + (4 * MIB).to_bytes(4), end=False)
            for _ in range(3 * MIB // len(piece)):
                raw.read(
                    lambda stream=stream: (  # type: ignore[misc]
                        raw.answers[stream].over
                        or raw.h2.local_flow_control_window(stream) > len(piece)
                    )
                )
                if raw.answers[stream].over:
                    break
                try:
                    raw.data(stream, piece, end=False)
                except ProtocolError:
                    break  # the server has ended the stream
            raw.read(lambda stream=stream: raw.answers[stream].over, 0.1)  # type: ignore[misc]
            refused.append(raw.answers[stream].status)
        full = Status.RESOURCE_EXHAUSTED
        assert refused == [None, None, full, full]
        [session] = running.sessions
        assert session.buffered <= 6 * MIB


def test_whole_messages_of_requests_that_do_not_end_are_bounded_too() -> None:
    with serving(max_buffered=5 * MIB) as running, RawClient(running.server.port) as raw:
        body = framed(b"x" * (3 * MIB))
        raw.read(lambda: raw.h2.remote_settings.initial_window_size > len(body))
        kept, refused = raw.begin(), raw.begin()
        for stream in (kept, refused):
            raw.read(lambda: raw.h2.outbound_flow_control_window > len(body))
            raw.data(stream, body, end=False)
        assert raw.answer(refused).status == Status.RESOURCE_EXHAUSTED
        [session] = running.sessions
        assert 3 * MIB <= session.buffered <= 5 * MIB
        raw.data(kept, b"")
        assert raw.answer(kept).status == Status.INVALID_ARGUMENT
        assert session.buffered == running.server.shared.buffered == 0


def test_compressed_messages_are_not_inflated_before_their_request_ends() -> None:
    """Inflated, a few kilobytes are the longest message there may be."""
    with serving() as running, RawClient(running.server.port) as raw:
        bomb = framed(gzip.compress(b"\0" * (4 * MIB - 10)), 1)
        streams = [raw.begin(SEND, ("grpc-encoding", "gzip")) for _ in range(8)]
        for stream in streams:
            raw.data(stream, bomb, end=False)
        running.until(lambda: running.server.shared.buffered, "they are here")
        assert running.server.shared.buffered <= 8 * len(bomb)
        for stream in streams:
            raw.data(stream, b"")
            assert raw.answer(stream).status == Status.INVALID_ARGUMENT
        assert running.server.shared.buffered == 0


def test_refused_messages_leave_no_room_to_others() -> None:
    with serving() as running, RawClient(running.server.port) as raw:
        for _ in range(20):
            assert raw.call(b"\0\xff\xff\xff\xff" + b"x" * 1000).status
        [session] = running.sessions
        assert session.buffered == 0


@pytest.mark.parametrize("unended", [b"\0\0\0\0\x7fabc", framed(b"whole")])
def test_requests_that_never_end_are_ended(raw: RawClient, unended: bytes) -> None:
    stream = raw.begin()
    raw.data(stream, unended, end=False)
    assert raw.answer(stream).status == Status.DEADLINE_EXCEEDED


def test_a_flood_of_questions_is_bounded_and_keeps_nobody_waiting() -> None:
    """Reflection takes a stream of requests: the least of them may come by the hundred thousand."""
    with serving(max_buffered=2 * MIB) as running:
        port = running.server.port
        with RawClient(port, initial_window_size=2**30) as raw, RawClient(port) as other:
            raw.h2.increment_flow_control_window(2**30)
            few, many = raw.begin(REFLECTION), raw.begin(REFLECTION)
            question = framed(b"\x3a\0")  # list_services
            raw.data(few, question * 7000)
            answers = raw.answers[few]
            raw.read(lambda: bool(answers.data))
            answered = other.call(request("meanwhile", fresh()))
            assert answered.status == Status.OK
            raw.read(lambda: False, 0.01)
            assert not answers.over  # the other did not wait for all of them
            raw.data(many, question * 9000, end=False)
            assert raw.answer(many).status == Status.RESOURCE_EXHAUSTED
            assert raw.answer(few).status == Status.OK
            [held] = {session.buffered for session in running.sessions}
            assert held == 0


def test_one_call_too_many_is_refused_and_may_be_tried_again(server: Serving) -> None:
    with RawClient(server.server.port) as raw:
        streams = [raw.begin() for _ in range(100)]
        limit = server.server.settings.max_streams
        raw.read(lambda: raw.h2.remote_settings.max_concurrent_streams == limit)
        assert raw.h2.remote_settings.max_concurrent_streams == limit
        streams += [raw.begin() for _ in range(limit - 100)]
        over = raw.begin()
        assert raw.answer(over).reset == 7  # REFUSED_STREAM
        raw.data(streams[0], request("still there", fresh()))
        assert raw.answer(streams[0]).status == Status.OK


def test_10_000_opened_and_abandoned_streams(server: Serving) -> None:
    before = rss()
    for _ in range(10):
        with RawClient(server.server.port) as raw:
            for _ in range(1000):
                if raw.closed:
                    break
                raw.begin()
            assert server.server.shared.calls <= 10 * server.server.settings.max_streams
    assert rss() - before < 64 * MIB


def test_rapid_resets_end_the_connection(raw: RawClient, server: Serving) -> None:
    before = server.server.shared.closed_abusive
    for _ in range(2000):
        if raw.closed:
            break
        stream = raw.begin()
        raw.h2.reset_stream(stream)
        raw.flush()
    raw.read(lambda: raw.goaway is not None)
    # The kernel drops a GOAWAY that crosses what the client still writes.
    assert server.server.shared.closed_abusive == before + 1
    assert raw.goaway in (None, (11, b"too_many_control_frames"))  # ENHANCE_YOUR_CALM


def test_ping_floods_end_the_connection(raw: RawClient) -> None:
    assert raw.call(request("hello", fresh())).status == Status.OK
    for _ in range(50):
        raw.h2.ping(b"12345678")
        raw.flush()
    raw.read(lambda: raw.goaway is not None)
    assert raw.goaway == (11, b"too_many_pings")


def test_pings_among_calls_are_welcome(raw: RawClient) -> None:
    for _ in range(20):
        raw.h2.ping(b"12345678")
        assert raw.call(request("hello", fresh())).status == Status.OK


def test_a_flood_of_settings_or_of_empty_data_ends_the_connection(server: Serving) -> None:
    empty_settings = b"\0\0\0\x04\0\0\0\0\0"
    with RawClient(server.server.port) as raw:
        raw.write(empty_settings * 2000)
        raw.read(lambda: raw.closed)
        assert raw.closed
    with RawClient(server.server.port) as raw:
        stream = raw.begin()
        raw.write((b"\0\0\0\0\0" + stream.to_bytes(4)) * 2000)
        raw.read(lambda: raw.closed)
        assert raw.closed


def test_answers_that_nobody_reads_do_not_pile_up(server: Serving) -> None:
    before = rss()
    with socket.create_connection(("127.0.0.1", server.server.port)) as peer:
        peer.settimeout(1)
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        try:
            for _ in range(100):
                peer.sendall(b"\0\0\x08\x06\0\0\0\0\x0012345678" * 1000)
        except OSError:
            pass  # cut off, as it should be
    assert rss() - before < 16 * MIB


def test_bytes_that_are_no_http2_close_the_connection(server: Serving) -> None:
    dice = random.Random(11)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for round_ in range(60):
        with socket.create_connection(("127.0.0.1", server.server.port)) as peer:
            peer.settimeout(5)
            start = preface + b"\0\0\0\x04\0\0\0\0\0" if round_ % 2 else b""
            try:
                peer.sendall(start + dice.randbytes(dice.randrange(1, 400)) + b"\xff" * 64)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65_536):
                    pass
            except ConnectionError:
                pass
    server.until(lambda: len(server.sessions) <= 1, "nothing is left of them")


def test_metadata_too_long_ends_the_connection(server: Serving) -> None:
    with RawClient(server.server.port) as raw:
        for _ in range(20):
            if raw.closed:
                break
            raw.begin(SEND, *[(f"x-{number}", "v" * 1000) for number in range(40)])
        raw.read(lambda: raw.goaway is not None or raw.closed)
        assert raw.goaway is not None or raw.closed
