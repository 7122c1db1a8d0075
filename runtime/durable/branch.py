"""One line of a handler: where it is, and whether it works, waits, sleeps or is being cut off."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

if TYPE_CHECKING:
    from ..handler.execution import Execution
    from .run import Operations


class Stopper(Protocol):
    """What may cut a branch off: a time-out, or branches of which one has failed or won."""

    @property
    def struck(self) -> bool:
        """Whether it has."""

    @property
    def strikes_at(self) -> float:
        """When it will by itself, in the time of the event loop."""


class Block(Stopper, Protocol):
    """A part of a branch that may be cut off while the branch goes on behind it."""

    @property
    def ordinal(self) -> int:
        """The operation that it is."""

    def look(self, *, parked: bool) -> None:
        """The branch has come further, or, ``parked``, will not come further by itself."""

    def held_off(self) -> None:
        """The branch goes on from where it was thought to be cut off."""

    def cut_off(self) -> Branch:
        """Record where; return the branch for the clean-up."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a branch was cut off: at which operation, and whether that was over."""

    ordinal: int
    over: bool

    @property
    def limit(self) -> int:
        """The last operation that the branch may begin on replay."""
        return self.ordinal if self.over else self.ordinal - 1

    def reached(self, branch: Branch, *, parked: bool) -> bool:
        """Whether ``branch`` has come here again."""
        if self.over:
            return branch.ended >= self.ordinal
        return parked and branch.ordinal >= self.limit


class Branch:
    """One line of execution of a handler. Its operations are numbered from 1.

    What it does after a cancellation came through (in ``finally``) is numbered in a branch of its
    own: where the cut was depends on timing, and replay must find again what came before it.
    """

    __slots__ = (
        "_arrival", "_cleanup", "_known", "above", "anew", "blocks", "busy", "context", "covered",
        "ended", "limit", "name", "ordinal",
    )  # fmt: skip

    def __init__(
        self, context: Operations, name: str, above: tuple[Stopper, ...] = (), *,
        covered: bool = False,
    ) -> None:  # fmt: skip
        self.context: Operations | None = context
        """``None`` once the handler is over."""
        self.name = name
        self.above = above
        """What cuts off the whole branch."""
        self.covered = covered
        """Whether replay knows how all of it ended."""
        self.ordinal = 0
        """The operation that began last …"""
        self.ended = 0
        """… and the one that ended last."""
        self.anew = False
        """The one that began last is done, in part, for the first time."""
        self.busy = False
        self.limit: int | None = None
        """On replay: the operation after which this branch was cut off. It goes no further."""
        self.blocks: list[Block] = []
        """Those that it is in, the innermost last."""
        self._known: Position | None = None
        self._arrival: anyio.Event | None = None
        self._cleanup: Branch | None = None

    def begin(self, *, waits: bool) -> int:
        """Number the next operation."""
        self.ordinal += 1
        self.anew = False
        if not waits:
            self.ended = self.ordinal
        if self.watched:
            self.look()
        return self.ordinal

    @property
    def watched(self) -> bool:
        return bool(self.blocks) or self._known is not None

    @property
    def position(self) -> Position:
        return Position(self.ordinal, self.ended == self.ordinal)

    def beyond(self, position: Position) -> bool:
        """Whether it has come further than ``position``, which is as far as is recorded."""
        if position.over and not self.anew:
            return self.ended >= position.ordinal
        return self.ordinal >= position.ordinal

    def goes_on_anew(self) -> None:
        """What is done now of the operation that began last was not done before."""
        self.anew = True
        if self.watched:
            self.look()

    def go_on_from(self, position: Position) -> None:
        """What was cut off was cut off again: number on as it was done then."""
        self.ordinal = self.ended = position.ordinal

    # --- cut off on replay ------------------------------------------------------------------------

    def goes_no_further(self, position: Position) -> None:
        """All of this branch was cut off at ``position``."""
        self._known = position
        self.limit = position.limit
        self._arrival = anyio.Event()
        self.look()

    async def arrived(self) -> None:
        """Wait until the branch is where it was cut off, if it was."""
        if self._arrival is not None:
            await self._arrival.wait()

    def leave(self) -> None:
        """The branch comes no further: nobody need wait for it."""
        if self._arrival is not None:
            self._arrival.set()

    @property
    def cut(self) -> bool:
        """Whether the next operation never began."""
        return self.limit is not None and self.ordinal >= self.limit

    @property
    def new_ground(self) -> bool:
        """Whether it may go on behind what is recorded."""
        return self.limit is None and not self.covered

    async def wait_for_the_cut(self) -> None:
        """Stay here: what cut the branch off is on its way. Where it is held off (a shield) it was
        so before, and the branch went on."""
        assert self.context is not None, "a handler does not end before its branches"
        cuts = self.context._execution.cuts
        self.look(parked=True)
        while not self.stopped():
            due = min(item.strikes_at for item in (*self.above, *self.blocks))
            with anyio.move_on_after(due - anyio.current_time()):
                await cuts.wait()
        if anyio.current_effective_deadline() == -inf:
            await anyio.sleep_forever()
        self.limit = self._known = None
        for block in self.blocks:
            block.held_off()

    def look(self, *, parked: bool = False) -> None:
        """Tell those who wait for it how far the branch is."""
        if self._known is not None and self._known.reached(self, parked=parked):
            self.leave()
        for block in reversed(self.blocks):
            block.look(parked=parked)
            if block.struck:
                break  # what is around it was cut off later, if at all

    # --- cleaning up ------------------------------------------------------------------------------

    def line(self) -> Branch:
        """Where the next operation is numbered: here, or in the clean-up of what was cut off."""
        if self._cleanup is None and cancelling(sys.exc_info()[1]):
            self.cut_off()
        return self if self._cleanup is None else self._cleanup.line()

    def stopped(self, within: Block | None = None) -> bool:
        """Whether the branch is cut off, or is about to be, by something around ``within``."""
        around = self.blocks if within is None else self.blocks[: self.blocks.index(within)]
        return any(item.struck for item in (*self.above, *around))

    def cut_off(self) -> None:
        """A cancellation came through. If it is one of ours, a clean-up begins."""
        if self._cleanup is not None:
            return
        for block in reversed(self.blocks):
            if block.struck:
                self._cleanup = block.cut_off()
                return
        if self.context is not None and self.stopped():
            at = self._known or self.position
            self._cleanup = CleanUp(self.context, f"{self.name}/{at.ordinal}{'-+'[at.over]}")

    def leave_block(self, block: Block, outer: int | None, cut_at: Position | None) -> None:
        """The branch is behind a block; ``cut_at``: that was cut off there."""
        self.blocks.remove(block)
        self.limit = outer
        if cut_at is not None:
            self._cleanup = None
            self.go_on_from(cut_at)
            self.look()


