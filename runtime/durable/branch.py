"""Lines of control and their branches: where the next operation of a handler is numbered.

A ``Line`` is one coroutine; it begins in a branch of its own. Inside the block of a group or of a
time-out, and in a clean-up, it numbers its operations in a further branch (``journal.places``). So
a line has a stack of branches, and the one on top counts:

    await ctx.step(a)                     ("", 1)
    async with ctx.timeout(60):           ("", 2)          stack: "", "/2.b"
        await ctx.step(b)                 ("/2.b", 1)
        try:
            await ctx.step(c)             ("/2.b", 2)      the time is up here
        finally:
            with anyio.CancelScope(shield=True):
                await ctx.step(undo)      ("/2.b!", 1)     stack: "", "/2.b", "/2.b!"
    await ctx.step(d)                     ("", 3)          stack: ""
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Protocol

import anyio

from ..journal.places import Place, clean_up
from ..journal.records import Reached
from .activity import Activity
from .replay import Replay


class Cutter(Protocol):
    """An operation that may cancel what is below it (``block.Cancellable``)."""

    pending: bool
    """Its cut is recorded and not carried out yet."""
    cancelled: bool
    """Its cut was carried out."""
    sequence: int
    """Of the record of its cut, if there is one."""

    @property
    def covers_its_line(self) -> bool:
        """Whether a cut cancels the line of the operation as well."""
        ...

    def look(self) -> bool:
        """On replay: carry out the recorded cut if everybody is where the record says."""
        ...

    def look_at_the_clock(self) -> None:
        """On replay: cut what should have been cut meanwhile."""

    def tell(self, reached: list[Reached], spawned: list[tuple[str, int]]) -> None:
        """Add where the lines are that the operation has started."""


class Owner(Protocol):
    """What a line needs of its run (``run.Run``)."""

    replay: Replay
    activity: Activity


class Branch:
    """A numbering of operations, from 1."""

    __slots__ = ("block", "busy", "cleans_up", "ended", "left", "name", "ordinal")

    def __init__(self, name: str, block: Cutter | None = None, *, cleans_up: bool = False):
        self.name = name
        self.block = block
        """The operation whose block this is, or whose clean-up."""
        self.cleans_up = cleans_up
        self.ordinal = 0
        """The operation that began last …"""
        self.ended = 0
        """… and the one that ended last."""
        self.busy = False
        """One of its operations waits."""
        self.left = False
        """It comes no further."""


class Line:
    """One coroutine that uses the context."""

    __slots__ = ("above", "fresh", "left", "open", "parent", "passing", "run", "stack")

    def __init__(
        self, run: Owner, name: str, above: tuple[Cutter, ...] = (), parent: Line | None = None
    ) -> None:
        self.run = run
        self.above = above
        """The operations that may cancel all of it, the outermost first."""
        self.parent = parent
        self.stack = [Branch(name)]
        self.open: list[Cutter] = []
        """The operations with branches that it is in, the outermost first."""
        self.left = False
        """It has ended."""
        self.fresh = False
        """It, or a line that it started, has come to new ground."""
        self.passing: BaseException | None = None
        """A cancellation that passed, and was none of a cut around the line."""

    @property
    def name(self) -> str:
        """The branch that it begins in."""
        return self.stack[0].name

    def begin(self) -> None:
        """Its coroutine has its first turn."""
        if not self.run.replay.empty:
            self.run.replay.branches[self.name] = self.stack[0]
            self.moved()

    def end(self) -> None:
        """Its coroutine is over: what is left of its entries nobody will look for."""
        self.left = True
        self.passing = None
        for branch in self.stack:
            branch.left = True
        if not self.run.replay.empty:
            self.run.replay.drop(self.name)
            self.moved()

    def enter(self, branch: Branch) -> None:
        """Number what follows in ``branch``."""
        self.stack.append(branch)
        if not self.run.replay.empty:
            self.run.replay.branches[branch.name] = branch

    def leave(self, block: Cutter) -> None:
        """Number what follows as before ``block``."""
        for branch in [branch for branch in self.stack if branch.block is block]:
            branch.left = True
            self.stack.remove(branch)
            self.run.replay.drop(branch.name)

    def numbering(self) -> Branch:
        """Return the branch of the next operation: the one on top, or, if a cancellation has come
        through, the clean-up of what was cancelled."""
        error = sys.exception()
        if error is not None and not self.stack[-1].cleans_up:
            # What the handler cleans up after may be older than the cut: an error that it handles
            # can have a cancellation in its context that ended some other block.
            cancellation = cancellation_in(error)
            if cancellation is None or cancellation is not self.passing:
                self.passing = None
                if cancellation is not None and not self._clean_up():
                    self.passing = cancellation
        return self.stack[-1]

    def _clean_up(self) -> bool:
        """Begin the branch of the clean-up, if something around the line was cut."""
        for branch in reversed(self.stack):
            if branch.cleans_up:
                return True
            if branch.block is not None and branch.block.cancelled:
                self.enter(Branch(clean_up(branch.name), branch.block, cleans_up=True))
                return True
        if any(operation.cancelled for operation in self.above):
            self.enter(Branch(clean_up(self.name), cleans_up=True))
            return True
        return False

    def is_held(self, before: float) -> bool:
        """Whether a recorded cut around the line, ``before`` some entry, is to be carried out."""
        return any(item.pending and item.sequence < before for item in self.around())

    def around(self) -> list[Cutter]:
        """Return the operations that may cancel the line where it is, the outermost first."""
        return [*self.above, *(item for item in self.open if item.covers_its_line)]

    def is_new(self) -> None:
        """The line has come to new ground."""
        line: Line | None = self
        while line is not None and not line.fresh:
            line.fresh = True
            line = line.parent

    def moved(self) -> None:
        """An operation of the line has begun or ended. On replay that may be what a cut waits
        for."""
        run = self.run
        run.activity.moves += 1
        if run.replay.empty:
            return
        around = self.around()
        if run.replay.pending:
            for operation in around:
                operation.look()
        for operation in around:
            operation.look_at_the_clock()
        run.activity.cuts.notify()


current_line: ContextVar[Line | None] = ContextVar("greenroom_line", default=None)


def cancellation_in(error: BaseException) -> BaseException | None:
    """Return the newest cancellation that an error is, or that was being cleaned up after when the
    error came up."""
    cancelled = anyio.get_cancelled_exc_class()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, cancelled):
            return cause
        if isinstance(cause, BaseExceptionGroup) and cause.split(cancelled)[0] is not None:
            return cause
        cause = cause.__context__
    return None


class Operation:
    """One operation of a line. Enter it while it waits: no other of its branch may begin then."""

    __slots__ = ("branch", "line", "place")

    def __init__(self, line: Line, branch: Branch) -> None:
        if branch.ordinal:
            # What is left of the one before it nobody will look for.
            line.run.replay.over(Place(branch.name, branch.ordinal))
        branch.ordinal += 1
        self.line = line
        self.branch = branch
        self.place = Place(branch.name, branch.ordinal)

    def __enter__(self) -> Operation:
        self.branch.busy = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self.branch.busy = False
        if kind is None or issubclass(kind, Exception):
            self.over()

    def over(self) -> None:
        """The operation has ended, other than by a cancellation."""
        self.branch.ended = max(self.branch.ended, self.place.ordinal)
        self.line.run.replay.over(self.place)
        self.line.moved()


class Asleep:
    """A line of the handler that waits for its client, for time, or for its branches."""

    __slots__ = ("_activity", "asleep", "began", "children")

    def __init__(self, activity: Activity, children: int = 0) -> None:
        self._activity = activity
        self.children = children
        """How many branches must end before the line goes on; one that fails is enough."""
        self.began = False
        self.asleep = False

    def begin(self) -> None:
        """The line waits from here on, if there is anything to wait for."""
        self.began = True
        if self.children > 0:
            self.asleep = True
            self._activity.pause()

    def end(self) -> None:
        """The line is at work again."""
        if self.asleep:
            self.asleep = False
            self._activity.go()

    def child_ended(self, error: BaseException | None) -> None:
        """One of the branches that the line waits for has ended."""
        self.children -= 1
        if self.children <= 0 or error is not None:
            self.end()

    def __enter__(self) -> Asleep:
        self.began = self.asleep = True
        self._activity.pause()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
