"""Concurrency inside a handler that replays the same whatever its timing.

A branch is numbered when it is spawned. What depends on timing is a record: which of several
failed, who won a race, where a time-out struck. On replay the record decides, not the clock.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import anyio
import msgspec

from .actor import Op
from .ledger import ReplayMismatch, below, record
from .ports import Timer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .context import TaskContext
    from .execution import Execution

T = TypeVar("T")


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

    def __init__(self, context: TaskContext, name: str) -> None:
        self.context: TaskContext | None = context
        """``None`` once the handler is over."""
        self.name = name
        self.ordinal = 0
        """The operation that began last …"""
        self.ended = 0
        """… and the one that ended last."""
        self.busy = False
        self.limit: int | None = None
        """On replay: the operation after which this branch was cut off. It goes no further."""
        self.watchers: list[TimeoutScope] = []

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


class TimeoutScope:
    """``TaskContext.timeout``: raises ``TimeoutError`` where it is left after it struck.

    On replay the clock does not run while the branch is on ground that it has covered before; and
    where the time-out struck then, it strikes again.
    """

    def __init__(self, context: TaskContext, seconds: float) -> None:
        self._context = context
        self._seconds = seconds

    async def __aenter__(self) -> TimeoutScope:
        context = self._context
        actor, ledger = context._actor, context._ledger
        self._branch = branch = context._branch()
        self._op = op = await context._begin()
        branch.ended = op.ordinal
        found = ledger.record(op, "timeout")
        if found is None:
            self._due = actor.system.now() + self._seconds
            actor.record(op, record("timeout", value=msgspec.json.encode(self._due)))
            actor.set_timer(Timer(f"timeout{below(op)}", self._due))
        else:
            self._due = msgspec.json.decode(found.value)
        struck = ledger.record(Op(below(op), 1), "struck")
        self._outer = branch.limit
        self._struck: Position | None = None
        if struck is not None:
            self._struck = msgspec.json.decode(struck.value, type=Position)
            branch.limit = self._struck.limit
        self._covered = ledger.last(branch.name)
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        branch.watchers.append(self)
        context._execution.alarms[f"timeout{below(op)}"] = anyio.Event()  # nobody waits for it
        self.look(parked=False)
        return self

    def look(self, *, parked: bool) -> None:
        """The branch has come further."""
        branch = self._branch
        if self._struck is not None:
            limit = self._struck.limit
            if not (
                branch.ended >= limit if self._struck.over else parked and branch.ordinal >= limit
            ):
                return
            self._scope.cancel()
        elif branch.ordinal >= self._covered:
            left = self._due - self._context._actor.system.now()
            self._scope.deadline = anyio.current_time() + max(0.0, left)
        else:
            return
        branch.watchers.remove(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        branch, scope = self._branch, self._scope
        if self in branch.watchers:
            branch.watchers.remove(self)
        scope.__exit__(kind, error, traceback)
        branch.limit = self._outer
        context = self._context
        timer = f"timeout{below(self._op)}"
        context._execution.alarms.pop(timer, None)
        context._withdraw(timer)
        if scope.cancelled_caught or (scope.cancel_called and _of_cancellation(error)):
            if self._struck is None:
                told = msgspec.json.encode(branch.position)
                context._actor.record(Op(below(self._op), 1), record("struck", value=told))
            else:
                branch.go_on_from(self._struck)
        if scope.cancelled_caught:
            raise TimeoutError(f"{self._seconds:g} seconds are over") from None
        return False


def _of_cancellation(error: BaseException | None) -> bool:
    """Whether an error came up while a cancellation was being cleaned up after."""
    cancelled = anyio.get_cancelled_exc_class()
    while error is not None:
        error = error.__context__
        if isinstance(error, cancelled):
            return True
    return False


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
