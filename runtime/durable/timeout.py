"""Time-outs of a handler that strike on replay where they struck at first."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import msgspec

from ..actor.actor import Op
from ..journal.entries import Timer
from ..settings import bounds
from .block import Cut
from .branch import cancelling
from .replay import below, record

if TYPE_CHECKING:
    from ..handler.context import TaskContext


class TimeoutScope(Cut):
    """``TaskContext.timeout``: raises ``TimeoutError`` where it is left after it struck.

    On replay the clock does not run while the branch is on ground that it has covered before; and
    where the time-out struck then, it strikes again.
    """

    def __init__(self, context: TaskContext, seconds: float) -> None:
        super().__init__(context)
        self._seconds = bounds.seconds(seconds, "ctx.timeout", "leave it out")
        self.due = 0.0
        self._armed = False
        """The clock runs."""
        self._rung = False
        """Its durable timer was due, and is no more."""
        self._passes_on = False
        """What was around it was cut off before its clean-up was over."""
        self._held = False
        """It counts as at work until it has struck."""

    async def __aenter__(self) -> TimeoutScope:
        context = self._context
        actor, ledger = context._actor, context._ledger
        branch = context._branch()
        op = await context._begin(waits=False)
        found = ledger.record(op, "timeout")
        self._timer = f"timeout{below(op)}"
        if found is None:
            self.due = actor.system.now() + self._seconds
            actor.record(op, record("timeout", value=msgspec.json.encode(self.due)))
            actor.set_timer(Timer(self._timer, self.due))
        else:
            self.due = msgspec.json.decode(found.value)
        self._replayed = found is not None
        self._covered = ledger.position(branch.name)
        self._passes_on = ledger.record(Op(below(op), 2), "passed on") is not None
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        self._enter(branch, op, 1)
        context._execution.alarms[self._timer] = self
        self.look(parked=False)
        return self

    @property
    def struck(self) -> bool:
        return self._scope.cancel_called

    @property
    def strikes_at(self) -> float:
        return self._scope.deadline

    def _strike(self) -> None:
        self._scope.cancel()
        self._context._execution.cuts.notify()

    def ring(self) -> None:
        """The durable timer is due (see ``execution.Alarm``), whatever the loop's clock says."""
        self._rung = True
        if self._armed and not self._scope.cancel_called:
            self._held = True
            self._context._execution.go()
            self._strike()

    def look(self, *, parked: bool) -> None:
        """The branch has come further."""
        branch = self._branch
        if self._position is not None:
            if self._position.reached(branch, parked=parked):
                self._strike()
        elif not self._armed and branch.new_ground and branch.beyond(self._covered):
            self._armed = True
            actor = self._context._actor
            left = self.due - actor.system.now()
            if self._replayed and left > 0:
                actor.set_timer(Timer(self._timer, self.due))  # if the clock went back it is gone
            self._scope.deadline = anyio.current_time() + max(0.0, left)
            self._context._execution.cuts.notify()  # who waits for it knows until when

    def _pass_on(self) -> None:
        """What is around it was cut off, too, before its clean-up was over: no TimeoutError here,
        and none on replay."""
        if self._context._may_write and not self._passes_on:
            place = Op(below(self._op), 2)
            self._context._actor.record(place, record("passed on"))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope = self._scope
        struck = scope.cancel_called
        try:
            scope.__exit__(kind, error, traceback)
        finally:
            context = self._context
            context._execution.alarms.pop(self._timer, None)
            if not self._rung:
                context._withdraw(self._timer)
            # Cut off is also what raised an error while it cleaned up, and what began to clean up.
            through = isinstance(error, anyio.get_cancelled_exc_class())
            own = not through and cancelling(error)
            cut = scope.cancelled_caught or (struck and (own or self._position is not None))
            if cut and through and not scope.cancelled_caught:
                self._pass_on()
            self._leave(cut=cut)
            if self._held:
                context._execution.pause()
        if scope.cancelled_caught and self._passes_on:
            await self._branch.wait_for_the_cut()
        if scope.cancelled_caught:
            late = TimeoutError(f"{self._seconds:g} seconds are over")
            try:
                raise late from None
            finally:
                late.__context__ = None  # or what handles it would seem to be a clean-up
        return False
