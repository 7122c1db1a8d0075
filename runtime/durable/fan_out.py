"""Concurrency inside a handler that replays the same whatever its timing.

A branch is numbered when it is spawned. What depends on timing is a record, written before anybody
is cut off for it: which of several failed, who won a race. On replay the record decides, not the
clock.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import anyio
import msgspec

from ..actor.actor import Op
from ..exceptions import class_name, has_repr
from .branch import Asleep, Branch, Busy, cancelling, current_branch
from .replay import below, record

if TYPE_CHECKING:
    from ..handler.context import TaskContext
    from .replay import Ledger

T = TypeVar("T")


class Failed(Exception):
    """Carries the first failure of a gather out of its task group."""

    def __init__(self, index: int, error: BaseException) -> None:
        super().__init__(index)
        self.index = index
        self.error = error


async def in_branch(branch: Branch, awaitable: Awaitable[T], join: Asleep) -> T:
    """Run what was counted as at work when it was spawned."""
    token = current_branch.set(branch)
    try:
        return await awaitable
    except (KeyboardInterrupt, SystemExit) as error:
        # asyncio stops its loop, and everybody on it, for either of them in a task.
        raise RuntimeError(f"a branch raised {type(error).__name__}") from error
    except BaseException as error:
        if has_repr(error):
            raise
        # trio ends its whole run when a child raises an exception whose repr raises.
        raise RuntimeError(f"a branch raised {class_name(error)}") from error
    finally:
        # First the one who waited for this goes on, or the handler would seem to be asleep.
        join.child_ended(sys.exc_info()[1])
        branch.leave()
        assert branch.context is not None, "a handler does not end before its branches"
        branch.context._execution.pause()
        current_branch.reset(token)


def _close(awaitables: Iterable[Awaitable[Any]]) -> None:
    for awaitable in awaitables:
        close = getattr(awaitable, "close", None)  # coroutines have one, and artifact writers
        if close is not None:
            close()


class _Fan:
    """Several awaitables that run as branches of one operation, of which one may decide it."""

    def __init__(self, context: TaskContext, parent: Branch, op: Op, kind: str) -> None:
        self._context = context
        self._kind = kind
        self.parent = parent
        self.op = op
        found = context._ledger.record(op, kind)
        self.replayed = found is not None
        self.decided: int | None = None if found is None else msgspec.json.decode(found.value)
        """Who failed first, or won."""
        self.struck = False
        self.strikes_at = inf

    @classmethod
    async def begin(
        cls, context: TaskContext, awaitables: tuple[Awaitable[Any], ...], kind: str
    ) -> _Fan:
        """Begin; if it may not begin, close what nobody will await."""
        try:
            parent = context._branch()
            return cls(context, parent, await context._begin(), kind)
        except BaseException:
            _close(awaitables)
            raise

    def decide(
        self, index: int, scope: anyio.CancelScope, error: BaseException | None = None
    ) -> None:
        """Keep who failed first, or won, unless it only failed as all were being stopped; cut the
        others off."""
        if self.struck:
            return
        if error is not None and self.parent.stopped() and cancelling(error):
            self.parent.cut_off()
            return
        self.struck = True
        self.decided = index
        scope.cancel()
        self._context._execution.cuts.notify()
        if self._context._may_write:
            self._context._actor.record(self.op, record(self._kind, value=b"%d" % index))

    def children(self, count: int) -> list[Branch]:
        """Branches that count as at work from now on, so that nobody takes the handler to sleep."""
        above = (*self.parent.above, *self.parent.blocks, self)
        found = [
            child_of(
                self._context, self.op, index, above,
                covered=self.replayed or self.parent.covered,
            )
            for index in range(count)
        ]  # fmt: skip
        for _ in found:
            self._context._execution.go()
        return found

    async def again(self, awaitables: tuple[Awaitable[Any], ...]) -> Any:
        """Replay: only the one that decided is run again."""
        assert self.decided is not None
        index = self.decided
        self._context._closes_question(self.parent, self.op.ordinal, self.op.ordinal)
        _close(awaitables[:index] + awaitables[index + 1 :])
        if index >= len(awaitables):
            raise self._context._ledger.mismatch(
                self.op, f"a {self._kind} of at least {index + 1}", f"one of {len(awaitables)}"
            )
        above = (*self.parent.above, *self.parent.blocks)
        branch = child_of(self._context, self.op, index, above, covered=True)
        self._context._execution.go()
        with Asleep(self._context._execution, 1) as join:
            return await in_branch(branch, awaitables[index], join)


def child_of(
    context: TaskContext, op: Op, index: int, above: tuple[Any, ...], *, covered: bool
) -> Branch:
    branch = Branch(context, f"{below(op)}.{index}", above, covered=covered)
    known = context._ledger.cut(branch.name)
    if known is not None:
        branch.goes_no_further(known)
    return branch


async def gather(context: TaskContext, awaitables: tuple[Awaitable[Any], ...]) -> list[Any]:
    """``TaskContext.gather``."""
    fan = await _Fan.begin(context, awaitables, "gather")
    with Busy(fan.parent):
        if fan.decided is not None:  # this one failed first, and the others were cut off
            await fan.again(awaitables)
            raise context._ledger.mismatch(fan.op, "a gather that failed", "one that does not")
        results: list[Any] = [None] * len(awaitables)
        children = fan.children(len(awaitables))

        async def run(index: int, scope: anyio.CancelScope) -> None:
            try:
                results[index] = await in_branch(children[index], awaitables[index], join)
            except Exception as error:
                if fan.replayed:
                    raise context._ledger.mismatch(
                        fan.op, "a gather that did not fail", "one that does"
                    ) from error
                fan.decide(index, scope, error)
                raise Failed(index, error) from error

        try:
            with Asleep(context._execution, len(awaitables)) as join:
                async with anyio.create_task_group() as group:
                    for index in range(len(awaitables)):
                        group.start_soon(run, index, group.cancel_scope)
        except BaseExceptionGroup as errors:
            raise_first(context._ledger, errors, fan.decided)
        if not fan.replayed:
            context._actor.record(fan.op, record("gather"))
    return results


def raise_first(
    ledger: Ledger, errors: BaseExceptionGroup[BaseException], decided: int | None
) -> NoReturn:
    """Raise the failure that decided; before it what is a way out of the handler."""
    if ledger.stumbled is not None:
        _without_context(ledger.stumbled)
    failures: list[Failed] = []
    others: list[BaseException] = []
    pending: list[BaseException] = [errors]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending[:0] = error.exceptions
        elif isinstance(error, Failed):
            failures.append(error)
        else:
            others.append(error)
    cancelled = anyio.get_cancelled_exc_class()
    for error in others:
        if not (failures and isinstance(error, cancelled)):
            _without_context(error)
    first = next((failure for failure in failures if failure.index == decided), failures[0])
    _without_context(first.error)


def _without_context(error: BaseException) -> NoReturn:
    """Raise an error. What handles it must not seem to clean up after its task group's cancel."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context


async def race(context: TaskContext, awaitables: tuple[Awaitable[Any], ...]) -> Any:
    """``TaskContext.race``."""
    if not awaitables:
        raise ValueError("a race needs somebody to run it")
    fan = await _Fan.begin(context, awaitables, "race")
    with Busy(fan.parent):
        if fan.decided is not None:
            return await fan.again(awaitables)
        values: dict[int, Any] = {}
        children = fan.children(len(awaitables))

        async def run(index: int, scope: anyio.CancelScope) -> None:
            try:
                values[index] = await in_branch(children[index], awaitables[index], join)
            except Exception as error:
                fan.decide(index, scope, error)
                if fan.decided in (None, index):
                    raise Failed(index, error) from error
                return  # it had lost
            fan.decide(index, scope)

        try:
            with Asleep(context._execution, 1) as join:
                async with anyio.create_task_group() as group:
                    for index in range(len(awaitables)):
                        group.start_soon(run, index, group.cancel_scope)
        except BaseExceptionGroup as errors:
            raise_first(context._ledger, errors, fan.decided)
        assert fan.decided is not None
        return values[fan.decided]
