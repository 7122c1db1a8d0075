"""What an actor needs of a handler that runs, and of whoever starts one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ...protocol.types import Message
from ..agent import Handler
from ..call import Sender
from ..journal.entries import Entry
from ..journal.places import Place
from .cancellation import Reason


class RunningHandler(Protocol):
    """One start of a handler (``handler.execution.Execution``)."""

    message: Message
    call: Sender | None
    handler: Handler
    commit_before_start: bool
    """Its task must be in the store before it begins."""
    started: bool
    """It has had its first turn."""

    @property
    def reason(self) -> Reason | None:
        """Why it is being stopped, if it is."""
        ...

    @property
    def listeners(self) -> int:
        """How many of its lines wait for whatever message comes."""
        ...

    @property
    def at_work(self) -> bool:
        """Whether it counts as at work."""
        ...

    @property
    def asleep(self) -> bool:
        """Whether it waits for messages and time only."""
        ...

    @property
    def ending(self) -> bool:
        """Whether the cancellation of the handler ends the task."""
        ...

    def start(self) -> None:
        """Run it as a child of the runtime."""
        ...

    def wake(self) -> None:
        """A message came."""
        ...

    def answered(self, place: Place, message: Message) -> None:
        """The answer came that is recorded at ``place``."""
        ...

    def timer_due(self, name: str) -> bool:
        """A timer of the handler is due. Return whether the handler still waits for it."""
        ...

    def cancel(self, reason: Reason) -> None:
        """Cancel it; it has ``cancel_grace`` seconds to clean up."""
        ...

    def abandon(self, why: str) -> None:
        """Stop it without waiting; nothing that it still does is written."""
        ...

    def passivate(self) -> None:
        """Stop it because the task goes to rest."""
        ...

    def overdue(self) -> None:
        """The grace is over: end the task without it."""
        ...


class Launch(Protocol):
    """Makes a handler's run for an actor, and does not start it."""

    def __call__(
        self,
        actor: Any,
        message: Message,
        call: Sender | None = None,
        entries: Sequence[Entry] = (),
        state: Any = None,
    ) -> RunningHandler: ...
