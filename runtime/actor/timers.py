"""The timers of a task that are not its handler's, by name."""

from __future__ import annotations

UNBLOCK = "unblock"
"""The timer of a task that is blocked."""
CANCEL = "cancel"
"""The timer that the command line sets."""
DEADLINE = "deadline"
ENDING = frozenset({CANCEL, DEADLINE})
"""Timers that end a task."""
