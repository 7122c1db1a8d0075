"""Behind a host's middleware, whose ``receive`` may hold task groups and scopes while it waits."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import message, opened, request

pytestmark = pytest.mark.anyio

HEADERS = [("content-type", "application/json"), ("a2a-version", "1.0")]
SEND = json.dumps(message("hi")).encode()


def hosted(app: Application) -> Any:
    """Wrap an application as Starlette's BaseHTTPMiddleware does."""

    async def host(scope: Any, receive: Any, send: Any) -> None:
        async def racing() -> Any:
            async with anyio.create_task_group() as group:

                async def first(function: Callable[[], Awaitable[Any]]) -> Any:
                    value = await function()
                    group.cancel_scope.cancel()
                    return value

                group.start_soon(first, anyio.sleep_forever)
                return await first(receive)

        await app(scope, racing, send)

    return host


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("pieces", [[SEND], [SEND[:9], SEND[9:40], SEND[40:]]])
async def test_a_body_through_the_scopes_of_a_host(
    app: Application, slow: bool, pieces: list[bytes]
) -> None:
    async with opened(
        hosted(app), "POST", "/message:send", headers=HEADERS, pieces=pieces, slow=slow
    ) as wire:
        answer = await wire.ended()
    assert answer.status == 200, answer.body
    assert answer.json["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_a_stream_through_the_scopes_of_a_host(app: Application) -> None:
    answer = await request(hosted(app), "POST", "/message:stream", headers=HEADERS, body=SEND)
    assert len(answer.events) == 4


@pytest.mark.parametrize("http", [HttpSettings(body_timeout=0.05)])
async def test_a_body_that_does_not_come_through_is_given_up(app: Application) -> None:
    async with opened(
        hosted(app), "POST", "/message:send", headers=HEADERS, pieces=[SEND[:9], None]
    ) as wire:
        answer = await wire.ended()
    assert answer.status == 408
