"""How many connections there may be, and what happens to one more."""

from __future__ import annotations

import resource
import select
import socket
from contextlib import ExitStack

from tests.support.servers import as_process

from .conftest import HEALTH, answered, connect, serves, until_closed


def test_who_opens_connections_and_uses_none_takes_no_place_from_others(
    loop: tuple[str, ...],
) -> None:
    options = ("--max-connections-per-address", "20")
    with as_process("--store", "memory://", *loop, *options) as server, ExitStack() as stack:
        good = stack.enter_context(connect(server))
        good.sendall(HEALTH + b"\r\n")
        answered(good)
        waiting = {stack.enter_context(connect(server)) for _ in range(50)}
        while len(waiting) > 19:  # all but those that have the other places are closed
            readable, _, _ = select.select(waiting, [], [], 20)
            assert readable
            for connection in readable:
                assert until_closed(connection) == b""
                waiting.discard(connection)
        good.sendall(HEALTH + b"\r\n")
        answered(good)
        assert server.stop() == 0


def test_a_connection_that_is_in_use_makes_no_way(loop: tuple[str, ...]) -> None:
    options = ("--max-connections-per-address", "3", "--grace", "0")
    with as_process("--store", "memory://", *loop, *options) as server:
        streams = [server.stream("forever") for _ in range(3)]
        for stream in streams:
            next(iter(stream))
        with connect(server) as refused:
            assert until_closed(refused) == b""
        for stream in streams:
            assert next(iter(stream)), "it goes on"
        assert server.stop() == 0
    assert "too many connections" in server.log


def test_running_out_of_descriptors(loop: tuple[str, ...]) -> None:
    """Those that are open are served, the log says it once a second, and new ones come in."""
    with as_process("--store", "memory://", *loop) as server, ExitStack() as stack:
        good = stack.enter_context(connect(server))
        good.sendall(HEALTH + b"\r\n")
        answered(good)
        limit = 60
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        for _ in range(2 * limit):
            stack.enter_context(connect(server))
        for _ in range(100):
            good.sendall(HEALTH + b"\r\n")
            answered(good)
        assert server.stop() == 0
    lines = server.log.splitlines()
    assert 1 <= sum("cannot accept connections" in line for line in lines) < 20, server.log
    assert "Traceback" not in server.log


def test_a_server_counts_its_descriptors_before_they_run_out(loop: tuple[str, ...]) -> None:
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, own[1]))
    try:
        options = ("--max-connections", "100000")
        with as_process("--store", "memory://", *loop, *options) as server:
            soft, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            assert soft >= min(own[1], 100_000)
            serves(server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, own)


def test_an_idle_connection_is_closed_when_its_time_is_over(loop: tuple[str, ...]) -> None:
    with as_process("--store", "memory://", *loop, "--keep-alive", "0.2") as server:
        with connect(server) as silent, connect(server) as slow, connect(server) as used:
            used.sendall(HEALTH + b"\r\n")
            answered(used)
            slow.sendall(HEALTH)  # a header that does not end
            for connection in (silent, slow, used):
                assert until_closed(connection) == b""
        assert server.stop() == 0


def test_connections_that_were_closed_are_gone(loop: tuple[str, ...]) -> None:
    with as_process("--store", "memory://", *loop, "--max-connections", "10") as server:
        for _ in range(100):
            with connect(server) as connection:
                connection.sendall(HEALTH + b"\r\n")
                answered(connection)
                connection.shutdown(socket.SHUT_WR)
                assert until_closed(connection) == b""
        assert server.stop() == 0
    assert "too many connections" not in server.log
