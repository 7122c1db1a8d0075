"""Time as the journal keeps it, seconds since the epoch, and as the wire writes it."""

from __future__ import annotations

from datetime import UTC, datetime


def wire_time(seconds: float) -> str:
    """Write a moment in RFC 3339, UTC, with milliseconds (section 5.6.1)."""
    second, millis = divmod(int(seconds * 1000), 1000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


class WireClock:
    """Writes the present; what it has written is reused within a millisecond and a second."""

    __slots__ = ("_millis", "_second")

    def __init__(self) -> None:
        self._second = (0, "")
        self._millis = (0, "")

    def write(self, seconds: float) -> str:
        """Write a moment as ``wire_time`` does."""
        millis = int(seconds * 1000)
        if millis == self._millis[0]:
            return self._millis[1]
        second, rest = divmod(millis, 1000)
        if second != self._second[0]:
            self._second = (second, wire_time(second)[:19])
        text = f"{self._second[1]}.{rest:03d}Z"
        self._millis = (millis, text)
        return text
