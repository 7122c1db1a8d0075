"""``grpc.health.v1``: is this server, or one of its services, ready for calls?

Nobody is admitted for it: a message is short, and the calls that one peer keeps open are few.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import anyio

from ...protocol.protobuf.fields import read_text
from ...protocol.protobuf.wire import length, read_tag, read_varint, skip
from .rpc import Method, Rpc
from .status import RpcError, Status

NAME = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
"""HealthCheckResponse with each status."""
_SERVICE = 0x0A


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
            path + b"Check": Method(self._check, discovery=True),
            path + b"List": Method(self._list, discovery=True),
            path + b"Watch": Method(self._watch, discovery=True),
        }

    def _state(self) -> bytes:
        return _SERVING if self._ready() else _NOT_SERVING

    async def _check(self, rpc: Rpc) -> None:
        service = _service(await rpc.message())
        if service not in self._services:
            raise RpcError(Status.NOT_FOUND, f"There is no service {service[:200]!r} here")
        await rpc.reply(self._state(), [])

    async def _list(self, rpc: Rpc) -> None:
        state = self._state()
        entries: list[bytes] = []
        for name in sorted(self._services):
            entry = b"\x0a" + length(len(name)) + name.encode() + b"\x12" + length(len(state))
            entries.append(b"\x0a" + length(len(entry) + len(state)) + entry + state)
        await rpc.reply(b"".join(entries), [])

    async def _watch(self, rpc: Rpc) -> None:
        service = _service(await rpc.message())
        rpc.send_header([])
        if service not in self._services:
            await rpc.send([_SERVICE_UNKNOWN])
            await self._stopping.wait()
            return
        shown = b""
        while True:
            state = self._state()
            if state != shown:
                shown = state
                await rpc.send([state])  # and meanwhile it may have changed again
            elif self._stopping.is_set():
                return
            else:
                await self._changed()


def _service(body: bytes) -> str:
    """Return the one field of HealthCheckRequest; raises RpcError for bytes that are no message."""
    service, position, end = "", 0, len(body)
    try:
        while position < end:
            mark, position = read_tag(body, position)
            if mark == _SERVICE:
                size, position = read_varint(body, position)
                service = read_text(body, position, position + size)
                position += size
            else:
                position = skip(body, position, mark)
    except (IndexError, ValueError):
        position = -1
    if position != end:
        raise RpcError(Status.INVALID_ARGUMENT, "Not a HealthCheckRequest message")
    return service
