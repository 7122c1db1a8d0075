"""Which failures are worth another attempt, and when to make it."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime

from msgspec import Struct

from ....protocol.errors import (
    InvalidAgentResponseError,
    ResourceExhaustedError,
    UnavailableError,
)
from ..errors import AddressRefusedError, AuthError, HttpError, StatusError, UnusableAnswerError

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_ADVICE = 300.0
"""Seconds of ``Retry-After`` that the client obeys; more is as much as this."""


class Retries(Struct, frozen=True, kw_only=True):
    """How often and how soon a request is sent again. Progress begins the count anew."""

    attempts: int = 8
    """Failures in a row after which the client gives up."""
    first: float = 0.25
    """Seconds before the second attempt; each one after that waits twice as long."""
    most: float = 15.0
    """Seconds that an attempt waits at most, unless the server asks for more."""

    def delay(self, failures: int, error: Exception | None, now: float) -> float:
        """Return the seconds to wait after so many failures in a row, with jitter.

        ``now`` is the time of day in seconds since the epoch: ``Retry-After`` may be a date.
        """
        wait = min(self.most, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
        return max(wait, advised(error, now))


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    if isinstance(error, StatusError):
        return error.status in _TRANSIENT
    if isinstance(error, HttpError):
        return not isinstance(error, AddressRefusedError | UnusableAnswerError | AuthError)
    return isinstance(error, ResourceExhaustedError | UnavailableError)


def breaks_stream(error: Exception) -> bool:
    """Return whether a stream that ended with ``error`` can be resumed: half a frame counts."""
    return is_transient(error) or isinstance(error, InvalidAgentResponseError | UnusableAnswerError)


def advised(error: Exception | None, now: float) -> float:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110 section 10.2.3), else 0."""
    headers = getattr(error, "headers", None) or {}
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), "")
    seconds = 0.0
    if value.strip().isdecimal():
        seconds = float(value.strip()[:9])
    elif value:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            seconds = 0.0
    return min(max(seconds, 0.0), _LONGEST_ADVICE)
