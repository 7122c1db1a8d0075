"""Whatever peers send, the process lives, a good client is served, and the log stays short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.servers import as_process

from .fuzz import Attackers, Fuzz
from .serving import said, stub

AGENT = str(Path(__file__).with_name("quiet.py")) + ":agent"
LOG_BYTES = 300
"""What an input may add to the log on average: one line."""


def attack(loop: str, inputs: int, seed: int) -> None:
    options = ("--store", "memory://", "--grpc-port", "0", "--set", f"loop={loop}")
    with as_process(*options, agents=(AGENT,)) as server:
        address = server.ready["grpc"]
        fuzz, attackers = Fuzz(seed), Attackers(int(address.rpartition(":")[2]))
        with grpc.insecure_channel(address) as channel:
            client: Any = stub(channel)
            for number in range(inputs):
                attackers.send(fuzz.input())
                if number % 50 == 0:
                    assert client.SendMessage(said("hello"), timeout=20).task.id
            attackers.close()
            assert client.SendMessage(said("hello"), timeout=20).task.id
        assert server.process.poll() is None
        assert server.stop() == 0
    assert "Traceback" not in server.log, server.log[-5000:]
    assert len(server.log) < 20_000 + LOG_BYTES * inputs


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_some_hundred_inputs(loop: str) -> None:
    attack(loop, 300, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_100_000_inputs(loop: str) -> None:
    attack(loop, 100_000, seed=2)
