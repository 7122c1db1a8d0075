"""Clocks for tests: time that jumps to the next timer when nothing else can happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from greenroom.testing import virtual_time

BACKENDS = ["asyncio", "trio"]


@pytest.fixture(params=BACKENDS)
def virtual_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """Both event loops in virtual time: a minute's sleep takes no time. Not for threads."""
    return virtual_time(request.param)


@pytest.fixture(params=BACKENDS)
def real_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops by the machine's clock, for what threads do."""
    name: str = request.param
    return name


@pytest.fixture(name="anyio_backend")
def on_asyncio() -> str:
    """The machine's clock on asyncio alone, the one loop that serves every binding."""
    return "asyncio"
