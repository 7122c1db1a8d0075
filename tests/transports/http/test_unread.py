"""Clients that ask for much and read nothing: what waits for them is bounded, three ways."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import Peer, Wire, message, scope_of

pytestmark = pytest.mark.anyio

SIZE = 300_000
ALL = 1_000_000


async def _large_task(app: Application) -> str:
    answer = await Peer(app).rest("POST", "/message:send", message(f"large {SIZE}"))
    return str(answer.json["task"]["id"])


def _scope(path: str, port: int) -> dict[str, Any]:
    headers = [("a2a-version", "1.0"), ("last-event-id", "999")]
    return scope_of("GET", path, headers, client=("192.0.2.1", port))


class Deaf(Wire):
    """A client that takes the header of an answer, and nothing of its body."""

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()
        await super().send(message)


@pytest.mark.parametrize(
    "http",
    [
        HttpSettings(max_unread_total=ALL),
        HttpSettings(max_unread_caller=ALL),
    ],
    ids=["total", "caller"],
)
@pytest.mark.parametrize("what", ["", ":subscribe"], ids=["answers", "streams"])
async def test_a_thousand_clients_that_read_nothing_stay_within_the_figure(
    app: Application, what: str
) -> None:
    path = f"/tasks/{await _large_task(app)}{what}"
    most = 0
    async with anyio.create_task_group() as clients:
        for port in range(1000):
            wire = Deaf(app, _scope(path, port), [b""])
            clients.start_soon(wire.run)
            await anyio.lowlevel.checkpoint()
            most = max(most, app.unread.total)
        await anyio.wait_all_tasks_blocked()
        most = max(most, app.unread.total)
        clients.cancel_scope.cancel()
    assert SIZE <= most <= ALL
    assert app.unread.total == 0


@pytest.mark.parametrize("http", [HttpSettings(max_unread=ALL)])
async def test_a_connection_has_its_own_bound(app: Application) -> None:
    task = await _large_task(app)
    async with anyio.create_task_group() as clients:
        for _ in range(10):  # the requests of one HTTP/2 connection
            wire = Deaf(app, _scope(f"/tasks/{task}", 1), [b""])
            clients.start_soon(wire.run)
        await anyio.wait_all_tasks_blocked()
        assert SIZE <= app.unread.total <= ALL
        other = await Peer(app).rest("GET", f"/tasks/{task}", client=("192.0.2.1", 2))
        assert other.status == 200
        refused = await Peer(app).rest("GET", f"/tasks/{task}", client=("192.0.2.1", 1))
        assert refused.status == 429
        assert refused["retry-after"] == "1"
        clients.cancel_scope.cancel()
    assert app.unread.total == 0
