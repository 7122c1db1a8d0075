"""A real server on SQLite, and the foreign clients pointed at it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import pytest

from tests.support.paths import ROOT

from .peers import CLIENTS, TRANSPORTS, ForeignClient, Peer

AGENTS = ("tests.interop.agents:desk", "tests.interop.agents:direct", "tests.interop.agents:strict")
_ADDRESS = re.compile(r"http://[\w.]+:\d+")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server on SQLite, started as an operator would start it."""
    where = tmp_path_factory.mktemp("interop")
    command = [sys.executable, "-m", "greenroom", "serve", *AGENTS, "--port", "0"]
    # 0.3 knows no tenant: over gRPC each agent has a port of its own for it
    command += ["--grpc-port", "0", "--set", "grpc.agent_ports=direct=0,strict=0"]
    command += ["--store", f"sqlite:///{where / 'tasks.db'}"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    address = _first_address(process.stdout, said)
    rest = threading.Thread(target=said.extend, args=(process.stdout,))
    rest.start()  # or the server blocks on a full pipe
    try:
        assert address, "the server did not start:\n" + "".join(said)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()
            rest.join()
            process.stdout.close()
    log = "".join(said)
    assert log.count("Traceback") == log.count("RuntimeError: the secret cause"), log


def _first_address(lines: IO[str], said: list[str]) -> str:
    for line in lines:
        said.append(line)
        if found := _ADDRESS.search(line):
            return found[0]
    return ""


@pytest.fixture(scope="session")
def foreign_clients() -> Iterator[dict[str, ForeignClient]]:
    """Started at their first use."""
    running = _OnDemand()
    yield running
    for client in running.values():
        client.close()


class _OnDemand(dict[str, ForeignClient]):
    def __missing__(self, version: str) -> ForeignClient:
        self[version] = client = ForeignClient(version)
        return client


def _peers(*versions: str) -> list[Any]:
    return [
        pytest.param((version, transport), id=f"sdk-{version}-{transport}")
        for version in versions
        for transport in TRANSPORTS
    ]


@pytest.fixture(params=_peers(*CLIENTS))
def peer(
    request: pytest.FixtureRequest, foreign_clients: dict[str, ForeignClient], server: str
) -> Peer:
    """Each client version over each binding."""
    version, transport = request.param
    return Peer(foreign_clients[version], transport, server)


@pytest.fixture(params=_peers("1.3.0"))
def peer_1_x(
    request: pytest.FixtureRequest, foreign_clients: dict[str, ForeignClient], server: str
) -> Peer:
    """The 1.x client over each binding, for what 0.3 has not."""
    version, transport = request.param
    return Peer(foreign_clients[version], transport, server)
