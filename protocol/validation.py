"""What the types cannot say about a request: presence, ranges, exactly one of (section 5.7)."""

from __future__ import annotations

from .types import Wire


def check(request: Wire) -> None:
    """Raise InvalidParamsError, with a path in JSON form, for what section 5.7 refuses."""
