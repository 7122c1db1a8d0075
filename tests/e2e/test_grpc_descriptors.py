"""Running out of file descriptors: open gRPC connections go on, and the log stays short."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.servers import as_process
from tests.transports.grpc.raw import RawClient, request

FILES = 80
"""Open files that the server may have."""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_open_connections_go_on_without_a_descriptor_for_more(loop: str) -> None:
    options = ("--store", "memory://", "--grpc-port", "0", "--set", f"loop={loop}")
    with as_process(*options) as server:
        pid = server.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        port = int(server.ready["grpc"].rpartition(":")[2])
        with RawClient(port) as before, ExitStack() as idle:
            assert before.call(request("echo hello", "before")).status == 0
            for _ in range(FILES + 40):
                idle.enter_context(socket.create_connection(("127.0.0.1", port)))
            for number in range(20):
                assert before.call(request("echo hello", f"while-{number}")).status == 0
            assert len(list(Path(f"/proc/{pid}/fd").iterdir())) <= FILES
            idle.close()
            with RawClient(port) as after:
                assert after.call(request("echo hello", "after")).status == 0
        assert server.stop() == 0
    assert 1 <= server.log.count("cannot accept connections") <= 60
    assert len(server.log) < 30_000
