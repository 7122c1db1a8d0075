"""Bytes of answers that wait for their clients to read them, bounded three ways.

A client that asks for much and reads nothing costs its server memory: the encoded answer. The
server counts a piece of an answer from when it is encoded until the connection has taken all of
it, and refuses a piece that would be one too many: of one connection, of one caller, or of all.
A single piece is never refused while nothing else waits, however long it is.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from contextlib import contextmanager

from ...protocol.errors import ResourceExhaustedError
from .settings import HttpSettings


class Unread:
    """What waits to be read, in bytes. ``total`` is what waits of all answers."""

    def __init__(self, settings: HttpSettings) -> None:
        self.total = 0
        self._most = settings.max_unread_total
        self._limits = (settings.max_unread, settings.max_unread_caller)
        self._held: dict[Hashable, int] = {}

    @contextmanager
    def held(
        self, connection: Hashable, caller: Hashable, size: int
    ) -> Generator[None, None, None]:
        """Count ``size`` bytes while the block lasts. Raises ResourceExhaustedError."""
        keys = (connection, caller)
        held = self._held
        for key, limit in zip(keys, self._limits, strict=True):
            before = held.get(key, 0)
            if before and before + size > limit:
                raise self._refusal(limit)
        if self.total and self.total + size > self._most:
            raise self._refusal(self._most)
        self.total += size
        for key in keys:
            held[key] = held.get(key, 0) + size
        try:
            yield
        finally:
            self.total -= size
            for key in keys:
                left = held[key] - size
                if left:
                    held[key] = left
                else:
                    del held[key]

    def _refusal(self, limit: int) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"More than {limit} bytes of answers wait to be read: read them first",
            headers={"Retry-After": "1"},
        )
