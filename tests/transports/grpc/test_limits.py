"""Slow readers, large answers, idle and dead connections, age, and the end of the server."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import grpc
import pytest
from a2a.types import a2a_pb2 as pb

from greenroom import MemoryStore, Runtime
from greenroom.auth import Security, static_tokens
from greenroom.transports.errors import ServerError
from greenroom.transports.grpc.server import GrpcServer
from greenroom.transports.grpc.status import Status
from greenroom.transports.settings import Listen

from .raw import SEND, STREAM, RawClient, framed, request
from .serving import MIB, Serving, make_agents, said, serving, stub

MISSING = pb.GetTaskRequest(id="00000000-0000-4000-8000-000000000000")
GET = "/lf.a2a.v1.A2AService/GetTask"


def test_an_answer_larger_than_the_limit_is_refused() -> None:
    with serving(max_send=100_000) as running, running.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            stub(channel).SendMessage(said("large 200000"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub(channel).SendMessage(said("large 1000"), timeout=10).task.id


def test_large_answers_pass_through_small_windows() -> None:
    with serving() as running, RawClient(running.server.port, initial_window_size=100) as raw:
        answer = raw.call(request("large 50000", "large-1"))
        assert answer.status == Status.OK
        assert b"x" * 50_000 in answer.data


@pytest.mark.parametrize("window", [65_535, pytest.param(2**31 - 1, marks=pytest.mark.long)])
def test_large_answers_that_nobody_reads_are_bounded(window: int) -> None:
    """Whether the client's windows stop them or, where those are wide open, its socket does."""
    with serving(max_unread=8 * MIB) as running:
        with RawClient(running.server.port, initial_window_size=window) as slow:
            slow.h2.increment_flow_control_window(2**31 - 65_536)
            with running.channel(**{"grpc.max_receive_message_length": -1}) as channel:
                task = stub(channel).SendMessage(said("large 4000000"), timeout=10).task
                body = framed(pb.GetTaskRequest(id=task.id).SerializeToString())
                streams = [slow.begin(GET) for _ in range(20)]
                for stream in streams:
                    slow.data(stream, body)
                assert stub(channel).SendMessage(said("hello"), timeout=10).task.id

            def waiting() -> Any:
                """The connection, once all calls have come and those too many have ended."""
                for session in running.sessions:
                    came = session.h2.highest_inbound_stream_id >= streams[-1]
                    if came and len(session.calls) <= 4:
                        return session
                return None

            running.until(waiting, "what is too much has ended")
            assert 4 * MIB < waiting().unread <= 8 * MIB
            slow.read(lambda: sum(slow.answers[one].over for one in streams) == 20, 5)
            statuses = [slow.answers[one].status for one in streams]
            assert set(statuses) == {Status.OK, Status.RESOURCE_EXHAUSTED}  # now that it reads
            assert statuses.count(Status.OK) <= 4


def test_a_stream_that_is_not_read_is_ended_and_others_go_on() -> None:
    with serving(write_timeout=0.3) as running:
        with RawClient(running.server.port, initial_window_size=0) as slow:
            stream = slow.begin(STREAM)
            slow.data(stream, request("count 10", "slow-1"))
            with running.channel() as channel:
                assert stub(channel).SendMessage(said("hello"), timeout=10).task.id
            answer = slow.answer(stream)
            assert answer.status == Status.UNAVAILABLE
            assert not answer.data
        assert running.server.shared.calls_dropped == 1
        assert running.runtime.statistics()["streams_open"] == 0


def test_a_connection_that_takes_nothing_is_cut() -> None:
    with serving(write_timeout=0.3) as running:
        with RawClient(running.server.port, initial_window_size=2**30) as slow:
            slow.h2.increment_flow_control_window(2**30)
            stream = slow.begin(STREAM)
            slow.data(stream, request("flood 400", "slow-2"))
            running.until(lambda: running.server.shared.calls, "the call is there")
            running.until(lambda: not running.sessions, "the connection is cut")
        running.until(lambda: not running.server.shared.calls, "its call is over")
        assert running.runtime.statistics()["streams_open"] == 0


def test_idle_connections_are_sent_away() -> None:
    with serving(idle=0.2) as running, RawClient(running.server.port) as raw:
        raw.read(lambda: raw.closed)
        assert raw.goaway == (0, b"idle")


def test_old_connections_are_sent_away_and_their_calls_ended() -> None:
    with serving(age=0.2, age_grace=0.2) as running, RawClient(running.server.port) as raw:
        stream = raw.begin(STREAM)
        raw.data(stream, request("wait", "old-1"))
        raw.read(lambda: raw.closed)
        assert raw.goaway == (0, b"max_age")
        assert not running.sessions


