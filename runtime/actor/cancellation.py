"""Why a handler is stopped, and the exceptions that unwind it."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a handler was cancelled. Only ``USER``, ``OPERATOR`` and ``DEADLINE`` end a task."""

    USER = "user"
    OPERATOR = "operator"
    """By ``greenroom tasks cancel``."""
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease lost"
    PASSIVATED = "passivated"

    @property
    def ends(self) -> bool:
        """Whether the task is over; else it goes on later, from its journal."""
        return self in STATUS_TEXT


STATUS_TEXT = {
    Reason.USER: "Canceled by the client.",
    Reason.OPERATOR: "Canceled by the operator.",
    Reason.DEADLINE: "Out of time.",
}
"""What the last status says, for the reasons that may end a task."""


class TaskCancelled(BaseException):
    """Raised in a plain ``def`` handler at its next call to the context after a cancel."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Stop(BaseException):
    """Unwinds a handler whose task is over (``ctx.reject``, ``ctx.fail``)."""


class Restart(BaseException):
    """Unwinds a handler that begins a new run (``ctx.restart``)."""

    def __init__(self, state: bytes) -> None:
        super().__init__()
        self.state = state


class StepFailed(Exception):
    """A step raised. The same whether it happened now or is replayed.

    ``type`` is the name of the exception's class, ``message`` its text.
    """

    def __init__(self, step: str, type: str, message: str) -> None:
        super().__init__(f"step {step!r} failed: {type}: {message}")
        self.step = step
        self.type = type
        self.message = message


class TaskRejected(Exception):
    """Raise it (or call ``ctx.reject``) to refuse the task: its state becomes rejected."""
