"""Concurrency inside a handler that replays the same whatever its timing.

A branch is numbered when it is spawned. What depends on timing is a record: which of several
failed, who won a race. On replay the record decides, not the clock.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import anyio
import msgspec

from .actor import Op
from .branch import Asleep, Branch, Busy, Position, current_branch
from .ledger import ReplayMismatch, below, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .context import TaskContext

T = TypeVar("T")


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


class _Failed(Exception):
    """Carries the first failure of a gather out of its task group."""

    def __init__(self, index: int, error: BaseException) -> None:
        super().__init__(index)
        self.index = index
        self.error = error


async def _in_branch(branch: Branch, awaitable: Awaitable[T], join: Asleep) -> T:
    token = current_branch.set(branch)
    assert branch.context is not None, "a branch begins while its handler runs"
    execution = branch.context._execution
    execution.go()
    try:
        return await awaitable
    except (KeyboardInterrupt, SystemExit) as error:
        # asyncio stops its loop, and everybody on it, for either of them in a task.
        raise RuntimeError(f"a branch raised {type(error).__name__}") from error
    finally:
        # First the one who waited for this goes on, or the handler would seem to be asleep.
        join.child_ended(sys.exc_info()[1])
        execution.pause()
        current_branch.reset(token)


def _close(awaitables: Iterable[Awaitable[Any]]) -> None:
    for awaitable in awaitables:
        close = getattr(awaitable, "close", None)  # coroutines have one, and artifact writers
        if close is not None:
            close()


async def _begin(context: TaskContext, awaitables: tuple[Awaitable[Any], ...], kind: str) -> Begun:
    """Begin an operation whose awaitables become branches; if it may not begin, close them."""
    try:
        branch = context._branch()
        op = await context._begin()
        found = context._ledger.record(op, kind)
    except BaseException:
        _close(awaitables)
        raise
    inner = below(op)
    children = [Branch(context, f"{inner}.{index}") for index in range(len(awaitables))]
    recorded = None if found is None else msgspec.json.decode(found.value)
    return Begun(branch, op, children, found is not None, recorded)


class Begun(NamedTuple):
    parent: Branch
    op: Op
    children: list[Branch]
    replayed: bool
    recorded: Any


async def gather(context: TaskContext, awaitables: tuple[Awaitable[Any], ...]) -> list[Any]:
    """``TaskContext.gather``."""
    begun = await _begin(context, awaitables, "gather")
    failed = begun.recorded
    with Busy(begun.parent), Asleep(context._execution, len(awaitables)) as join:
        if failed is not None:
            # This one failed first, and the others were cancelled: only it is run again.
            _close(awaitables[:failed] + awaitables[failed + 1 :])
            await _in_branch(begun.children[failed], awaitables[failed], join)
            raise ReplayMismatch(begun.op, "a gather that failed", "one that does not")
        results: list[Any] = [None] * len(awaitables)

        async def run(index: int) -> None:
            try:
                results[index] = await _in_branch(begun.children[index], awaitables[index], join)
            except Exception as error:
                raise _Failed(index, error) from error

        try:
            async with anyio.create_task_group() as group:
                for index in range(len(awaitables)):
                    group.start_soon(run, index)
        except BaseExceptionGroup as errors:
            first = _first(errors)
            context._actor.record(begun.op, record("gather", value=b"%d" % first.index))
            raise first.error from None
        if not begun.replayed:
            context._actor.record(begun.op, record("gather"))
    return results


def _first(errors: BaseExceptionGroup[BaseException]) -> _Failed:
    """The first failure among errors; raises what is no failure but a way out of the handler."""
    failures: list[_Failed] = []
    pending: list[BaseException] = [errors]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending[:0] = error.exceptions
        elif isinstance(error, _Failed):
            failures.append(error)
        else:
            raise error from None
    return failures[0]


async def race(context: TaskContext, awaitables: tuple[Awaitable[Any], ...]) -> Any:
    """``TaskContext.race``."""
    if not awaitables:
        raise ValueError("a race needs somebody to run it")
    begun = await _begin(context, awaitables, "race")
    with Busy(begun.parent), Asleep(context._execution, 1) as join:
        if begun.replayed:
            winner = begun.recorded
            _close(awaitables[:winner] + awaitables[winner + 1 :])
            return await _in_branch(begun.children[winner], awaitables[winner], join)
        ended: list[tuple[int, Any, BaseException | None]] = []

        async def run(index: int, scope: anyio.CancelScope) -> None:
            try:
                value = await _in_branch(begun.children[index], awaitables[index], join)
            except Exception as error:
                ended.append((index, None, error))
            else:
                ended.append((index, value, None))
            scope.cancel()

        try:
            async with anyio.create_task_group() as group:
                for index in range(len(awaitables)):
                    group.start_soon(run, index, group.cancel_scope)
        except BaseExceptionGroup as errors:
            raise _first(errors).error from None
        winner, value, error = ended[0]
        context._actor.record(begun.op, record("race", value=b"%d" % winner))
        if error is not None:
            raise error
    return value


class Group:
    """Branches of a handler that end together; see ``TaskContext.group``."""

    def __init__(
        self,
        context: TaskContext,
        inner: str,
        children: anyio.abc.TaskGroup,
        failed: int | None,
        join: Asleep,
    ) -> None:
        self._context = context
        self._inner = inner
        self._children = children
        self._failed = failed
        self._join = join
        self._count = 0

    def start(
        self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any
    ) -> Spawned[T]:
        """Run a coroutine function as a branch of its own."""
        index = self._count
        branch = Branch(self._context, f"{self._inner}.{index}")
        self._count += 1
        self._join.children += 1
        spawned: Spawned[T] = Spawned()

        async def run() -> None:
            try:
                spawned._finish(await _in_branch(branch, function(*args, **kwargs), self._join))
            except Exception as error:
                if self._failed not in (None, index):
                    await anyio.sleep_forever()  # it was not the first then, nor is it now
                raise _Failed(index, error) from error

        self._children.start_soon(run)
        return spawned


_GroupRecord = tuple[int | None, Position | None]

_BODY = -1
"""Stands for the block of a group itself among its branches."""


@asynccontextmanager
async def group(context: TaskContext) -> AsyncIterator[Group]:
    """``TaskContext.group``."""
    branch = context._branch()
    op = await context._begin()
    branch.ended = op.ordinal
    found = context._ledger.record(op, "group")
    failed, position = (
        (None, None) if found is None else msgspec.json.decode(found.value, type=_GroupRecord)
    )
    outer = branch.limit
    join = Asleep(context._execution, 0)
    if position is not None:
        branch.limit = position.limit
    try:
        async with anyio.create_task_group() as children:
            try:
                yield Group(context, below(op), children, failed, join)
            except Exception as error:
                raise _Failed(_BODY, error) from error
            branch.busy = True
            join.begin()
    except BaseExceptionGroup as errors:
        first = _first(errors)
        if found is None:
            # The block was cut off where it was, unless it was what failed.
            told = None if first.index == _BODY else branch.position
            context._actor.record(
                op, record("group", value=msgspec.json.encode((first.index, told)))
            )
        elif position is not None:
            branch.go_on_from(position)
        raise first.error from None
    finally:
        branch.limit = outer
        if join.asleep:
            join.end()
        if join.began:
            branch.busy = False
    if found is None:
        context._actor.record(op, record("group", value=b"[null,null]"))
