"""How often: token buckets for those we know, waiting for those who keep guessing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address, ip_address

import anyio

from ...protocol.errors import ResourceExhaustedError
from .limits import Limits


class Buckets:
    """One token bucket for each key: ``rate`` tokens a second, at most ``rate * burst``."""

    __slots__ = ("_levels", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._levels: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable, rate: float, burst: float, now: float) -> float:
        """Take one token: 0 if there was one, else the seconds until there will be."""
        full = max(1.0, rate * burst)
        levels = self._levels
        bucket = levels.pop(key, None)  # and back at the end: the first are those unused longest
        if bucket is None:
            if len(levels) >= self._size:
                for oldest in list(levels)[: max(1, self._size // 10)]:
                    del levels[oldest]
            level = full
        else:
            level = min(full, bucket[0] + max(0.0, now - bucket[1]) * rate)
        if level < 1.0:
            levels[key] = (level, now)
            return (1.0 - level) / rate
        levels[key] = (level - 1.0, now)
        return 0.0


class StreamQuota:
    """At most ``most`` open streams of each key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[Hashable, int] = {}

    def acquire(self, key: Hashable) -> Callable[[], None]:
        """Count another stream; return what counts it no more. Raises ResourceExhaustedError."""
        held = self._open.get(key, 0)
        if held >= self._most:
            raise ResourceExhaustedError(
                f"You have {held} open streams; close one of them", headers={"Retry-After": "1"}
            )
        self._open[key] = held + 1

        def release() -> None:
            left = self._open[key] - 1
            if left:
                self._open[key] = left
            else:
                del self._open[key]

        return release


def network_of(address: str) -> str:
    """Return who an address speaks for: itself, but for IPv6 its /64, of which one host has as many
    addresses as it likes. What is no address (a proxy's word) is cut to a bounded length.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex(":", 2) + "::/64"


class WaitingRoom:
    """A bounded number of requests that wait, a tenth of them of one ``key``.

    Where a key has its tenth, a newcomer takes the place of the request of that key which has
    waited longest: so many guesses do not keep the next caller of their network out.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._share = max(1, places // 10)
        self._waiting: dict[Hashable, dict[anyio.CancelScope, None]] = {}
        self.waiting = 0

    @contextmanager
    def place(self, key: Hashable, seconds: float) -> Generator[None, None, None]:
        """Wait inside. ``seconds`` is what a caller without a place is told to wait.

        Raises ResourceExhaustedError where there is no place, or no longer.
        """
        mine = self._waiting.get(key, {})
        if len(mine) >= self._share:
            longest = next(iter(mine))
            self._leave(key, longest)
            longest.cancel()
        elif self.waiting >= self._places:
            raise _too_many(seconds)
        with anyio.CancelScope() as scope:
            self._waiting.setdefault(key, {})[scope] = None
            self.waiting += 1
            try:
                yield
            finally:
                self._leave(key, scope)
        if scope.cancelled_caught:
            raise _too_many(seconds)

    def _leave(self, key: Hashable, scope: anyio.CancelScope) -> None:
        mine = self._waiting.get(key, {})
        if scope not in mine:
            return  # another one has its place
        del mine[scope]
        self.waiting -= 1
        if not mine:
            del self._waiting[key]


class _Network:
    """Credentials of one network that are being verified, or wait for that."""

    __slots__ = ("busy", "line", "members")

    def __init__(self) -> None:
        self.line = anyio.Lock()
        self.busy = 0
        self.members = 0


class GuessLimiter:
    """Makes networks that present bad credentials wait before the gate looks at the next one, and
    has the gate look at their credentials one at a time.

    A caller whose credential is known does not come here, so nobody is locked out by others behind
    the same address. A caller who shows a credential for the first time waits for nobody in another
    network.
    """

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._failed: dict[str, tuple[int, float]] = {}
        self._networks: dict[str, _Network] = {}
        self._room = WaitingRoom(limits.max_waiting)

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return self._room.waiting

    def failed(self, address: str) -> int:
        """Count a refusal of an address; return how many refusals its network has."""
        limits, now = self._limits, self._now()
        address = network_of(address)
        count, last = self._failed.pop(address, (0, now))
        if now - last > limits.failure_window:
            count = 0
        if len(self._failed) >= limits.tracked_addresses:
            del self._failed[next(iter(self._failed))]
        self._failed[address] = (count + 1, now)
        return count + 1

    def due(self, address: str) -> float:
        """Return the seconds that the address has to wait."""
        return self._due(network_of(address)) if self._failed else 0.0

    def _refusals(self, network: str) -> int:
        count, last = self._failed.get(network, (0, 0.0))
        return 0 if self._now() - last > self._limits.failure_window else count

    def _due(self, network: str) -> float:
        beyond = self._refusals(network) - self._limits.failures
        if beyond < 0:
            return 0.0
        wait: float = self._limits.max_penalty / 16 * 2.0 ** min(beyond, 4)
        return wait

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncGenerator[None, None]:
        """Verify a credential of an address inside.

        As long as the refusals of its network, and its credentials that are being verified, are
        fewer than ``limits.failures``, all are verified at once; then one after the other. Raises
        ResourceExhaustedError where too many wait.
        """
        name = network_of(address)
        network = self._networks.get(name)
        if network is None:
            network = self._networks[name] = _Network()
        network.members += 1
        try:
            if self._refusals(name) + network.busy < self._limits.failures:
                network.busy += 1
                try:
                    yield
                finally:
                    network.busy -= 1
            else:
                await self._stand_in_line(name, network)
                try:
                    yield
                finally:
                    network.line.release()
        finally:
            network.members -= 1
            if not network.members:
                del self._networks[name]

    async def _stand_in_line(self, name: str, network: _Network) -> None:
        """Wait what is due, once, then for those before; return with the line held."""
        due = self._due(name)
        with self._room.place(name, due or 1.0):
            if due:
                await anyio.sleep(due)
            await network.line.acquire()
            if not due and (due := self._due(name)):  # refusals came while it stood in line
                network.line.release()
                await anyio.sleep(due)
                await network.line.acquire()


def _too_many(seconds: float) -> ResourceExhaustedError:
    return ResourceExhaustedError(
        "Too many refused requests; come back later",
        headers={"Retry-After": str(max(1, round(seconds)))},
    )
