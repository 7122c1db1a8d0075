"""Replay: a handler runs again from its start and finds, by place, what it did before.

The entries of a run are a prefix of what happened: a crash loses the newest entries, never one in
the middle. ``places`` says how an entry is named. Three rules make the second run end as the first:

1. *A recorded operation gives back its record.* A waiting operation that is not recorded is new
   ground, and so is everything behind it in its branch.

2. *Nobody is cancelled before the journal says so.* A group, a gather, a race and a time-out cancel
   branches. What depends on timing is who failed first, who won, whether the time was up, and how
   far everybody else had come. One record, ``cut``, holds all of that. It is written in the same
   moment, before the first cancellation is delivered. A branch that is not shielded records nothing
   after it.

   Replay of a recorded cut waits until each branch is again where the record says, and cancels them
   there. Until then no branch below it enters new ground.

       1  step a of branch /1.0
       2  the block, /1.b, begins step d: no record
       3  record of the failure of a step of branch /1.0
       4  record of the cut: by 0; /1.b had begun 1, which was not over
       5  clean-up of the block, /1.b!

       crash after 4   Replay: /1.0 fails at once and waits until /1.b has begun 1. Then the block
                       is cancelled there. 5 is new ground.

   A cut that is *not* recorded comes after everything that is. So a branch that fails, wins or runs
   out of time on replay decides only once all entries below the operation were found again:

       crash after 3   Replay: /1.0 fails at once and waits until every entry of the block was found
                       again. Then it decides, and writes 4.

   If several branches could decide, the one whose last entry is the oldest decides. A branch that
   had ended before the cut is waited for until it has ended again, so its result is there as it
   was.

3. *What was due first happens first.* Sleeps and time-outs are recorded with the moment at which
   they are due. If several are overdue when the process is back, they happen in the order of those
   moments, and each one's consequences come before the next one (``Activity``). The end of a sleep
   is a record, and so is the end of a time-out; the timer is cleared in the commit of that record.

What cannot be found again is proof that the handler did something else: ``ReplayMismatch``. It
blocks the task; nothing is guessed. That includes journals that were written before there were
these rules."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

import msgspec

from ..actor.states import IllegalTransition
from ..journal.entries import Entry, Kind
from ..journal.places import Place, inner, inside, parent
from ..journal.records import Cut, Record, RecordKind, decode, is_kind, value_of

_GRAMMAR = re.compile(r"!?(/\d+(\.(\d+|b)!?)?)*")
_EARLIER = "written by an earlier Greenroom, which did not record where blocks were cut off"

_INNER = {
    RecordKind.STREAM: False, RecordKind.GATHER: True, RecordKind.RACE: True,
}  # fmt: skip
"""Kinds of operations that may have entries below them while they have no record yet; whether those
are in branches."""


class ReplayMismatch(BaseException):
    """The handler does something else than its journal says. Not an ``Exception``: it must reach
    the runtime, which blocks the task until a handler is deployed that fits."""

    def __init__(self, place: Place, recorded: str, asked: str) -> None:
        super().__init__(f"{place.where} was {recorded} and is now {asked}")
        self._told = (place, recorded, asked)

    def again(self) -> ReplayMismatch:
        """Return the same error for another coroutine that must not go on either."""
        return ReplayMismatch(*self._told)


class Replay:
    """The entries of one run, by place, and how many of them the handler has found again."""

    __slots__ = (
        "_entries", "_inner", "_last", "_names", "_rest", "branches", "cuts", "empty", "stumbled",
    )  # fmt: skip

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[Place, Entry] = {}
        self.empty = True
        """Nothing is recorded."""
        self._inner: dict[Place, bool] = {}
        """Operations that have entries below them; whether those are in branches."""
        self._last: dict[str, int] = {}
        self._rest: dict[str, set[int]] = {}
        """What was not found again yet, by branch."""
        self.cuts: list[Any] = []
        """Operations that have begun and whose recorded cut is not carried out yet, in the order of
        those records (``block.Cancellable``)."""
        self.branches: dict[str, Any] = {}
        """The branches that there are again, by name (``branch.Branch``)."""
        self.stumbled: ReplayMismatch | None = None
        """What was found to be something else: from here on nothing is written."""
        for entry in entries:
            if entry.ordinal:
                self._entries[Place(entry.branch, entry.ordinal)] = entry
                self._rest.setdefault(entry.branch, set()).add(entry.ordinal)
                if entry.ordinal > self._last.get(entry.branch, 0):
                    self._last[entry.branch] = entry.ordinal
        self._names = sorted(self._rest)
        self.empty = not self._entries
        for name in self._names:
            if _GRAMMAR.fullmatch(name) is None:
                self.stumbled = ReplayMismatch(Place(name, 1), _EARLIER, "replayed")
                return
            self._trace(name)

    def _trace(self, branch: str) -> None:
        """An operation may have left nothing at its own place, only below it."""
        while True:
            operation, holds_operations = parent(branch)
            if operation is None:
                return
            self._inner[operation] = holds_operations or self._inner.get(operation, False)
            if operation.ordinal > self._last.get(operation.branch, 0):
                self._last[operation.branch] = operation.ordinal
            branch = operation.branch

    # --- looking up -------------------------------------------------------------------------------

    def last(self, branch: str) -> int:
        """Return the last operation that a branch is known to have begun."""
        return self._last.get(branch, 0)

    def find(self, place: Place) -> Entry | None:
        """Return the entry at a place."""
        return self._entries.get(place)

    def sequence(self, place: Place) -> float:
        """Return the sequence of the entry at a place; infinity if there is none."""
        entry = self._entries.get(place)
        return inf if entry is None else entry.sequence

    def is_record(self, place: Place, kind: RecordKind, name: str) -> bool:
        """Whether there is such a record at ``place``."""
        entry = self._entries.get(place)
        return entry is not None and is_kind(entry, kind) and decode(entry.body).name == name

    def record(self, place: Place, kind: RecordKind, name: str = "") -> Record | None:
        """Return the record at ``place``; raises ``ReplayMismatch`` if it is of something else."""
        if not self._entries:
            return None
        entry = self._entries.get(place)
        if entry is None:
            self.check_new(place, _words(kind, name), _INNER.get(kind))
            return None
        if entry.kind is not Kind.RECORD:
            raise self.mismatch(place, _what(entry), _words(kind, name))
        record = decode(entry.body)
        if record.kind != kind or record.name != name:
            raise self.mismatch(place, _what(entry), _words(kind, name))
        return record

    def value(self, place: Place, record: Record) -> Any:
        """Return the value of a record; raises ``ReplayMismatch`` for one of an earlier format."""
        try:
            return value_of(record)
        except msgspec.ValidationError as error:
            raise self.mismatch(place, f"{record.words}, {_EARLIER}", "replayed") from error

    def cut(self, place: Place) -> tuple[Cut, int] | None:
        """Return how the branches of the operation at ``place`` were cut off, if they were, and the
        sequence of that record."""
        there = inner(place, 1)
        entry = self._entries.get(there)
        if entry is None or not is_kind(entry, RecordKind.CUT):
            return None
        return self.value(there, decode(entry.body)), entry.sequence

    def event(self, place: Place, asked: str) -> Entry | None:
        """Return the event emitted at ``place``, or the record that says that it was refused."""
        if not self._entries:
            return None
        entry = self._entries.get(place)
        if entry is None:
            self.check_new(place, asked, None)
            return None
        if entry.kind is not Kind.EVENT and not is_kind(entry, RecordKind.REFUSED):
            raise self.mismatch(place, _what(entry), asked)
        return entry

    def chunks(self, place: Place) -> Sequence[Entry]:
        """Return the chunks that were written below ``place``, where there may be none."""
        if not self._entries:
            return ()
        asked = "the chunks of an artifact"
        entry = self._entries.get(place)
        if entry is not None:
            raise self.mismatch(place, _what(entry), asked)
        self.check_new(place, asked, False, traceless=True)
        return self.below(place)

    def below(self, place: Place) -> Sequence[Entry]:
        """Return the entries that belong to the operation at ``place``, in order."""
        entries: list[Entry] = []
        while (entry := self._entries.get(inner(place, len(entries) + 1))) is not None:
            entries.append(entry)
        return entries

    # --- what was found again ---------------------------------------------------------------------

    def take(self, place: Place) -> None:
        """The entry at ``place`` was found again."""
        rest = self._rest.get(place.branch)
        if rest is not None:
            rest.discard(place.ordinal)
            if not rest:
                del self._rest[place.branch]

    def over(self, place: Place) -> None:
        """The operation at ``place`` is over: so is all that belongs to it."""
        if self._rest:
            self.take(place)
            self.drop(inside(place))

    def drop(self, branch: str) -> None:
        """Nobody will look for what is left of ``branch``."""
        if self._rest:
            self._rest.pop(branch, None)
            for begin in (f"{branch}/", f"{branch}!"):
                for name in self._beginning(begin):
                    self._rest.pop(name, None)

    @property
    def pending(self) -> bool:
        """Whether a recorded cut is to be carried out yet."""
        return bool(self.cuts)

    @property
    def unread(self) -> bool:
        """Whether there are entries that were not found again yet."""
        return bool(self._rest)

    def remains(self, begin: str, names: list[str] | None) -> list[str]:
        """Return the names of branches that begin so and have entries not found again yet;
        ``names`` is what this returned before."""
        if not self._rest:
            return []
        branches = self._beginning(begin) if names is None else names
        while branches and branches[-1] not in self._rest:
            branches.pop()
        return branches

    def newest(self, branch: str) -> int:
        """Return the sequence of the newest entry of a branch and of all below it."""
        newest = 0
        for name in (branch, *self._beginning(f"{branch}/")):
            entry = self._entries.get(Place(name, self._last.get(name, 0)))
            newest = max(newest, 0 if entry is None else entry.sequence)
        return newest

    def _beginning(self, begin: str) -> list[str]:
        at = bisect_left(self._names, begin)
        end = at
        while end < len(self._names) and self._names[end].startswith(begin):
            end += 1
        return self._names[at:end]

    # --- mismatches -------------------------------------------------------------------------------

    def mismatch(self, place: Place, recorded: str, asked: str) -> ReplayMismatch:
        """Make the error to raise, after which nothing is written."""
        self.stumbled = ReplayMismatch(place, recorded, asked)
        return self.stumbled

    def stalled(self) -> ReplayMismatch:
        """Return the error for a handler that comes no further, though it has not found again all
        that is recorded. From here on nothing is written."""
        now = "not reached again"
        if self.cuts:
            return self.mismatch(
                self.cuts[0].not_reached(), "begun when its block was cut off", now
            )
        branch = min(self._rest, default="")
        place = Place(branch, min(self._rest.get(branch, {1})))
        return self.mismatch(place, self._describe(place), now)

    def check_complete(self, branch: str, ordinal: int, now: str) -> None:
        """Raise ``ReplayMismatch`` if ``branch`` went further than ``ordinal``, where there is
        ``now`` something else."""
        if self.last(branch) > ordinal:
            missing = Place(branch, ordinal + 1)
            raise self.mismatch(missing, self._describe(missing), now)

    def check_new(
        self, place: Place, asked: str, branches: bool | None, *, traceless: bool = False
    ) -> None:
        """Raise ``ReplayMismatch`` unless ``place`` may be new ground.

        ``branches``: what may be below it: branches, as of a gather or a race (``True``), entries
        of a question, a stream or chunks (``False``), nothing (``None``). One that is over may be
        ``traceless``."""
        kind = self._inner.get(place)
        if kind is False and branches and self.cut(place) is not None:
            return
        if kind is not None and kind is not branches:
            raise self.mismatch(place, self._describe(place), asked)
        if kind is None and not traceless and self._last.get(place.branch, 0) > place.ordinal:
            raise self.mismatch(place, self._describe(place), asked)

    def _describe(self, place: Place) -> str:
        entry = self._entries.get(place)
        if entry is not None:
            return _what(entry)
        branches = self._inner.get(place)
        if branches is None:
            return "interrupted by something else than ctx.timeout, ctx.race or ctx.gather"
        return "a gather or a race" if branches else "a question, a stream or chunks"


NOTHING_RECORDED = Replay()
"""What all handlers share that were never interrupted: nothing is ever found in it or added."""


def _words(kind: RecordKind, name: str) -> str:
    return f"{kind} {name!r}" if name else str(kind)


def _what(entry: Entry) -> str:
    """Say in a few words what an entry is."""
    if entry.kind is Kind.EVENT:
        return "an artifact" if entry.body.startswith(b'{"artifactUpdate"') else "a status"
    return decode(entry.body).words


def refusal(entry: Entry) -> IllegalTransition:
    """Return what an emission raised that was refused."""
    return IllegalTransition(*value_of(decode(entry.body)))
