"""``Run``: what every helper of a handler needs. A place, the record of the last run, a line.

Each call of a handler that can matter on replay is an *operation* with a place: (branch, ordinal).
``begin`` gives the next place of the line that the calling coroutine is. ``new_ground`` is where an
operation that is not recorded waits until it may be done for the first time.
"""

from __future__ import annotations

from math import inf
from threading import get_ident
from typing import Any

import anyio
import anyio.lowlevel

from ...protocol.types import Message
from ..actor.actor import Actor
from ..actor.cancellation import TaskCancelled
from ..agent import Handler
from ..call import Sender
from ..journal.entries import Kind
from ..journal.places import Place
from ..journal.records import DURABLE, Record, RecordKind, record, record_of
from .activity import Activity
from .branch import Branch, Line, Operation, current_line
from .replay import Replay, refusal


class Run:
    """One start of a handler for one run of one task."""

    __slots__ = (
        "_durable", "_root", "_thread", "activity", "actor", "handler", "left", "message",
        "replay", "sender", "state",
    )  # fmt: skip

    def __init__(
        self, actor: Actor, replay: Replay, activity: Activity, handler: Handler, *,
        message: Message, sender: Sender | None = None, state: Any = None, durable: bool = False,
    ) -> None:  # fmt: skip
        self.actor = actor
        self.replay = replay
        self.activity = activity
        self.handler = handler
        self.message = message
        """The message that the run answers."""
        self.sender = sender
        """What came with the message that the run answers."""
        self.state = state
        """What ``ctx.restart`` handed over."""
        self._root: Line | None = None
        """The line of the handler itself. One that uses no operation needs none."""
        self.left = False
        """The handler is over: nobody may use its context any more."""
        self._durable = durable
        self._thread = get_ident()
        if not replay.empty:  # a recorded cut must find the line
            self._root = Line(self, "")
            self._root.begin()

    # --- places -----------------------------------------------------------------------------------

    def line(self) -> Line:
        """Return the line that the calling coroutine is."""
        line = current_line.get()
        if line is not None and line.run is self:
            return line
        root = self._root
        if root is None:
            assert not self.left, "the handler is over"
            root = self._root = Line(self, "")
        return root

    def begin(self) -> Operation:
        """Begin an operation: enter it for as long as it waits. Raises if the handler may not go
        on, or not here."""
        line, branch = self.check_alone()
        if self.replay.last(branch.name) <= branch.ordinal:
            self.check_length()
        operation = Operation(line, branch)
        line.moved()
        return operation

    def at_new_ground(self, operation: Operation) -> bool:
        """Whether nothing recorded is left that ``new_ground`` would wait for: so it is in all that
        was never interrupted, and there a chunk costs no coroutine to learn it."""
        replay = self.replay
        if not replay.empty and (replay.unread or replay.pending):
            return False
        if not operation.line.fresh:
            operation.line.is_new()
        return True

    async def new_ground(self, operation: Operation, *, waits: bool = True) -> None:
        """Wait until ``operation``, which is not recorded, may be done for the first time: not
        before every recorded cut around it is carried out. One that ``waits`` is cancelled here if
        its line was; another may be part of a clean-up."""
        parked = self.replay.pending and await self.until_cut(operation.line)
        if waits and not parked:
            await anyio.lowlevel.checkpoint_if_cancelled()
        self.check()
        operation.line.is_new()
        if self.replay.unread:
            self.replay.over(operation.place)  # what there is of it was found
            operation.line.moved()

    async def until_cut(self, line: Line | None = None) -> bool:
        """Wait until every recorded cut around a line is carried out; whether there was one. The
        line is cancelled here, unless it is shielded."""
        waited = await self.wait_for_cuts(line or self.line())
        if waited:
            await anyio.lowlevel.checkpoint_if_cancelled()
        return waited

    async def found(self, operation: Operation, place: Place) -> None:
        """What is recorded at ``place`` is found again. If a cut around the line came before that
        record, wait until the cut is carried out: a shielded line went on behind it."""
        if self.replay.pending:
            await self.wait_for_cuts(operation.line, self.replay.sequence(place))

    async def wait_for_cuts(self, line: Line, before: float = inf) -> bool:
        """Wait until the recorded cuts around a line that came ``before`` an entry are carried out;
        whether there was one."""
        if not (self.replay.pending and line.is_held(before)):
            return False
        while line.is_held(before):
            await self.activity.replay_moved()
        return True

    # --- records ----------------------------------------------------------------------------------

    def find(self, place: Place, kind: RecordKind, name: str = "") -> Record | None:
        """Return the record at ``place``; raises ``ReplayMismatch`` if it is of something else."""
        return self.replay.record(place, kind, name)

    def value(self, place: Place, kind: RecordKind) -> Any:
        """Return the value of the record at ``place``; ``None`` if there is no record."""
        record = self.replay.record(place, kind)
        return None if record is None else self.replay.value(place, record)

    def record(self, place: Place, kind: RecordKind, value: Any = None, name: str = "") -> None:
        """Write a record."""
        if value is None:
            self.actor.record(place, record(kind, name))
        else:
            self.actor.record(place, record_of(kind, value, name))

    def replays(self, place: Place, what: str) -> bool:
        """Whether the emission at ``place`` happened before. Raises what it raised then."""
        entry = self.replay.event(place, what)
        if entry is not None and entry.kind is Kind.RECORD:
            raise refusal(entry)
        return entry is not None

    def begins_durable(self) -> None:
        """A step or a stream begins: from now on the run is worth resuming, recorded or not."""
        if not self._durable:
            self._durable = True
            self.actor.record(Place("", 0), DURABLE)

    # --- whether it may go on ---------------------------------------------------------------------

    def check(self) -> None:
        """Raise if this handler may not go on, or not here."""
        if get_ident() != self._thread:
            raise RuntimeError(
                "this context belongs to the thread of its runtime: call it from the handler, or "
                "from another thread with anyio.from_thread.run; a plain `def` handler has a "
                "context that does so by itself"
            )
        activity = self.activity
        if self.left or activity.detached:
            raise RuntimeError("the handler of this context is over")
        if activity.reason is not None and not activity.reason.ends:
            # The run goes on elsewhere, where this clean-up never was.
            raise TaskCancelled(activity.reason)
        if self.replay.stumbled is not None:
            raise self.replay.stumbled.again()

    def check_alone(self) -> tuple[Line, Branch]:
        """Return the line that the calling coroutine is, and the branch of its next operation.
        Raises if the handler may not go on, or another coroutine uses that branch."""
        self.check()
        line = self.line()
        branch = line.numbering()
        if branch.busy:
            raise RuntimeError(
                "two coroutines use one branch of the task's context at once; "
                "start them with ctx.gather, ctx.group or ctx.race"
            )
        return line, branch

    def check_length(self) -> None:
        """Raise if this run may write no more. Not while it is replayed, which writes nothing."""
        actor = self.actor
        if actor.sequence - actor.run_start >= actor.system.settings.run_records:
            raise RuntimeError(
                f"this run of the handler has written {actor.sequence - actor.run_start} entries, "
                f"more than a run may have (run_records): call `await ctx.restart(state)` now and "
                f"then, which begins a new run with that state"
            )

    def check_complete(self, error: Exception | None = None) -> None:
        """Raise ``ReplayMismatch`` if the handler ended, by ``error`` if any, before all that it
        did earlier."""
        if self._root is None:
            return  # nothing is recorded
        now = "the end of the handler" if error is None else f"an error ({type(error).__name__})"
        self.replay.check_complete("", self._root.stack[0].ordinal, now)

    @property
    def may_write(self) -> bool:
        """Whether what ends now ends for good, and not only in this process or this version."""
        return self.activity.may_write

    @property
    def full(self) -> bool:
        """Whether the commit has fallen behind what this run writes."""
        actor = self.actor
        return actor.backlog >= actor.system.settings.window

    async def room(self) -> None:
        """Let the commit keep up."""
        if self.full:
            await self.actor.window()

    def withdraw(self, timer: str) -> None:
        """A timer is needed no more, unless the handler stops only to go on later."""
        if self.may_write:
            self.actor.clear_timer(timer)

    def leave(self) -> None:
        """The handler ended: whoever still holds the context may not use it."""
        self.left = True
        if self._root is not None:
            self._root.passing = None
        # Or the objects would hold each other, and the garbage collector would have to find them.
        self._root = None
        self.replay.branches.clear()


__all__ = ["Run"]
