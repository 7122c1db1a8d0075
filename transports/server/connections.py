"""The connections of one listener: how many there may be, and which of them is closed when.

There may be so many in all, and so many of one address. One more takes the place of a connection,
of all or of that address, on which nothing is being answered: first of those that never made a
request, then of the others, each time of the one that has been idle for longest. Where none has
been idle for some seconds the one more is refused. So who opens connections and leaves them idle
takes no place from those who use theirs, and a flood closes nothing that was open before it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import anyio

from ...runtime.security.rate_limits import network_of

GRACE = 5.0
"""How long a connection is idle at least before it makes way for another; seconds."""


class Known(Protocol):
    """A connection as this table sees it."""

    network: str
    """The address of its peer, as connections are counted: of IPv6 a /64."""
    idle_since: float
    used: bool
    """It has made a request."""

    def abort(self) -> None:
        """End it at once, whatever it still has to write."""

    def close_idle(self) -> None:
        """Close it; nothing is being answered on it."""

    def stalled(self, now: float) -> bool:
        """Whether its peer has taken nothing of what waits for it, for too long."""
        ...


class _Idle:
    """Idle connections in the order in which they became idle, in all and by network."""

    def __init__(self) -> None:
        self.all: dict[Known, None] = {}
        self._of: dict[str, dict[Known, None]] = {}

    def add(self, connection: Known) -> None:
        self.all[connection] = None
        self._of.setdefault(connection.network, {})[connection] = None

    def discard(self, connection: Known) -> None:
        if connection in self.all:
            del self.all[connection]
            own = self._of[connection.network]
            del own[connection]
            if not own:
                del self._of[connection.network]

    def longest(self, network: str | None = None) -> Known | None:
        """Return the connection that has been idle for longest, of all or of one network."""
        return next(iter(self.all if network is None else self._of.get(network, ())), None)


class Connections:
    """All connections of a listener."""

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
        self._of_network: Counter[str] = Counter()
        self._grace = min(GRACE, keep_alive / 2)
        self._unused, self._used = _Idle(), _Idle()
        self._lingering: dict[Known, float] = {}
        self._emptied: anyio.Event | None = None

    def __len__(self) -> int:
        return self._count

    # --- places ---------------------------------------------------------------------------------

    def enter(self, address: str) -> bool:
        """Take a place for a connection from ``address``; return whether there is one."""
        network = network_of(address)
        if self._count >= self._most:
            room = self.displace()
        elif self._of_network[network] < self._most_of_one or self._exempt(address):
            room = True
        else:
            room = self.displace(network)
        if not room:
            self.refused += 1
            return False
        self._count += 1
        self._of_network[network] += 1
        return True

    def leave(self, address: str) -> None:
        """Give the place back."""
        self._count -= 1
        network = network_of(address)
        left = self._of_network[network] - 1
        if left > 0:
            self._of_network[network] = left
        else:
            del self._of_network[network]
        if not self._count and self._emptied is not None:
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until there is no connection."""
        while self._count:
            self._emptied = anyio.Event()
            await self._emptied.wait()

    def displace(self, network: str | None = None) -> bool:
        """Abort an idle connection, of all or of one network; return whether there was one."""
        latest = time.monotonic() - self._grace
        for idle in (self._unused, self._used):
            longest = idle.longest(network)
            if longest is not None and longest.idle_since <= latest:
                self.busy(longest)
                longest.abort()
                return True
        return False

    # --- what they do -----------------------------------------------------------------------------

    def add(self, connection: Known) -> None:
        self.all.add(connection)

    def discard(self, connection: Known) -> None:
        self.all.discard(connection)
        self._lingering.pop(connection, None)
        self.busy(connection)

    def idle(self, connection: Known) -> None:
        """Nothing is being answered on ``connection`` from now on."""
        self.busy(connection)
        connection.idle_since = time.monotonic()
        (self._used if connection.used else self._unused).add(connection)

    def busy(self, connection: Known) -> None:
        """Something is being answered on ``connection``, or it ends."""
        self._unused.discard(connection)
        self._used.discard(connection)

    def linger(self, connection: Known, seconds: float) -> None:
        """Abort ``connection`` in so many seconds, unless it ends before."""
        self.busy(connection)
        self._lingering[connection] = time.monotonic() + seconds

    # --- what time does to them -------------------------------------------------------------------

    def look(self) -> None:
        """Close the connections whose time is up. Costs what there is to close."""
        now = time.monotonic()
        for idle in (self._unused, self._used):
            while (longest := idle.longest()) is not None:
                if now - longest.idle_since < self._keep_alive:
                    break
                idle.discard(longest)
                longest.close_idle()
        for connection in [one for one, until in self._lingering.items() if until <= now]:
            del self._lingering[connection]
            connection.abort()
        for connection in [one for one in self.all if one.stalled(now)]:
            connection.abort()

    def close_idle(self) -> None:
        """Close every idle connection."""
        for connection in [*self._unused.all, *self._used.all]:
            self.busy(connection)
            connection.close_idle()

    def abort(self) -> None:
        """Abort every connection."""
        for connection in list(self.all):
            connection.abort()
