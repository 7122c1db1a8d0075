"""``grpc.health.v1``: is this server, or one of its services, ready for calls?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

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
    """``ready`` tells the state now; ``stopping`` returns when the server begins to stop."""

    def __init__(
        self,
        services: Collection[str],
        ready: Callable[[], bool],
        stopping: Callable[[], Awaitable[object]],
    ) -> None:
        self._services = frozenset(services) | {""}
        self._ready = ready
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
            await self._stopping()
            return
        await rpc.send([bytes(self._state())])
        await self._stopping()
        await rpc.send([bytes(HealthCheckResponse(status=_Serving.NOT_SERVING))])
