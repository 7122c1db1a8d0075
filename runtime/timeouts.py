"""Time-outs of a handler that strike on replay where they struck at first."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import msgspec

from .actor import Op
from .branch import Position
from .ledger import below, record
from .ports import Timer

if TYPE_CHECKING:
    from .context import TaskContext


class TimeoutScope:
    """``TaskContext.timeout``: raises ``TimeoutError`` where it is left after it struck.

    On replay the clock does not run while the branch is on ground that it has covered before; and
    where the time-out struck then, it strikes again.
    """

    def __init__(self, context: TaskContext, seconds: float) -> None:
        self._context = context
        self._seconds = seconds
        self.due = 0.0
        self._rung = False
        """Its durable timer was due, and is no more."""
        self._held = False
        """It counts as at work until it has struck."""

    async def __aenter__(self) -> TimeoutScope:
        context = self._context
        actor, ledger = context._actor, context._ledger
        self._branch = branch = context._branch()
        self._op = op = await context._begin()
        branch.ended = op.ordinal
        found = ledger.record(op, "timeout")
        if found is None:
            self.due = actor.system.now() + self._seconds
            actor.record(op, record("timeout", value=msgspec.json.encode(self.due)))
            actor.set_timer(Timer(f"timeout{below(op)}", self.due))
        else:
            self.due = msgspec.json.decode(found.value)
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
        context._execution.alarms[f"timeout{below(op)}"] = self
        self.look(parked=False)
        return self

    def ring(self) -> None:
        """The durable timer is due (see ``execution.Alarm``), whatever the loop's clock says."""
        self._rung = True
        if self not in self._branch.watchers and not self._scope.cancel_called:
            self._held = True
            self._context._execution.go()
            self._scope.cancel()

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
            left = self.due - self._context._actor.system.now()
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
        if not self._rung:
            context._withdraw(timer)
        if scope.cancelled_caught or (scope.cancel_called and _of_cancellation(error)):
            if self._struck is None:
                told = msgspec.json.encode(branch.position)
                context._actor.record(Op(below(self._op), 1), record("struck", value=told))
            else:
                branch.go_on_from(self._struck)
        if self._held:
            context._execution.pause()
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
