"""``ctx.group``: branches that are started as one goes, beside the block that starts them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import msgspec

from ..actor.actor import Op
from .block import Cut
from .branch import Asleep, Branch, Position, cancelling
from .fan_out import Failed, child_of, in_branch, raise_first
from .replay import below, record

if TYPE_CHECKING:
    from ..handler.context import TaskContext

T = TypeVar("T")

_BLOCK = -1
"""Stands for the block of a group itself among its branches."""
_END = "end of the group"


class Spawned(Generic[T]):
    """A branch of a group; ``result`` after the group was left."""

    __slots__ = ("_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None

    @property
    def result(self) -> T:
        if not self.done:
            raise RuntimeError("the branch has no result: it failed, was cancelled, or still runs")
        return cast("T", self._value)

    def _finish(self, value: T) -> None:
        self._value = value
        self.done = True


class _End(msgspec.Struct, frozen=True, array_like=True):
    """How a group ended, recorded before anybody is cut off for it."""

    failed: int | None
    """Who failed first, if anybody did …"""
    done: list[int] = []
    """… and which branches had ended by then …"""
    at: Position | None = None
    """… and how far the block had come: past the start of who failed, at least."""

    @property
    def cuts_the_block(self) -> bool:
        return self.failed is not None and self.failed != _BLOCK


class _Failure:
    """Cuts the branches of a group off; see ``branch.Stopper``."""

    def __init__(self) -> None:
        self.of: int | None = None
        """Who failed first."""

    @property
    def struck(self) -> bool:
        return self.of is not None

    @property
    def strikes_at(self) -> float:
        return inf


class Group(Cut):
    """Branches of a handler that end together; see ``TaskContext.group``."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self._join = Asleep(context._execution, 0)
        self._branches: list[Branch] = []
        self._done: list[int] = []
        self._failure = _Failure()
        self._arrival = anyio.Event()
        """On replay: the block is where it was cut off."""
        self._tasks: anyio.abc.TaskGroup

    async def _begin(self) -> None:
        context = self._context
        ledger = context._ledger
        branch = context._branch()
        op = await context._begin(waits=False)
        if ledger.record(op, "group") is None:
            context._actor.record(op, record("group"))
        self._above = (*branch.above, *branch.blocks, self._failure)
        self._enter(branch, op, 2)
        found = ledger.record(Op(below(op), 1), _END)
        self._end = None if found is None else msgspec.json.decode(found.value, type=_End)
        if self._position is None and self._end is not None and self._end.cuts_the_block:
            # The process died before where it was cut off was recorded.
            self._cut_at(self._end.at or ledger.position(branch.name))
        self.look(parked=False)

    # --- where the block is -----------------------------------------------------------------------

    @property
    def struck(self) -> bool:
        return self._failure.of not in (None, _BLOCK)

    def look(self, *, parked: bool) -> None:
        if self._position is not None and self._position.reached(self._branch, parked=parked):
            self._arrival.set()

    # --- its branches -----------------------------------------------------------------------------

    def start(
        self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any
    ) -> Spawned[T]:
        """Run a coroutine function as a branch of its own."""
        index = len(self._branches)
        branch = self._child(index)
        self._branches.append(branch)
        spawned: Spawned[T] = Spawned()

        async def call() -> T:
            return await function(*args, **kwargs)

        async def run() -> None:
            try:
                value = await in_branch(branch, call(), self._join)
            except Exception as error:
                await self._fails(index, error)
                raise Failed(index, error) from error
            if self._end is not None and index == self._end.failed:
                raise self._mismatch("does not")
            if not self._failure.struck:
                self._done.append(index)
                spawned._finish(value)

        self._tasks.start_soon(run)
        self._join.children += 1
        self._context._execution.go()
        return spawned

    def _child(self, index: int) -> Branch:
        parent, end = self._branch, self._end
        branch = child_of(
            self._context, self._op, index, self._above,
            covered=parent.covered or end is not None,
        )  # fmt: skip
        if end is None:
            cut = parent.limit is not None  # with all that is around the group
        else:
            cut = end.failed is not None and index != end.failed and index not in end.done
        if cut and branch.limit is None:
            branch.goes_no_further(self._context._ledger.position(branch.name))
        return branch

    async def _fails(self, index: int, error: Exception) -> None:
        """Keep who failed first, unless it only failed as all were being stopped."""
        end, parent, failure = self._end, self._branch, self._failure
        if end is not None:
            if end.failed is None:
                raise self._mismatch("does") from error
            if index == _BLOCK:
                self._arrival.set()
            if index != end.failed:
                await anyio.sleep_forever()  # it was not the first then, nor is it now
            # What was beside it must first come as far as it came then.
            await self._arrival.wait()
            for branch in self._branches:
                await branch.arrived()
            self._strike(index)
        elif failure.of is None:
            if parent.stopped(self) and cancelling(error):
                if index == _BLOCK:
                    parent.cut_off()
                return
            self._strike(index)
            self._record_end()

    def _strike(self, index: int) -> None:
        self._failure.of = index
        self._tasks.cancel_scope.cancel()
        self._context._execution.cuts.notify()

    def _record_end(self) -> None:
        if self._context._may_write:
            at = self._branch.position if self._failure.struck else None
            value = msgspec.json.encode(_End(self._failure.of, self._done, at))
            place = Op(below(self._op), 1)
            self._context._actor.record(place, record(_END, value=value))

    def _mismatch(self, now: str) -> BaseException:
        then = "a group that failed" if now == "does not" else "a group that did not fail"
        return self._context._ledger.mismatch(self._op, then, f"one that {now}")

    # --- its end ----------------------------------------------------------------------------------

    def _joins(self) -> None:
        """The block is over: it waits for the branches."""
        self._arrival.set()
        end = self._end
        failed = None if end is None else end.failed
        if failed is not None and not 0 <= failed < len(self._branches):
            raise self._mismatch("does not")
        self._branch.busy = True
        self._join.begin()

    def _left(self) -> None:
        self._leave(cut=self.struck)
        if self._join.asleep:
            self._join.end()
        if self._join.began:
            self._branch.busy = False

    def _ended(self) -> None:
        if self._end is None:
            self._record_end()


@asynccontextmanager
async def group(context: TaskContext) -> AsyncIterator[Group]:
    """``TaskContext.group``."""
    found = Group(context)
    await found._begin()
    try:
        async with anyio.create_task_group() as tasks:
            found._tasks = tasks
            try:
                yield found
            except Exception as error:
                await found._fails(_BLOCK, error)
                raise Failed(_BLOCK, error) from error
            found._joins()
    except BaseExceptionGroup as errors:
        raise_first(context._ledger, errors, found._failure.of)
    finally:
        found._left()
    found._ended()
