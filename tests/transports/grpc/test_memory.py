"""A server that refuses keeps nothing of what it refused, also where no collector runs."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.servers import as_process

from .raw import RawClient
from .refusals import REFUSALS, TOKEN, refuse

AGENT = str(Path(__file__).with_name("quiet.py")) + ":agent"
MOST = 5 * 1024 * 1024
OPTIONS = (
    "--store", "memory://", "--grpc-port", "0", "--no-tune-gc", "--set", f"auth.token={TOKEN}",
    "--set", "limits.rate=0", "--set", "limits.max_penalty=0",
)  # fmt: skip


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def grown(loop: str, kind: str, times: int) -> int:
    """Return by how many bytes a server grows while it refuses."""
    with as_process(*OPTIONS, "--set", f"loop={loop}", agents=(AGENT,)) as server:
        port = int(server.ready["grpc"].rpartition(":")[2])
        with RawClient(port) as raw:
            refuse(raw, kind, 300)  # everything is imported, and the allocator has its arenas
            before = rss(server.process.pid)
            refuse(raw, kind, times)
            return rss(server.process.pid) - before


@pytest.mark.parametrize("kind", ["no credentials, a bomb", "reflection, a bomb"])
def test_300_refusals_leave_nothing(kind: str) -> None:
    assert grown("asyncio", kind, 300) < MOST


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", REFUSALS)
def test_10_000_refusals_leave_nothing(kind: str, loop: str) -> None:
    assert grown(loop, kind, 10_000) < MOST
