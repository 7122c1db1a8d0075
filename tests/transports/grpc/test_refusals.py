"""What the server refuses is gone with the answer: no cycle of references keeps any of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from greenroom.auth import Limits

from .raw import RawClient
from .refusals import REFUSALS, refuse, security
from .serving import Serving, serving

TIMES = 20


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    limits = Limits(rate=0, failures=10**6)
    with serving(security=security(), limits=limits, control_frames=10**6) as running:
        yield running


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_leaves_no_cycle(server: Serving, kind: str) -> None:
    with RawClient(server.server.port) as raw:
        refuse(raw, kind, 2)
        server.until(lambda: not server.server.shared.calls, "the calls are over")
        gc.collect()
        gc.disable()
        try:
            refuse(raw, kind, TIMES)
            server.until(lambda: not server.server.shared.calls, "the calls are over")
            assert gc.collect() < TIMES
        finally:
            gc.enable()
    assert server.server.shared.buffered == server.server.shared.unread == 0
