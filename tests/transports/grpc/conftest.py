"""One server for all tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from .serving import Serving, serving, stub


@pytest.fixture(scope="package")
def server() -> Iterator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture(scope="package")
def channel(server: Serving) -> Iterator[grpc.Channel]:
    with server.channel() as opened:
        yield opened


@pytest.fixture(scope="package")
def client(channel: grpc.Channel) -> Any:
    return stub(channel)
