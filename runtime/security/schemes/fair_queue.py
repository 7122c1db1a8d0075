"""Decides whose credential is verified next, where that is slow: each network has its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from ....protocol.errors import UnavailableError
from ..rate_limits import network_of


class FairQueue:
    """``at_once`` places. The queue serves network by network, one caller of each at a time.
    So the callers of one network wait for each other, and hardly for a crowd elsewhere.

    ``most`` callers may wait, and as many again that are alone in their network.
    """

    def __init__(self, at_once: int, *, most: int = 1000) -> None:
        self._free = at_once
        self._most = most
        self._lines: dict[str, deque[anyio.Event]] = {}
        self.waiting = 0

    @asynccontextmanager
    async def of(self, address: str) -> AsyncGenerator[None, None]:
        """Hold a place inside. Raises UnavailableError where too many wait for one."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(network_of(address))
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, network: str) -> None:
        line = self._lines.get(network)
        if self.waiting >= (self._most if line else 2 * self._most):
            raise UnavailableError(
                "Too many credentials wait to be verified", headers={"Retry-After": "5"}
            )
        if line is None:
            line = self._lines[network] = deque()
        place = anyio.Event()
        line.append(place)
        self.waiting += 1
        try:
            await place.wait()
        except BaseException:
            if place.is_set():  # it was handed over at the moment at which its caller left
                self._leave()
            else:
                self.waiting -= 1
                line.remove(place)
                if not line:
                    del self._lines[network]
            raise

    def _leave(self) -> None:
        """Hand the place to the first caller of the network that has waited longest."""
        if not self._lines:
            self._free += 1
            return
        network = next(iter(self._lines))
        line = self._lines.pop(network)
        line.popleft().set()
        self.waiting -= 1
        if line:
            self._lines[network] = line  # behind the others
