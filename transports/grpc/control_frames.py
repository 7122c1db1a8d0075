"""How many control frames a peer may send: each costs the server more than the peer."""

from __future__ import annotations

PERIOD = 10.0
"""Seconds after which a peer that used up its allowance has all of it again."""


class Allowance:
    """A bucket of ``most`` frames that fills in ``PERIOD`` seconds."""

    __slots__ = ("_at", "_left", "_most")

    def __init__(self, most: int, now: float) -> None:
        self._most = most
        self._left = float(most)
        self._at = now

    def take(self, now: float) -> bool:
        """Count a frame; false for one too many. ``now`` is in seconds."""
        refill = (now - self._at) * self._most / PERIOD
        self._left = min(self._most, self._left + refill) - 1
        self._at = now
        return self._left >= 0


class Pings:
    """Pings are free while something is sent, else rare, as gRPC's own servers have it."""

    __slots__ = ("_interval", "_last", "_most", "_strikes")

    def __init__(self, interval: float, strikes: int) -> None:
        """``interval`` is in seconds; ``strikes`` early pings are overlooked."""
        self._interval = interval
        self._most = strikes
        self._strikes = 0
        self._last: float | None = None

    def take(self, now: float, *, active: bool) -> bool:
        """Count a ping; false for one too many. ``active``: something was sent since the last."""
        early = self._last is not None and now - self._last < self._interval
        self._last = now
        self._strikes = self._strikes + 1 if early and not active else 0
        return self._strikes <= self._most