class CleanUp(Branch):
    """What a whole branch does after it was cut off. Its name says where that was; its first
    operation is the record of it, so that whoever replays it has the same name for it."""

    __slots__ = ("_told",)

    def __init__(self, context: Operations, name: str) -> None:
        super().__init__(context, name)
        self.ordinal = self.ended = 1
        self._told = False

    def begin(self, *, waits: bool) -> int:
        if not self._told:
            self._told = True
            assert self.context is not None, "a handler does not end before its branches"
            self.context._cleans_up(self.name)
        return super().begin(waits=waits)


current_branch: ContextVar[Branch | None] = ContextVar("greenroom_branch", default=None)


def cancelling(error: BaseException | None) -> bool:
    """Whether an error is a cancellation, or came up while one was being cleaned up after."""
    if error is None:
        return False
    cancelled = anyio.get_cancelled_exc_class()
    while error is not None:
        if isinstance(error, cancelled):
            return True
        if isinstance(error, BaseExceptionGroup) and error.split(cancelled)[0] is not None:
            return True
        error = error.__context__
    return False


class Busy:
    """Marks a branch while one of its operations waits."""

    __slots__ = ("_branch",)

    def __init__(self, branch: Branch) -> None:
        self._branch = branch

    def __enter__(self) -> None:
        self._branch.busy = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        branch = self._branch
        branch.busy = False
        if kind is None or issubclass(kind, Exception):
            branch.ended = branch.ordinal
            if branch.watched:
                branch.look()
        elif cancelling(error):
            branch.cut_off()


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
