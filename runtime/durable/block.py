"""A block of a branch that may be cut off: by time, or by a branch beside it that failed.

Where it was is recorded, and on replay it is cut off there again. What its clean-up does has places
in a branch of its own, below the operation that the block is.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

from ..actor.actor import Op
from .branch import Branch, Position
from .replay import below, record

if TYPE_CHECKING:
    from ..handler.context import TaskContext


class Cut:
    """The foundation of blocks (``branch.Block``) that are operations."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._position: Position | None = None
        self._written = False

    @property
    def struck(self) -> bool:
        """Whether it is cut off, or about to be."""
        raise NotImplementedError

    @property
    def strikes_at(self) -> float:
        """When it will be by itself, in the time of the event loop."""
        return inf

    @property
    def ordinal(self) -> int:
        """The operation that it is."""
        return self._op.ordinal

    def look(self, *, parked: bool) -> None:
        """The branch has come further."""
        raise NotImplementedError

    def _enter(self, branch: Branch, op: Op, ordinal: int) -> None:
        """The block begins. Where it is cut off is recorded at ``ordinal`` below ``op``."""
        self._branch = branch
        self._op = op
        self._place = Op(below(op), ordinal)
        self._outer = branch.limit
        found = self._context._ledger.record(self._place, "cut")
        if found is not None:
            self._written = True
            self._cut_at(msgspec.json.decode(found.value, type=Position))
        branch.blocks.append(self)

    def _cut_at(self, position: Position) -> None:
        """It is known where the block will be cut off."""
        self._position = position
        self._branch.limit = position.limit

    def held_off(self) -> None:
        """The branch goes on from where it was thought to be cut off."""
        if not self._written:
            self._position = None

    def cut_off(self) -> Branch:
        """Record where; return the branch for the clean-up."""
        self._record_cut()
        return Branch(self._context, f"{below(self._op)}!")

    def _record_cut(self) -> Position:
        position = self._position
        if position is None:
            position = self._position = self._branch.position
        if not self._written and self._context._may_write:
            self._written = True
            self._context._actor.record(
                self._place, record("cut", value=msgspec.json.encode(position))
            )
        return position

    def _leave(self, *, cut: bool) -> None:
        """The block is over; whether it was ``cut`` off."""
        position = self._record_cut() if cut else None
        self._branch.leave_block(self, self._outer, position)
        if position is not None:
            self._context._closes_question(self._branch, self._op.ordinal, position.ordinal)
