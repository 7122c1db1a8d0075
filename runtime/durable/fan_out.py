"""``ctx.gather`` and ``ctx.race``: concurrency inside a handler that replays the same whatever its
timing. A branch is numbered when it is spawned. Which of several failed first, or won, is a record,
written before anybody is cancelled for it; on replay the record decides, not the clock."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Iterable
from math import inf
from typing import Any, NoReturn, TypeVar

import anyio
import anyio.lowlevel

from ..exceptions import class_name, has_repr
from ..journal.places import Place, child
from ..journal.records import RecordKind
from .block import Cancellable
from .branch import Asleep, Line, Operation, current_line
from .replay import Replay
from .run import Run

T = TypeVar("T")


class Failed(Exception):
    """Ends the task group of an operation that a branch has decided by failing."""


class Branches(Cancellable):
    """An operation that runs branches, of which one may decide it."""

    def __init__(self, run: Run, operation: Operation) -> None:
        super().__init__(run, operation)
        self.above = (*self.line.around(),)
        """What may cancel the branches beside the operation itself."""
        self.join = Asleep(run.activity)
        self.errors: dict[int, Exception] = {}
        """What the branches raised, by index."""
        self._candidates: dict[int, float] = {}
        """Branches that would decide, and how old their newest recorded entry is."""

    def spawn(self) -> tuple[int, Line]:
        """Number a branch. It counts as at work, so that nobody takes the handler to sleep."""
        index = len(self.branches)
        line = Line(self.run, child(self.place, index), (*self.above, self), self.line)
        self.branches.append(line)
        self.join.children += 1
        self.run.activity.go()
        return index, line

    async def run_branch(self, index: int, line: Line, awaitable: Awaitable[T]) -> T:
        """Run a branch that was spawned. Raises ``Failed`` if it decides by failing."""
        token = current_line.set(line)
        error: BaseException | None = None
        try:
            try:
                line.begin()
                try:
                    value = await awaitable
                except (KeyboardInterrupt, SystemExit) as exit:
                    # asyncio stops its loop, and everybody on it, for either of them in a task.
                    raise RuntimeError(f"a branch raised {type(exit).__name__}") from exit
                except BaseException as raised:
                    if has_repr(raised):
                        raise
                    # trio ends its whole run when a child raises what has no repr.
                    raise RuntimeError(f"a branch raised {class_name(raised)}") from raised
                self._check_over(line, None)
                self.keep(index, value)
            except Exception as failure:
                self._check_over(line, failure)
                raise
            finally:
                line.end()
            await self.ended(index)
        except Exception as failure:
            error = failure
            self.errors[index] = failure
            await self.failed(index)
            raise Failed(index) from failure
        except BaseException as cancelled:
            error = cancelled
            raise
        finally:
            # First whoever waits for the branch goes on, or the handler would seem to be asleep.
            self.join.child_ended(error)
            self.run.activity.pause()
            current_line.reset(token)
        return value

    def keep(self, index: int, value: Any) -> None:
        """A branch has returned ``value``."""
        raise NotImplementedError

    async def ended(self, index: int) -> None:
        """A branch has ended well."""
        raise NotImplementedError

    async def failed(self, index: int) -> None:
        """A branch has failed."""
        raise NotImplementedError

    def _check_over(self, line: Line, error: Exception | None) -> None:
        """Raise ``ReplayMismatch`` if a branch ends before all that it did earlier."""
        replay = self.run.replay
        if (
            not replay.empty
            and replay.stumbled is None
            and not any(item.cancelled for item in line.above)
        ):
            branch = line.stack[0]
            now = "the end of the branch" if error is None else f"an error ({type(error).__name__})"
            replay.check_complete(branch.name, branch.ordinal, now)

    # --- who decides ------------------------------------------------------------------------------

    @property
    def end(self) -> Place | None:
        """Where the end of the operation is recorded, if it is."""
        raise NotImplementedError

    async def decide(self, index: int, now: str) -> None:
        """The branch ``index`` would decide the operation: record that, and cancel the others,
        unless another branch was first. ``now`` says what it does, if it should not."""
        if self.cancelled:
            return
        activity, replay = self.run.activity, self.run.replay
        if self.cut is not None:
            if index != self.cut.by:
                await self._wait_for_the_cut()
            self.ready = True
            while not self.look():
                await activity.replay_moved()
            return
        if (end := self.end) is not None:
            # It ended without a cut of its own if something around it was cancelled before.
            await self.run.wait_for_cuts(self.line_of(index), replay.sequence(end))
            if anyio.current_effective_deadline() == -inf:
                return
            raise replay.mismatch(self.place, "over without that", now)
        if replay:
            fresh = self.is_fresh(index)
            self._candidates[index] = inf if fresh else replay.newest(self.branch_name(index))
            while self._comes_later():
                await activity.replay_moved()
            if not fresh:
                await activity.deciding()
            if self.cancelled:
                return
            index = min(self._candidates, key=self._candidates.__getitem__)
        if anyio.current_effective_deadline() == -inf:
            return  # it only ended so because something around it was cancelled
        self.cut_off(index)

    def is_fresh(self, index: int) -> bool:
        """Whether a branch has come to new ground."""
        return self.branches[index].fresh

    def line_of(self, index: int) -> Line:
        """Return the line of a branch."""
        return self.branches[index]

    def branch_name(self, index: int) -> str:
        """Name a branch."""
        return child(self.place, index)

    def _comes_later(self) -> bool:
        """Whether something that is recorded comes before a new decision here."""
        if self.cancelled:
            return False
        outer = self.run.replay.pending and any(item.pending for item in self.above)
        return bool(outer) or self.remains()

    async def _wait_for_the_cut(self) -> NoReturn:
        """Another branch decided then, so it does now."""
        while self.pending:
            await self.run.activity.replay_moved()
        await anyio.sleep_forever()
        raise AssertionError


class FanOut(Branches):
    """Several awaitables that run as branches of one operation that waits."""

    def __init__(
        self, run: Run, operation: Operation, kind: RecordKind, awaitables: tuple[Any, ...]
    ) -> None:
        super().__init__(run, operation)
        self.kind = kind
        self.awaitables = awaitables
        self.known = run.find(self.place, kind) is not None
        self.values: dict[int, Any] = {}

    @classmethod
    async def begin(cls, run: Run, awaitables: tuple[Any, ...], kind: RecordKind) -> FanOut:
        """Begin; if it may not begin, close what nobody will await."""
        try:
            return cls(run, run.begin(), kind, awaitables)
        except BaseException:
            close(awaitables)
            raise

    @property
    def end(self) -> Place | None:
        return self.place if self.known else None

    def keep(self, index: int, value: Any) -> None:
        self.values[index] = value

    async def ended(self, index: int) -> None:
        if self.kind is RecordKind.RACE:
            await self.decide(index, "a branch that ends")
        elif self.cut is not None and index == self.cut.by:
            raise self.run.replay.mismatch(self.place, "a gather that failed", "one that does not")

    async def failed(self, index: int) -> None:
        await self.decide(index, "a branch that fails")

    async def join_all(self) -> None:
        """Run all of them to their ends, or to the cut."""
        self.open()
        try:
            spawned = [self.spawn() for _ in self.awaitables]
            if self.kind is RecordKind.RACE:
                self.join.children = 1
            with self._asleep():
                async with anyio.create_task_group() as group:
                    self.scope = group.cancel_scope
                    for (index, line), awaitable in zip(spawned, self.awaitables, strict=True):
                        group.start_soon(self._run, index, line, awaitable)
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseExceptionGroup as errors:
            await forget_cancellation()
            raise_first(self.run.replay, errors, self._decisive())
        finally:
            error = sys.exc_info()[1]
            if error is None or isinstance(error, Exception):
                self._record_end()
            self._leave()
        if self.by is not None and self.by in self.errors:
            without_context(self.errors[self.by])

    async def _run(self, index: int, line: Line, awaitable: Awaitable[Any]) -> None:
        try:
            await self.run_branch(index, line, awaitable)
        except Failed:
            if self.cancelled and self.by != index:
                return  # it had lost
            raise

    def _asleep(self) -> Asleep:
        if not self.awaitables:
            return Asleep(self.run.activity)
        return self.join

    def _decisive(self) -> Exception | None:
        if self.by is not None:
            return self.errors.get(self.by)
        return next(iter(self.errors.values()), None)

    def _record_end(self) -> None:
        if not self.known and self.run.may_write:
            self.run.record(self.place, self.kind)


async def gather(run: Run, awaitables: tuple[Awaitable[Any], ...]) -> list[Any]:
    """``TaskContext.gather``."""
    fan = await FanOut.begin(run, awaitables, RecordKind.GATHER)
    with fan.operation:
        await fan.join_all()
        return [fan.values[index] for index in range(len(awaitables))]


async def race(run: Run, awaitables: tuple[Awaitable[Any], ...]) -> Any:
    """``TaskContext.race``."""
    if not awaitables:
        raise ValueError("a race needs somebody to run it")
    fan = await FanOut.begin(run, awaitables, RecordKind.RACE)
    with fan.operation:
        await fan.join_all()
        if fan.by is None:
            # All ended as something around them was cancelled.
            await anyio.lowlevel.checkpoint_if_cancelled()
            fan.by = next(iter(fan.values))
        return fan.values[fan.by]


def close(awaitables: Iterable[Any]) -> None:
    """Close what nobody will await."""
    for awaitable in awaitables:
        closing = getattr(awaitable, "close", None)  # coroutines have one, and artifact writers
        if closing is not None:
            closing()


def raise_first(
    replay: Replay, errors: BaseExceptionGroup[BaseException], decisive: BaseException | None
) -> NoReturn:
    """Raise the failure that decided; before it what is a way out of the handler."""
    if replay.stumbled is not None:
        without_context(replay.stumbled)
    failed = False
    others: list[BaseException] = []
    pending: list[BaseException] = [errors]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending[:0] = error.exceptions
        elif isinstance(error, Failed):
            failed = True
        else:
            others.append(error)
    cancelled = anyio.get_cancelled_exc_class()
    for error in others:
        if not (failed and isinstance(error, cancelled)):
            without_context(error)
    assert decisive is not None
    without_context(decisive)


async def forget_cancellation() -> None:
    """Take a turn of the event loop before an error is raised. On asyncio a cancellation is thrown
    into the coroutine, and Python chains what the coroutine raises in the same turn to whatever its
    callers handle. A handler that handles the error would seem to clean up after that."""
    await anyio.lowlevel.cancel_shielded_checkpoint()


def without_context(error: BaseException) -> NoReturn:
    """Raise an error. What handles it must not seem to clean up after its task group's cancel."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
