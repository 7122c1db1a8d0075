"""``ctx.timeout``: bounds a block, through restarts, and cancels it on replay where it did at
first."""

from __future__ import annotations

from types import TracebackType

import anyio
import anyio.lowlevel

from ..journal.entries import Timer
from ..journal.places import block, inside
from ..journal.records import Due, RecordKind
from ..settings import bounds
from .block import Cancellable, place_of_end
from .branch import Branch
from .run import Run


class Timeout(Cancellable):
    """A block with a deadline. ``due`` in seconds since the epoch.

    The time is up when the alarm rings, not when some clock is read: alarms ring in the order in
    which they are due. On replay the time is never up while the block has entries to find again.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        operation = run.begin()
        super().__init__(run, operation)
        self._seconds = seconds
        self._timer = f"timeout{inside(self.place)}"
        self.rung = False
        self.ready = True

    async def enter(self) -> None:
        """Begin the block."""
        run, actor = self.run, self.run.actor
        due: Due | None = run.value(self.place, RecordKind.TIMEOUT)
        if due is None:
            await run.new_ground(self.operation, waits=False)
            due = Due(actor.system.now() + self._seconds)
            run.record(self.place, RecordKind.TIMEOUT, due)
            actor.set_timer(Timer(self._timer, due.at))
        else:
            await run.found(self.operation, self.place)
        self.due = due.at
        run.replay.take(self.place)
        self._ended = run.find(place_of_end(self.place), RecordKind.END) is not None
        self.scope = anyio.CancelScope()
        self.scope.__enter__()
        self.block = Branch(block(self.place), self)
        self.line.enter(self.block)
        self.open()
        if not self._ended and not self.pending:
            if not run.replay.empty and self.due > actor.system.now():
                actor.set_timer(Timer(self._timer, self.due))  # if the clock went back it is gone
            run.activity.set_alarm(self._timer, self)
        self.line.moved()

    def ring(self) -> None:
        """The time is up (see ``activity.Alarm``)."""
        self.rung = True
        self.look_at_the_clock()
        if not self.cancelled:
            self.run.activity.watch()

    def look_at_the_clock(self) -> None:
        """Cancel the block if the time is up, once its entries are found again."""
        if self.rung and not (self.cancelled or self.pending or self._outer() or self.remains()):
            self.run.activity.drop_alarm(self._timer)
            self.run.withdraw(self._timer)
            self.cut_off(None)

    def _outer(self) -> bool:
        """Whether a recorded cut around the block comes first."""
        return bool(self.run.replay.pending) and any(
            item.pending for item in self.line.around() if item is not self
        )

    async def exit(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the block. Raises ``TimeoutError`` if it was cancelled because its time was up."""
        run = self.run
        noticed = error
        if error is None and (self.pending or self.cancelled):
            # The time is up, and the line has not noticed: it had no reason to wait since.
            try:
                while self.pending:
                    await run.activity.replay_moved()
                await anyio.lowlevel.checkpoint_if_cancelled()
            except anyio.get_cancelled_exc_class() as late:
                kind, error, traceback = type(late), late, late.__traceback__
        passes = True
        try:
            passes = not self.scope.__exit__(kind, error, traceback)
        finally:
            run.activity.drop_alarm(self._timer)
            self.line.leave(self)
            if passes and isinstance(error, anyio.get_cancelled_exc_class()):
                # Something around the block was cancelled, and the record of that cut is enough.
                run.withdraw(self._timer)
                self.line.moved()
            else:
                self._record_end()
            self._leave()
        if error is None:
            return
        if not passes:
            out_of_time = TimeoutError(f"{self._seconds:g} seconds are over")
            try:
                raise out_of_time from None
            finally:
                out_of_time.__context__ = None  # what handles it is no clean-up
        if noticed is None:
            raise error

    def _record_end(self) -> None:
        run = self.run
        if not self._ended and run.may_write:
            if not self.cancelled:
                run.actor.clear_timer(self._timer)
            run.record(place_of_end(self.place), RecordKind.END)
        self.operation.over()


class TimeoutScope:
    """``TaskContext.timeout``: raises ``TimeoutError`` where it is left after its time was up."""

    def __init__(self, run: Run, seconds: float) -> None:
        self._run = run
        self._seconds = bounds.seconds(seconds, "ctx.timeout", "leave it out")

    async def __aenter__(self) -> TimeoutScope:
        self._block = Timeout(self._run, self._seconds)
        await self._block.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        await self._block.exit(kind, error, traceback)
        return False
