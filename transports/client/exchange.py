"""One request and its answer; credentials that the server refuses are renewed once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from .http import HttpClient, Limits, Response
from .requests import Outgoing

STREAM_SILENCE = 45.0
"""Seconds without a byte after which a stream is given up: three heartbeats of 15 seconds."""


class Authorizer(Protocol):
    """Puts credentials into requests. It decides by the URL whether a request gets any."""

    async def authorize(self, request: Outgoing) -> None:
        """Add the credentials to ``request``. Raises HttpError where they cannot be had."""
        ...

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        """Take note that the server refused ``request`` with 401 or 403.

        ``challenge`` is its ``WWW-Authenticate``. Return whether another try may succeed.
        """
        ...


@asynccontextmanager
async def exchange(
    http: HttpClient,
    request: Outgoing,
    auth: Authorizer | None = None,
    limits: Limits | None = None,
) -> AsyncGenerator[Response, None]:
    """Send ``request`` and yield the answer. Raises HttpError."""
    url, headers = request.url, request.headers
    for last in (auth is None, True):
        request.url, request.headers = url, headers.copy()
        if auth is not None:
            await auth.authorize(request)
        async with http.request(
            request.method,
            request.url,
            headers=request.headers,
            body=request.body,
            limits=limits,
        ) as response:
            if not last and auth is not None and response.status in (401, 403):
                challenge = response.headers.get("www-authenticate", "")
                if await auth.refused(request, response.status, challenge):
                    continue
            yield response
            return
