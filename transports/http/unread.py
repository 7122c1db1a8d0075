"""Bytes of answers that wait for their clients to read them, bounded three ways.

A client that asks for much and reads nothing costs its server memory: the encoded answer. The
server counts a piece of an answer from when it is encoded until the connection has taken all of
it, and refuses a piece that would be one too many: of one connection, of one caller, or of all.
A single piece is never refused while nothing else waits, however long it is.
"""

from __future__ import annotations

from collections.abc import Hashable

from ...protocol.errors import ResourceExhaustedError
from .settings import HttpSettings


class Unread:
    """What waits to be read, in bytes. ``total`` is what waits of all answers."""

    def __init__(self, settings: HttpSettings) -> None:
        self.total = 0
        self._most = settings.max_unread_total
        self._most_connection = settings.max_unread
        self._most_caller = settings.max_unread_caller
        self._connections: dict[Hashable, int] = {}
        self._callers: dict[Hashable, int] = {}

    # Two calls and no context manager: every event of every stream passes here, and a generator
    # for each took a twentieth of what a stream costs.

    def hold(self, connection: Hashable, caller: Hashable, size: int) -> None:
        """Count ``size`` bytes until ``release``. Raises ResourceExhaustedError."""
        of_connection = self._connections.get(connection, 0) + size
        of_caller = self._callers.get(caller, 0) + size
        total = self.total + size
        if of_connection > self._most_connection and of_connection != size:
            raise self._refusal(self._most_connection)
        if of_caller > self._most_caller and of_caller != size:
            raise self._refusal(self._most_caller)
        if total > self._most and total != size:
            raise self._refusal(self._most)
        self._connections[connection] = of_connection
        self._callers[caller] = of_caller
        self.total = total

    def release(self, connection: Hashable, caller: Hashable, size: int) -> None:
        """Count ``size`` bytes no more."""
        self.total -= size
        if left := self._connections[connection] - size:
            self._connections[connection] = left
        else:
            del self._connections[connection]
        if left := self._callers[caller] - size:
            self._callers[caller] = left
        else:
            del self._callers[caller]

    def _refusal(self, limit: int) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"More than {limit} bytes of answers wait to be read: read them first",
            headers={"Retry-After": "1"},
        )
