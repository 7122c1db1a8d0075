"""The connections of one listener: how many there may be, and which of them is closed when.

There may be so many in all, and so many of one address. One more takes the place of the connection
that has been idle for longest, of all or of that address; where none is idle it is refused. So
whoever opens connections and leaves them idle takes no place from those who use theirs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import anyio


class Known(Protocol):
    """A connection as this table sees it."""

    address: str
    idle_since: float

    def abort(self) -> None:
        """End it at once, whatever it still has to write."""

    def close_idle(self) -> None:
        """Close it; nothing is being answered on it."""

    def stalled(self, now: float) -> bool:
        """Whether its peer has taken nothing of what waits for it, for too long."""
        ...


class Connections:
    """All connections of a listener, the idle ones in the order in which they became idle."""

    def __init__(
        self,
        most: int,
        most_of_one: int,
        *,
        keep_alive: float,
        exempt: Callable[[str], bool] = lambda address: False,
    ) -> None:
        """``most`` in all and ``most_of_one`` address, except those that are ``exempt``: a proxy
        speaks for many. ``keep_alive`` is how long one may be idle, in seconds."""
        self.all: set[Known] = set()
        self.refused = 0
        self._most = most
        self._most_of_one = most_of_one
        self._keep_alive = keep_alive
        self._exempt = exempt
        self._count = 0
        self._of_address: Counter[str] = Counter()
        self._idle: dict[Known, None] = {}
        self._idle_of: dict[str, dict[Known, None]] = {}
        self._lingering: dict[Known, float] = {}
        self._emptied: anyio.Event | None = None

    def __len__(self) -> int:
        return self._count

    # --- places ---------------------------------------------------------------------------------

    def enter(self, address: str) -> bool:
        """Take a place for a connection from ``address``; return whether there is one."""
        full = self._count >= self._most
        if full and not self._displace(self._idle):
            self.refused += 1
            return False
        if (
            not full
            and self._of_address[address] >= self._most_of_one
            and not self._exempt(address)
            and not self._displace(self._idle_of.get(address, {}))
        ):
            self.refused += 1
            return False
        self._count += 1
        self._of_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Give the place back."""
        self._count -= 1
        left = self._of_address[address] - 1
        if left > 0:
            self._of_address[address] = left
        else:
            del self._of_address[address]
        if not self._count and self._emptied is not None:
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until there is no connection."""
        while self._count:
            self._emptied = anyio.Event()
            await self._emptied.wait()

    def displace(self) -> bool:
        """Abort the connection that has been idle for longest; return whether there was one."""
        return self._displace(self._idle)

    def _displace(self, idle: dict[Known, None]) -> bool:
        longest = next(iter(idle), None)
        if longest is None:
            return False
        self.busy(longest)
        longest.abort()
        return True

    # --- what they do -----------------------------------------------------------------------------

    def add(self, connection: Known) -> None:
        self.all.add(connection)

    def discard(self, connection: Known) -> None:
        self.all.discard(connection)
        self._lingering.pop(connection, None)
        self.busy(connection)

    def idle(self, connection: Known) -> None:
        """Nothing is being answered on ``connection``."""
        connection.idle_since = time.monotonic()
        self._idle.pop(connection, None)
        self._idle[connection] = None
        own = self._idle_of.setdefault(connection.address, {})
        own.pop(connection, None)
        own[connection] = None

    def busy(self, connection: Known) -> None:
        """Something is being answered on ``connection``, or it ends."""
        if connection in self._idle:
            del self._idle[connection]
            own = self._idle_of[connection.address]
            del own[connection]
            if not own:
                del self._idle_of[connection.address]

    def linger(self, connection: Known, seconds: float) -> None:
        """Abort ``connection`` in so many seconds, unless it ends before."""
        self.busy(connection)
        self._lingering[connection] = time.monotonic() + seconds

    # --- what time does to them -------------------------------------------------------------------

    def look(self) -> None:
        """Close the connections whose time is up. Costs what there is to close."""
        now = time.monotonic()
        while self._idle:
            longest = next(iter(self._idle))
            if now - longest.idle_since < self._keep_alive:
                break
            self.busy(longest)
            longest.close_idle()
        for connection in [one for one, until in self._lingering.items() if until <= now]:
            del self._lingering[connection]
            connection.abort()
        for connection in [one for one in self.all if one.stalled(now)]:
            connection.abort()

    def close_idle(self) -> None:
        """Close every idle connection."""
        for connection in list(self._idle):
            self.busy(connection)
            connection.close_idle()

    def abort(self) -> None:
        """Abort every connection."""
        for connection in list(self.all):
            connection.abort()
