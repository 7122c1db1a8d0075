"""The port of a peer: what following a task, and the public client, need of a binding."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, Protocol, Self

from ...protocol.operations import Operation
from ...protocol.types import AgentCard, AgentInterface, StreamResponse


class Received(NamedTuple):
    """An event of a stream. ``id`` is the last id that the stream gave, ``""`` if it gave none."""

    update: StreamResponse
    id: str


class Remote(Protocol):
    """An agent over one binding."""

    @property
    def card(self) -> AgentCard: ...

    @property
    def interface(self) -> AgentInterface: ...

    async def call(self, operation: Operation, asked: Any) -> Any:
        """Return the answer of a unary operation. Raises A2AError, HttpError and PeerError."""
        ...

    def stream(
        self, operation: Operation, asked: Any, *, last_id: str = ""
    ) -> AsyncGenerator[Received, None]:
        """Yield the events of a streaming operation; ``last_id`` is sent as ``Last-Event-ID``.

        The end of the iteration is the end of the stream, which need not be that of the task.
        Raises A2AError, HttpError and PeerError.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...
