"""One line of a handler: where it is, and whether it works, waits or sleeps."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

if TYPE_CHECKING:
    from .execution import Execution
    from .operations import Operations


class Watcher(Protocol):
    """Who must know how far a branch is: a time-out."""

    def look(self, *, parked: bool) -> None:
        """The branch has come further, or, ``parked``, will not come further by itself."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a branch was cut off: at which operation, and whether that was over."""

    ordinal: int
    over: bool

    @property
    def limit(self) -> int:
        """The last operation that the branch may begin on replay."""
        return self.ordinal if self.over else self.ordinal - 1


class Branch:
    """One line of execution of a handler. Its operations are numbered from 1."""

    __slots__ = ("busy", "context", "ended", "limit", "name", "ordinal", "watchers")

    def __init__(self, context: Operations, name: str) -> None:
        self.context: Operations | None = context
        """``None`` once the handler is over."""
        self.name = name
        self.ordinal = 0
        """The operation that began last …"""
        self.ended = 0
        """… and the one that ended last."""
        self.busy = False
        self.limit: int | None = None
        """On replay: the operation after which this branch was cut off. It goes no further."""
        self.watchers: list[Watcher] = []

    @property
    def position(self) -> Position:
        return Position(self.ordinal, self.ended == self.ordinal)

    def go_on_from(self, position: Position) -> None:
        """What was cut off was cut off again: number on as it was done then."""
        self.ordinal = self.ended = position.ordinal

    @property
    def cut(self) -> bool:
        """Whether the next operation never began."""
        return self.limit is not None and self.ordinal >= self.limit

    async def wait_for_the_cut(self) -> None:
        """Stay here: what cut the branch off is on its way."""
        for watcher in self.watchers.copy():
            watcher.look(parked=True)
        await anyio.sleep_forever()

    def look(self) -> None:
        """Tell the time-outs how far the branch is."""
        for watcher in self.watchers.copy():
            watcher.look(parked=False)


current_branch: ContextVar[Branch | None] = ContextVar("greenroom_branch", default=None)


class Busy:
    """Marks a branch while one of its operations waits."""

    __slots__ = ("_branch",)

    def __init__(self, branch: Branch) -> None:
        self._branch = branch

    def __enter__(self) -> None:
        self._branch.busy = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        branch = self._branch
        branch.busy = False
        if kind is None or issubclass(kind, Exception):
            branch.ended = branch.ordinal
            if branch.watchers:
                branch.look()


class Asleep:
    """A line of the handler that waits for its client, for time, or for its branches."""

    __slots__ = ("_execution", "asleep", "began", "children")

    def __init__(self, execution: Execution, children: int = 0) -> None:
        self._execution = execution
        self.children = children
        """How many branches must end before the line goes on; one that fails is enough."""
        self.began = False
        self.asleep = False

    def begin(self) -> None:
        self.began = True
        if self.children > 0:
            self.asleep = True
            self._execution.pause()

    def end(self) -> None:
        if self.asleep:
            self.asleep = False
            self._execution.go()

    def child_ended(self, error: BaseException | None) -> None:
        self.children -= 1
        if self.children <= 0 or error is not None:
            self.end()

    def __enter__(self) -> Asleep:
        self.began = self.asleep = True
        self._execution.pause()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
