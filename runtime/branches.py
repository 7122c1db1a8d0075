"""Concurrency inside a handler that replays the same whatever its timing.

A branch is numbered when it is spawned. What depends on timing is a record: which of several
failed, who won a race, where a time-out struck. On replay the record decides, not the clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import msgspec

from .actor import Op
from .ledger import below, record
from .ports import Timer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .context import TaskContext

T = TypeVar("T")


class Branch:
    """One line of execution of a handler. Its operations are numbered from 1."""

    __slots__ = ("busy", "context", "cut", "name", "ordinal")

    def __init__(self, context: TaskContext, name: str) -> None:
        self.context = context
        self.name = name
        self.ordinal = 0
        self.busy = False
        self.cut = 0
        """On replay: the operation at which a time-out struck; 0: none did."""


current_branch: ContextVar[Branch | None] = ContextVar("greenroom_branch", default=None)


class TimeoutStruck(BaseException):
    """Replay has come to where a time-out struck."""


class Busy:
    """Marks a branch while one of its operations waits."""

    __slots__ = ("_branch",)

    def __init__(self, branch: Branch) -> None:
        self._branch = branch

    def __enter__(self) -> None:
        self._branch.busy = True

    def __exit__(self, *_: object) -> None:
        self._branch.busy = False


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


async def _in_branch(branch: Branch, awaitable: Awaitable[T]) -> T:
    token = current_branch.set(branch)
    try:
        return await awaitable
    finally:
        current_branch.reset(token)


def _close(awaitables: tuple[Awaitable[Any], ...]) -> None:
    for awaitable in awaitables:
        if isinstance(awaitable, Coroutine):
            awaitable.close()


async def gather(context: TaskContext, awaitables: tuple[Awaitable[Any], ...]) -> list[Any]:
    """``TaskContext.gather``."""
    parent = context._branch()
    op = context._place()
    inner = below(op)
    branches = [Branch(context, f"{inner}.{index}") for index in range(len(awaitables))]
    found = context._ledger.record(op, "gather")
    with Busy(parent):
        if found is not None and (failed := msgspec.json.decode(found.value)) is not None:
            # This one failed first, and the others were cancelled: only it is run again.
            _close(awaitables[:failed] + awaitables[failed + 1 :])
            await _in_branch(branches[failed], awaitables[failed])
            return []
        results: list[Any] = [None] * len(awaitables)

        async def run(index: int) -> None:
            try:
                results[index] = await _in_branch(branches[index], awaitables[index])
            except Exception as error:
                raise _Failed(index, error) from error

        try:
            async with anyio.create_task_group() as group:
                for index in range(len(awaitables)):
                    group.start_soon(run, index)
        except BaseExceptionGroup as errors:
            first = _first(errors)
            if first is None:
                raise
            if found is None:
                context._actor.record(op, record("gather", value=b"%d" % first.index))
            raise first.error from None
        if found is None:
            context._actor.record(op, record("gather"))
    return results


def _first(errors: BaseExceptionGroup[BaseException]) -> _Failed | None:
    """The first failure, if there is nothing worse among the errors."""
    failed, rest = errors.split(_Failed)
    if rest is not None or failed is None:
        return None
    found: BaseException = failed
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, _Failed)
    return found


async def race(context: TaskContext, awaitables: tuple[Awaitable[Any], ...]) -> Any:
    """``TaskContext.race``."""
    if not awaitables:
        raise ValueError("a race needs somebody to run it")
    parent = context._branch()
    op = context._place()
    inner = below(op)
    branches = [Branch(context, f"{inner}.{index}") for index in range(len(awaitables))]
    found = context._ledger.record(op, "race")
    with Busy(parent):
        if found is not None:
            winner = msgspec.json.decode(found.value)
            _close(awaitables[:winner] + awaitables[winner + 1 :])
            return await _in_branch(branches[winner], awaitables[winner])
        ended: list[tuple[int, Any, BaseException | None]] = []

        async def run(index: int, scope: anyio.CancelScope) -> None:
            try:
                value = await _in_branch(branches[index], awaitables[index])
            except Exception as error:
                ended.append((index, None, error))
            else:
                ended.append((index, value, None))
            scope.cancel()

        async with anyio.create_task_group() as group:
            for index in range(len(awaitables)):
                group.start_soon(run, index, group.cancel_scope)
        winner, value, error = ended[0]
        context._actor.record(op, record("race", value=b"%d" % winner))
    if error is not None:
        raise error
    return value


class Group:
    """Branches of a handler that end together; see ``TaskContext.group``."""

    def __init__(self, context: TaskContext, inner: str, children: anyio.abc.TaskGroup) -> None:
        self._context = context
        self._inner = inner
        self._children = children
        self._count = 0

    def start(
        self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any
    ) -> Spawned[T]:
        """Run a coroutine function as a branch of its own."""
        branch = Branch(self._context, f"{self._inner}.{self._count}")
        self._count += 1
        spawned: Spawned[T] = Spawned()

        async def run() -> None:
            spawned._finish(await _in_branch(branch, function(*args, **kwargs)))

        self._children.start_soon(run)
        return spawned


@asynccontextmanager
async def group(context: TaskContext) -> AsyncIterator[Group]:
    """``TaskContext.group``."""
    op = context._place()
    async with anyio.create_task_group() as children:
        yield Group(context, below(op), children)


class TimeoutScope:
    """``TaskContext.timeout``: raises ``TimeoutError`` where it is left after it struck."""

    def __init__(self, context: TaskContext, seconds: float) -> None:
        self._context = context
        self._seconds = seconds

    async def __aenter__(self) -> TimeoutScope:
        context = self._context
        actor = context._actor
        self._branch = branch = context._branch()
        self._op = op = context._place()
        found = context._ledger.record(op, "timeout")
        if found is None:
            due = actor.system.now() + self._seconds
            actor.record(op, record("timeout", value=msgspec.json.encode(due)))
            actor.set_timer(Timer(f"timeout{below(op)}", due))
        else:
            due = msgspec.json.decode(found.value)
        struck = context._ledger.record(Op(below(op), 1), "struck")
        self._outer = branch.cut
        if struck is not None:
            branch.cut = msgspec.json.decode(struck.value)
        left = max(0.0, due - actor.system.now())
        self._scope = anyio.move_on_after(left if struck is None else None)
        self._scope.__enter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        branch = self._branch
        replayed = isinstance(error, TimeoutStruck)
        if replayed:
            self._scope.__exit__(None, None, None)
        else:
            self._scope.__exit__(kind, error, traceback)
        branch.cut = self._outer
        actor = self._context._actor
        actor.clear_timer(f"timeout{below(self._op)}")
        if replayed:
            raise TimeoutError from None
        if self._scope.cancelled_caught:
            actor.record(
                Op(below(self._op), 1), record("struck", value=b"%d" % max(1, branch.ordinal))
            )
            raise TimeoutError from None
        return False
