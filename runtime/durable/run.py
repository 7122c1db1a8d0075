"""What every operation of a handler has: a place, the record of its last run, and a branch.

Each call that can matter on replay is an *operation* with a place: (branch, ordinal). ``_place``
gives the next place of the branch that the calling coroutine runs in.
"""

from __future__ import annotations

import re
from threading import get_ident
from typing import TYPE_CHECKING

from ..actor.actor import Op
from ..actor.cancellation import TaskCancelled
from ..journal.entries import Kind
from .branch import Branch, current_branch
from .replay import record, refusal

if TYPE_CHECKING:
    from ..handler.execution import Execution

_NUMBER = re.compile("[0-9]+")


class Operations:
    """The foundation of ``TaskContext``: knows where the handler is."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._actor = execution.actor
        self._ledger = execution.ledger
        self._root = Branch(self, "")
        self._left = False
        self._thread = get_ident()

    def _branch(self) -> Branch:
        """Where the next operation is numbered."""
        branch = current_branch.get()
        return (branch if branch is not None and branch.context is self else self._root).line()

    def _place(self) -> Op:
        """The place of an operation that does not wait."""
        branch = self._enter_anew()
        # Where the branch was cut off it may come here: it is not stopped before it waits.
        return Op(branch.name, branch.begin(waits=False))

    async def _begin(self, *, waits: bool = True) -> Op:
        """The place of the operation that begins now, unless the run was cut off before it.

        One that ``waits`` is over when its ``Busy`` is left.
        """
        branch = self._enter_anew()
        if branch.cut:
            await branch.wait_for_the_cut()
        return Op(branch.name, branch.begin(waits=waits))

    def _cleans_up(self, branch: str) -> None:
        """A branch begins to clean up: record where it was cut off, which is in the name."""
        place = Op(branch, 1)
        if self._ledger.record(place, "cut") is None and self._may_write:
            self._actor.record(place, record("cut"))

    def _enter(self) -> Branch:
        self._check()
        branch = self._branch()
        if branch.busy:
            raise RuntimeError(
                "two coroutines use one branch of the task's context at once; "
                "start them with ctx.gather, ctx.group or ctx.race"
            )
        return branch

    def _enter_anew(self) -> Branch:
        branch = self._enter()
        if self._ledger.last(branch.name) <= branch.ordinal:
            self._check_length()
        return branch

    def _check_length(self) -> None:
        """Raise if this run may write no more. Not while it is replayed, which writes nothing."""
        actor = self._actor
        if actor.sequence - actor.run_start >= actor.system.settings.run_records:
            raise RuntimeError(
                f"this run of the handler has written {actor.sequence - actor.run_start} entries, "
                f"more than a run may have (run_records): call `await ctx.restart(state)` now and "
                f"then, which begins a new run with that state"
            )

    def _replays(self, op: Op, what: str) -> bool:
        """Whether the emission at ``op`` happened before. Raises what it raised then."""
        entry = self._ledger.event(op, what)
        if entry is not None and entry.kind is Kind.RECORD:
            raise refusal(entry)
        return entry is not None

    def _check(self) -> None:
        """Raise if this handler may not go on, or not here."""
        if get_ident() != self._thread:
            raise RuntimeError(
                "this context belongs to the thread of its runtime: call it from the handler, or "
                "from another thread with anyio.from_thread.run; a plain `def` handler has a "
                "context that does so by itself"
            )
        execution = self._execution
        if self._left or execution.detached:
            raise RuntimeError("the handler of this context is over")
        if execution.reason is not None and not execution.reason.ends:
            # The run goes on elsewhere, where this clean-up never was.
            raise TaskCancelled(execution.reason)
        if self._ledger.stumbled is not None:
            raise self._ledger.stumbled.again()

    @property
    def _may_write(self) -> bool:
        """Whether what ends now ends for good, and not only in this process or this version."""
        execution = self._execution
        return (
            (execution.reason is None or execution.reason.ends)
            and not execution.detached
            and self._ledger.stumbled is None
        )

    async def _room(self) -> None:
        """Let the commit keep up."""
        actor = self._actor
        if actor.backlog >= actor.system.settings.window:
            await actor.window()

    def _withdraw(self, timer: str) -> None:
        """A timer is needed no more, unless the handler stops only to go on later."""
        if self._may_write:
            self._actor.clear_timer(timer)

    def _closes_question(self, branch: Branch, first: int, last: int) -> None:
        """On replay: what was cut off in these operations of a branch is not done again. If a
        question was open there, nobody waits for its answer."""
        actor = self._actor
        if actor.open_ask is None or not self._ledger:
            return
        place = actor.open_ask.branch
        if place.startswith(f"{branch.name}/"):
            found = _NUMBER.match(place, len(branch.name) + 1)
            if found is not None and first <= int(found[0]) <= last:
                actor.open_ask = None
                if self._may_write:
                    actor.withdraw()

    def leave(self) -> None:
        """The handler ended: whoever still holds the context may not use it. Not for handlers."""
        self._left = True
        # Or the two would hold each other, and the garbage collector would have to find them.
        self._root.context = None
