"""How often: token buckets for those we know, waiting for those who keep guessing."""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv4Address, ip_address

import anyio

from ..protocol.errors import ResourceExhaustedError
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
        found = levels.pop(key, None)  # and back at the end: the first are those unused longest
        if found is None:
            if len(levels) >= self._size:
                for oldest in list(levels)[: max(1, self._size // 10)]:
                    del levels[oldest]
            level = full
        else:
            level = min(full, found[0] + max(0.0, now - found[1]) * rate)
        if level < 1.0:
            levels[key] = (level, now)
            return (1.0 - level) / rate
        levels[key] = (level - 1.0, now)
        return 0.0


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


class Patience:
    """Makes addresses (networks, of IPv6) that present bad credentials wait before the next one is
    looked at.

    Who shows a credential that is known already never waits, so nobody is locked out by others
    behind the same address. Waiting costs a parked coroutine, of which there are a bounded number.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failed: dict[str, tuple[int, float]] = {}
        self.parked = 0

    def failed(self, address: str, now: float) -> int:
        """Count a refusal; return how many there were."""
        limits = self._limits
        address = network_of(address)
        count, last = self._failed.pop(address, (0, now))
        if now - last > limits.forgiven:
            count = 0
        if len(self._failed) >= limits.seen:
            del self._failed[next(iter(self._failed))]
        self._failed[address] = (count + 1, now)
        return count + 1

    def due(self, address: str, now: float) -> float:
        """Return the seconds that the address has to wait."""
        entry = self._failed.get(network_of(address)) if self._failed else None
        if entry is None:
            return 0.0
        limits = self._limits
        beyond = entry[0] - limits.failures
        if beyond < 0 or now - entry[1] > limits.forgiven:
            return 0.0
        wait: float = limits.penalty / 16 * 2.0 ** min(beyond, 4)
        return wait

    async def wait(self, seconds: float) -> None:
        """Wait, or raise ResourceExhaustedError where too many do."""
        if self.parked >= self._limits.parked:
            raise ResourceExhaustedError(
                "Too many refused requests; come back later",
                headers={"Retry-After": str(max(1, round(seconds)))},
            )
        self.parked += 1
        try:
            await anyio.sleep(seconds)
        finally:
            self.parked -= 1
