"""``ctx.group``: branches that are started as one goes, beside the block that starts them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, ParamSpec, TypeVar, cast

import anyio

from ..journal.places import Place, block
from ..journal.records import RecordKind
from .block import place_of_end
from .branch import Branch, Line, Operation
from .fan_out import Branches, Failed, forget_cancellation, raise_first, without_context
from .run import Run

P = ParamSpec("P")
T = TypeVar("T")

_BLOCK = -1
"""Stands for the block of a group among its branches."""


class Spawned(Generic[T]):
    """A branch of a group; ``result`` after the group was left."""

    __slots__ = ("_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None

    @property
    def result(self) -> T:
        """What the branch returned; raises ``RuntimeError`` if it has not."""
        if not self.done:
            raise RuntimeError("the branch has no result: it failed, was cancelled, or still runs")
        return cast("T", self._value)

    def finish(self, value: T) -> None:
        """The branch has returned ``value``."""
        self._value = value
        self.done = True


class Branching(Branches):
    """The operation of a group."""

    def __init__(self, run: Run, operation: Operation) -> None:
        super().__init__(run, operation)
        self.spawned: dict[int, Spawned[Any]] = {}
        self._fresh_before = self.line.fresh
        self.tasks: anyio.abc.TaskGroup
        self._ended = run.find(place_of_end(self.place), RecordKind.END) is not None

    async def enter(self) -> None:
        """Begin the block."""
        run = self.run
        if run.value(self.place, RecordKind.GROUP) is None:
            await run.new_ground(self.operation, waits=False)
            run.record(self.place, RecordKind.GROUP, ())
        else:
            await run.found(self.operation, self.place)
        run.replay.take(self.place)
        self.block = Branch(block(self.place), self)
        self.line.enter(self.block)
        self.open()

    def opened(self, tasks: anyio.abc.TaskGroup) -> None:
        """The task group of the branches is there."""
        self.tasks = tasks
        self.scope = tasks.cancel_scope
        self.line.moved()

    def start(self, awaitable: Callable[[], Awaitable[T]]) -> Spawned[T]:
        """Start a branch."""
        spawned: Spawned[T] = Spawned()
        index, line = self.spawn()
        self.spawned[index] = spawned

        async def call() -> None:
            await self.run_branch(index, line, awaitable())

        self.tasks.start_soon(call)
        return spawned

    @property
    def end(self) -> Place | None:
        return place_of_end(self.place) if self._ended and self.cut is None else None

    def keep(self, index: int, value: Any) -> None:
        # On replay a shielded branch can come to its end before the cut that it outlived.
        if not self.cancelled and not self.was_cut(self.branch_name(index)):
            self.spawned[index].finish(value)

    async def ended(self, index: int) -> None:
        if self.cut is not None and index == self.cut.by:
            raise self.run.replay.mismatch(
                self.place, "a group that failed", "one whose branch does not"
            )

    async def failed(self, index: int) -> None:
        await self.decide(index, "a group that fails")

    def is_fresh(self, index: int) -> bool:
        return self.line.fresh if index == _BLOCK else super().is_fresh(index)

    def line_of(self, index: int) -> Line:
        return self.line if index == _BLOCK else super().line_of(index)

    def branch_name(self, index: int) -> str:
        return block(self.place) if index == _BLOCK else super().branch_name(index)

    async def block_failed(self, error: Exception) -> None:
        """The block itself raised an error."""
        self.errors[_BLOCK] = error
        self.block_over(error)
        await self.decide(_BLOCK, "a group that fails")

    def block_over(self, error: Exception | None = None) -> None:
        """The block has ended: what the line does now is to wait for the branches."""
        replay, branch = self.run.replay, self.block
        assert branch is not None
        if not replay.empty and not self.cancelled and replay.stumbled is None:
            now = "the end of the block" if error is None else f"an error ({type(error).__name__})"
            replay.check_complete(branch.name, branch.ordinal, now)
        branch.left = True
        replay.drop(branch.name)
        branch.busy = True
        self.line.moved()

    def decisive(self) -> Exception | None:
        """Return the failure that ends the group."""
        if self.by is not None:
            return self.errors.get(self.by)
        return next(iter(self.errors.values()), None)

    def leave(self, error: BaseException | None) -> None:
        """The group is over."""
        if self.join.asleep:
            self.join.end()
        self.line.leave(self)
        if error is None or isinstance(error, Exception):
            if not self._ended and self.run.may_write:
                self.run.record(place_of_end(self.place), RecordKind.END)
            self.operation.over()
        else:
            self.line.moved()
        self._leave()


class Group:
    """Branches of a handler that end together; see ``TaskContext.group``."""

    def __init__(self, branching: Branching) -> None:
        self._branching = branching

    def start(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Spawned[T]:
        """Run a coroutine function as a branch of its own."""

        async def call() -> T:
            return await function(*args, **kwargs)

        return self._branching.start(call)


@asynccontextmanager
async def group(run: Run) -> AsyncGenerator[Group, None]:
    """``TaskContext.group``."""
    branching = Branching(run, run.begin())
    await branching.enter()
    error: BaseException | None = None
    try:
        try:
            async with anyio.create_task_group() as tasks:
                branching.opened(tasks)
                try:
                    yield Group(branching)
                except Exception as failure:
                    await branching.block_failed(failure)
                    raise Failed(_BLOCK) from failure
                branching.block_over()
                branching.join.begin()
        except BaseExceptionGroup as errors:
            await forget_cancellation()
            raise_first(run.replay, errors, branching.decisive())
        if branching.by is not None:  # who decided was cancelled while it waited for the others
            without_context(branching.errors[branching.by])
    except BaseException as raised:
        error = raised
        raise
    finally:
        branching.leave(error)
