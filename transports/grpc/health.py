"""``grpc.health.v1``: is this server, or one of its services, ready for calls?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import anyio

from ._pb.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListResponse,
)
from .reflection import parsed
from .rpc import Method, Rpc
from .status import RpcError, Status

NAME = "grpc.health.v1.Health"
_Serving = HealthCheckResponseServingStatus


class Health:
    """``ready`` tells the state now, ``changed`` returns when it may be another, and ``stopping``
    is set when the server begins to stop, after which ``changed`` returns once more."""

    def __init__(
        self,
        services: Collection[str],
        ready: Callable[[], bool],
        changed: Callable[[], Awaitable[object]],
        stopping: anyio.Event,
    ) -> None:
        self._services = frozenset(services) | {""}
        self._ready = ready
        self._changed = changed
        self._stopping = stopping

    def methods(self) -> dict[bytes, Method]:
        """Return each path with what answers it."""
        path = f"/{NAME}/".encode()
        return {
            path + b"Check": Method(self._check),
            path + b"List": Method(self._list),
            path + b"Watch": Method(self._watch),
        }

    def _state(self) -> HealthCheckResponse:
        return HealthCheckResponse(
            status=_Serving.SERVING if self._ready() else _Serving.NOT_SERVING
        )

    async def _check(self, rpc: Rpc) -> None:
        service = parsed(HealthCheckRequest, rpc.message).service
        if service not in self._services:
            raise RpcError(Status.NOT_FOUND, f"There is no service {service[:200]!r} here")
        await rpc.reply(bytes(self._state()), [])

    async def _list(self, rpc: Rpc) -> None:
        states = {name: self._state() for name in sorted(self._services)}
        await rpc.reply(bytes(HealthListResponse(statuses=states)), [])

    async def _watch(self, rpc: Rpc) -> None:
        service = parsed(HealthCheckRequest, rpc.message).service
        rpc.send_header([])
        if service not in self._services:
            await rpc.send([bytes(HealthCheckResponse(status=_Serving.SERVICE_UNKNOWN))])
            await self._stopping.wait()
            return
        told: HealthCheckResponse | None = None
        while True:
            state = self._state()
            if state != told:
                told = state
                await rpc.send([bytes(state)])  # and meanwhile it may have changed again
            elif self._stopping.is_set():
                return
            else:
                await self._changed()
