"""Why an actor is one no longer."""

from __future__ import annotations

from ..journal.entries import SendRecord

STOPPING = "The server is stopping; try again."


class LeaseLost(Exception):
    """Another node owns the task now, or the store forgot us: this actor may not write."""

    def __init__(
        self, why: str, public_error: str = "The task has moved to another node; try again."
    ):
        super().__init__(why)
        self.public_error = public_error
        """To those who wait for the task here."""


class Duplicate(Exception):
    """The message had been accepted before: by whom, ``send`` says."""

    def __init__(self, send: SendRecord) -> None:
        super().__init__(send.message_id)
        self.send = send
