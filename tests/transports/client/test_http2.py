"""The client over HTTP/2: chosen by ALPN, several requests on one connection."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom.transports.client.http import HttpClient, HttpError
from tests.support.certificates import Authority
from tests.support.servers import as_process

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_requests_side_by_side_on_one_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = ("--certfile", authority.cert, "--keyfile", authority.key)
    statuses = []
    with as_process("--store", "memory://", "--http2", *files) as server:
        tls = ssl.create_default_context(cafile=authority.ca)
        async with HttpClient(tls=tls, http2=True) as client:

            async def ask() -> None:
                async with client.request("GET", server.url + "/health") as response:
                    statuses.append(response.status)
                    assert await response.read()

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(ask)
        with pytest.raises(HttpError, match="is not trusted"):
            async with HttpClient(http2=True).request("GET", server.url + "/health"):
                pass
        assert server.stop() == 0
    assert statuses == [200] * 5
    assert tls.session_stats()["connect"] == 1
