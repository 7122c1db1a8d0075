"""A real server on SQLite, and the foreign clients pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servers import as_process

from .peers import CLIENTS, TRANSPORTS, ForeignClient, Peer

AGENTS = ("tests.interop.agents:desk", "tests.interop.agents:direct", "tests.interop.agents:strict")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server on SQLite, started as an operator would start it."""
    path = tmp_path_factory.mktemp("interop") / "tasks.db"
    # 0.3 knows no tenant: over gRPC each agent has a port of its own for it
    ports = ["--grpc-port", "0", "--set", "grpc.agent_ports=direct=0,strict=0"]
    ports += ["--set", "push.allow_private=true"]
    with as_process("--store", f"sqlite:///{path}", *ports, agents=AGENTS) as running:
        yield running.url
        running.stop()
    log = running.log
    assert log.count("Traceback") == log.count("RuntimeError: the secret cause"), log


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
