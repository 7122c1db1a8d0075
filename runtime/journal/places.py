"""Places: the name that every entry of a run has, whatever its timing. The one grammar of branches.

A handler is code that runs again from its start. What it did is found by *place*, and a place is
(branch, ordinal): the n-th operation of one line of control. No part of a place depends on when
something happened or on what arrived first. A branch is a text:

    branch    = ""                        the handler itself
              | branch "/" ordinal        entries that belong to one operation (inner)
              | branch "/" ordinal "." n  the n-th branch of a gather, a race or a group (child)
              | branch "/" ordinal ".b"   the block of a group or of a time-out (block)
              | branch "!"                what a branch does after it was cancelled (clean_up)

Why a block has a branch of its own. Where a block is cut off depends on timing, so after a crash
the block may be cut off earlier than it was before. If the block shared its numbers with the code
behind it, that code would take the places, and so the recorded results, of operations of the block:

    try:
        async with ctx.group() as group:          operation 1
            group.start(failing)                  branch /1.0
            await ctx.step(good, "d")             place (/1.b, 1)
    except StepFailed:
        await ctx.step(good, "charge")            place ("", 2), however far the block had come

Why a clean-up has a branch of its own: for the same reason. ``finally`` begins wherever the
cancellation arrived, and its first operation is always number 1 of the branch that ends in "!".
"""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where an operation of a handler is in its run."""

    branch: str
    ordinal: int
    """Counted from 1 in its branch."""

    @property
    def where(self) -> str:
        """The place in words."""
        return f"operation {self.ordinal} of branch {self.branch or 'root'}"


ROOT = Place("", 0)
"""The place of entries that no operation wrote: the runtime did."""


def inner(place: Place, ordinal: int) -> Place:
    """Return the place of the ``ordinal``-th entry that belongs to the operation at ``place``."""
    return Place(inside(place), ordinal)


def inside(place: Place) -> str:
    """Name the branch of the entries that belong to an operation."""
    return f"{place.branch}/{place.ordinal}"


def child(place: Place, index: int) -> str:
    """Name the ``index``-th branch of a gather, a race or a group."""
    return f"{place.branch}/{place.ordinal}.{index}"


def block(place: Place) -> str:
    """Name the branch of the block of a group or of a time-out."""
    return f"{place.branch}/{place.ordinal}.b"


def clean_up(branch: str) -> str:
    """Name what a branch does after it was cancelled."""
    return f"{branch}!"


def of_operation(branch: str) -> Place | None:
    """Return the operation whose entries are in ``branch``; ``None`` if it holds operations."""
    parent, slash, ordinal = branch.rpartition("/")
    return Place(parent, int(ordinal)) if slash and ordinal.isdigit() else None


def beneath(branch: str) -> str:
    """Return what the names of all branches below the operations of ``branch`` begin with."""
    return f"{branch}/"


def parent(branch: str) -> tuple[Place | None, bool]:
    """Return the operation that ``branch`` is below, and whether ``branch`` holds operations. The
    operation is ``None`` for the handler itself and for its clean-up."""
    above, slash, tail = branch.rpartition("/")
    if not slash:
        return None, True
    ordinal, dot, _ = tail.partition(".")
    return Place(above, int(ordinal.rstrip("!"))), bool(dot) or tail.endswith("!")


__all__ = [
    "ROOT", "Place", "beneath", "block", "child", "clean_up", "inner", "inside", "of_operation",
    "parent",
]  # fmt: skip