def test_no_call_is_lost_when_connections_grow_old() -> None:
    """RFC 9113 section 6.8: what crosses the GOAWAY is served, or named as not served."""
    codes: list[grpc.StatusCode] = []
    peers: set[int] = set()

    def work(running: Serving, until: float) -> None:
        with running.channel(**{"grpc.use_local_subchannel_pool": 1}) as channel:
            client = stub(channel)
            while time.monotonic() < until:
                calls = [client.GetTask.future(MISSING, timeout=10) for _ in range(4)]
                codes.extend(call.code() for call in calls)
                peers.update(map(id, running.sessions))

    with serving(age=0.2) as running:
        until = time.monotonic() + 3
        workers = [threading.Thread(target=work, args=(running, until)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=30)
    assert len(peers) > 4  # they did grow old
    assert len(codes) > 100
    assert set(codes) == {grpc.StatusCode.NOT_FOUND}


def test_goaway_comes_twice_with_a_ping_between() -> None:
    with serving(age=0.2) as running, RawClient(running.server.port) as raw:
        seen = b""
        while data := raw.socket.recv(65_536):
            seen += data
    whole, told = seen.split(b"max_age")[:2], [2**31 - 1, 0]
    lasts = [int.from_bytes(part[-8:-4]) for part in whole]
    assert lasts == told
    assert whole[1][3] == 6  # PING


def test_peers_that_do_not_answer_pings_are_dropped() -> None:
    with serving(keepalive=0.2, keepalive_timeout=0.2) as running:
        with RawClient(running.server.port) as raw:
            running.until(lambda: running.sessions, "it is accepted")
            running.until(lambda: not running.sessions, "it is dropped")
            raw.read(lambda: raw.closed)
            assert raw.closed


def test_connections_beyond_the_limit_are_closed() -> None:
    with serving(max_connections=1) as running, RawClient(running.server.port) as one:
        assert one.call(request("hello", "one")).status == Status.OK
        with RawClient(running.server.port) as two:
            two.read(lambda: two.closed)
            assert two.closed
        assert one.call(request("hello", "one again")).status == Status.OK


def test_the_end_sends_streams_elsewhere_and_connections_away() -> None:
    with serving() as running, running.channel() as channel, RawClient(running.server.port) as raw:
        events = stub(channel).SendStreamingMessage(said("wait"), timeout=20)
        next(events)
        outcome: list[Any] = []

        def rest() -> None:
            try:
                outcome.extend(events)
            except grpc.RpcError as error:
                outcome.append(error)

        reading = threading.Thread(target=rest)
        reading.start()

        async def drain() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(running.server.drain, 2.0)
                await running.runtime.drain(0.1)

        started = time.monotonic()
        running.portal.call(drain)
        took = time.monotonic() - started
        reading.join(timeout=10)
        assert outcome[-1].code() is grpc.StatusCode.UNAVAILABLE
        assert "subscribe" in outcome[-1].details()
        raw.read(lambda: raw.closed)
        assert raw.goaway == (0, b"stopping")
        assert took < 8
        assert not running.sessions
        with pytest.raises(ConnectionRefusedError):
            RawClient(running.server.port)


def test_calls_that_outlast_the_grace_get_unavailable() -> None:
    with serving() as running, RawClient(running.server.port) as raw:
        stream = raw.begin(STREAM)
        raw.data(stream, request("wait", "grace-1"))
        raw.read(lambda: bool(raw.answers[stream].data))
        running.portal.call(running.server.drain, 0.1)
        raw.read(lambda: raw.closed)
        assert not running.server.shared.calls


def test_under_trio_it_says_what_works_there() -> None:
    async def main() -> None:
        async with Runtime(make_agents(), store=MemoryStore()) as runtime:
            async with GrpcServer(runtime, listen=Listen(port=0)):
                raise AssertionError("it started")

    with pytest.raises(ServerError, match=r"asyncio only.*SSE run on trio"):
        anyio.run(main, backend="trio")


@pytest.mark.parametrize(
    ("settings", "said_"),
    [
        ({"agent_ports": ("nobody=0",)}, "slug=port"),
        ({"agent_ports": ("direct",)}, "slug=port"),
        ({"certfile": "/no/such.pem"}, "both certfile and keyfile"),
        ({"certfile": "/no/such.pem", "keyfile": "/no/such.key"}, "cannot use /no/such.pem"),
        ({"client_ca": "/no/such.pem"}, "client_ca"),
    ],
)
def test_settings_that_cannot_be_say_what_to_change(settings: Any, said_: str) -> None:
    found: BaseException = AssertionError("it started")
    try:
        with serving(**settings):
            pass
    except BaseException as error:
        found = error
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, ServerError)
    assert said_ in str(found)


def test_a_port_in_use_says_so() -> None:
    with serving() as running:
        port = running.server.port

        async def again() -> None:
            runtime = running.runtime
            async with GrpcServer(runtime, listen=Listen(port=port)):
                raise AssertionError("it started")

        with pytest.raises(ServerError, match=f"port {port}.*--grpc-port"):
            running.portal.call(again)


TOKEN = "the-token-of-a-good-client"
MINE = ("authorization", f"Bearer {TOKEN}")


def test_nothing_of_a_message_is_awaited_of_callers_who_are_not_let_in() -> None:
    with serving(security=Security(static_tokens(TOKEN))) as running:
        with RawClient(running.server.port) as raw:
            answer = raw.answer(raw.begin())
            assert answer.status == Status.UNAUTHENTICATED
            assert answer.reset == 0  # and no more of it is wanted
            assert raw.call(request("hello", "m-1"), SEND, MINE).status == Status.OK


def test_there_is_room_for_a_long_message_once_its_caller_is_let_in() -> None:
    with serving(security=Security(static_tokens(TOKEN))) as running:
        with RawClient(running.server.port) as raw:
            body = framed(request("x" * 1_000_000, "m-1")[5:])
            stream = raw.begin(SEND, MINE)
            raw.data(stream, body[:60_000], end=False)
            assert raw.h2.local_flow_control_window(stream) < 65_535
            raw.read(lambda: raw.h2.local_flow_control_window(stream) > len(body) - 60_000)
            raw.data(stream, body[60_000:])
            assert raw.answer(stream).status == Status.OK
            assert {session.buffered for session in running.sessions} == {0}
