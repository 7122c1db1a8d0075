"""Operations whose branches may be cancelled: the block of a time-out, of a group, and branches.

A *cut* cancels everything below one operation. It is one record, written before the first
cancellation is delivered: who decided (a branch that failed or won, the block, or the time), and
how far every line below the operation had come. On replay the cut is carried out as soon as all of
them have come there again (theory: ``replay``)."""

from __future__ import annotations

import anyio

from ..journal.places import Place, inner, inside
from ..journal.records import Cut, Reached, RecordKind
from .branch import Branch, Line, Operation
from .run import Run

_OVER = -1
"""Instead of the number of an operation: the branch had ended."""


class Cancellable:
    """An operation that may cancel what is below it."""

    @property
    def covers_its_line(self) -> bool:
        """Whether a cut cancels the line of the operation as well: it is in the block."""
        return self.block is not None and not self.block.left

    def __init__(self, run: Run, operation: Operation) -> None:
        self.run = run
        self.line = operation.line
        self.operation = operation
        self.place = operation.place
        self.branches: list[Line] = []
        """The branches that it has begun, ended or not."""
        self.block: Branch | None = None
        self.scope: anyio.CancelScope
        """Cancels what is below the operation."""
        self.cancelled = False
        """Whether it was cut, now or again."""
        self.by: int | None = None
        """Who decided."""
        self.cut: Cut | None = None
        self.sequence = 0
        recorded = run.replay.cut(self.place)
        if recorded is not None:
            self.cut, self.sequence = recorded
            self._missing = self._places(self.cut)
        self.pending = recorded is not None
        """Its cut is recorded and not carried out yet."""
        self.ready = False
        """Whoever decided then has come there again."""
        self._names: list[str] | None = None
        self._holds = False

    def open(self) -> None:
        """The line is in the operation from here on."""
        self.line.open.append(self)
        if self.pending:
            cuts = self.run.replay.cuts
            cuts.append(self)
            cuts.sort(key=_sequence)

    # --- how far everybody had come ---------------------------------------------------------------

    def _report(self) -> Cut:
        """Say where all lines below the operation are."""
        reached: list[Reached] = []
        spawned: list[tuple[str, int]] = []
        if self.block is not None and not self.block.left:
            line = self.line
            _tell(line.stack[line.stack.index(self.block) :], reached)
            for operation in line.open[line.open.index(self) + 1 :]:
                operation.tell(reached, spawned)
        self.tell(reached, spawned)
        return Cut(self.by, tuple(reached), tuple(spawned))

    def tell(self, reached: list[Reached], spawned: list[tuple[str, int]]) -> None:
        """Add where the lines are that the operation has started, and that its block is over."""
        if self.block is not None and self.block.left:
            reached.append(Reached(self.block.name, _OVER, True))
        if self.branches:
            spawned.append((inside(self.place), len(self.branches)))
        for line in self.branches:
            if not line.left:
                _tell(line.stack, reached)
                for operation in line.open:
                    operation.tell(reached, spawned)

    @staticmethod
    def _places(cut: Cut) -> list[Reached]:
        """Return what must be so again: the branches of the record, and those that had ended."""
        named = {item.branch for item in cut.reached}
        places = [
            Reached(f"{operation}.{index}", _OVER, True)
            for operation, count in cut.spawned
            for index in range(count)
            if f"{operation}.{index}" not in named
        ]
        return [*places, *cut.reached]

    def _is_there(self, item: Reached) -> bool:
        branch: Branch | None = self.run.replay.branches.get(item.branch)
        if branch is None:
            return False
        if item.ordinal == _OVER:
            return branch.left
        return branch.ended >= item.ordinal if item.over else branch.ordinal >= item.ordinal

    def not_reached(self) -> Place:
        """Return a place where the recorded cut found a line, and no line is there yet."""
        if not self._missing:
            return self.place
        return Place(self._missing[-1].branch, max(self._missing[-1].ordinal, 0))

    def was_cut(self, branch: str) -> bool:
        """Whether the recorded cut came before the end of a branch."""
        return self.cut is not None and any(item.branch == branch for item in self.cut.reached)

    # --- the cut ----------------------------------------------------------------------------------

    def look(self) -> bool:
        """On replay: carry out the recorded cut if everybody is where the record says; whether it
        was carried out."""
        if not self.pending:
            return True
        if any(item.pending and item.sequence < self.sequence for item in self.line.around()):
            return False
        while self._missing and self._is_there(self._missing[-1]):
            self._missing.pop()
        if self._missing or not self.ready:
            return False
        assert self.cut is not None
        self.by = self.cut.by
        self.run.replay.take(inner(self.place, 1))
        self._carry_out()
        return True

    def look_at_the_clock(self) -> None:
        """On replay: cut what should have been cut meanwhile."""

    def remains(self) -> bool:
        """Whether there are entries below the operation that were not found again."""
        self._names = self.run.replay.remains(f"{inside(self.place)}.", self._names)
        return bool(self._names)

    def cut_off(self, by: int | None) -> None:
        """Record the cut, and cancel what is below."""
        self.by = by
        if self.run.may_write:
            self.run.record(inner(self.place, 1), RecordKind.CUT, self._report())
        self._carry_out()

    def _carry_out(self) -> None:
        self._is_done()
        self.cancelled = True
        # Until the lines that are cancelled have gone on, the handler must not seem to be asleep.
        self._holds = True
        self.run.activity.go()
        self.scope.cancel()
        self.run.activity.moves += 1
        self.run.activity.cuts.notify()
        for other in tuple(self.run.replay.cuts):
            other.look()  # it may have waited for this one

    def _is_done(self) -> None:
        if self.pending:
            self.pending = False
            if self in self.run.replay.cuts:
                self.run.replay.cuts.remove(self)

    def _leave(self) -> None:
        """The operation is over."""
        if self.pending:
            self._is_done()
            self.run.activity.cuts.notify()
        if self in self.line.open:
            self.line.open.remove(self)
        # Or the objects would hold each other, and the garbage collector would have to find them.
        self.branches.clear()
        self.block = None
        if self._holds:
            self._holds = False
            self.run.activity.pause()


def _sequence(operation: Cancellable) -> int:
    return operation.sequence


def _tell(stack: list[Branch], reached: list[Reached]) -> None:
    reached += [
        Reached(branch.name, branch.ordinal, branch.ended >= branch.ordinal) for branch in stack
    ]


def place_of_end(place: Place) -> Place:
    """Return the place of the record that a group or a time-out has ended."""
    return inner(place, 2)
