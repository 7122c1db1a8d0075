"""Replay: what a run of a handler did before, by place.

An operation is known by (branch, ordinal in its branch); never by the order in which things
happened to arrive. What is found here is given back; what is not found is new ground. Operations
that consist of several entries (asks, streams) keep them in a branch below their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ...protocol.types import Message, Role, StreamResponse, TaskState
from ..actor.actor import Op
from ..actor.cancellation import Reason
from ..actor.states import IllegalTransition
from ..call import Principal, Sender
from ..journal.entries import Entry, Kind
from .branch import Position


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a RECORD entry."""

    kind: str
    name: str = ""
    value: msgspec.Raw = msgspec.Raw()
    error: tuple[str, str] | None = None
    """(type, message) of a step that failed."""
    arguments: str = ""
    """Digest of a step's arguments: a change of them is worth a warning."""


class Start(msgspec.Struct):
    """What a run began with."""

    message: Message
    state: Any = None
    """What ``ctx.restart`` handed over."""
    unread: list[tuple[int, Message]] = []
    """Messages accepted before the run that nobody had read, with their sequences."""
    metadata: dict[str, Any] | None = None
    """Of the request: it may have chosen the skill."""
    activated: tuple[str, ...] = ()
    skill: str | None = None
    """Of the task, where no metadata chose one."""

    def sender(self, principal: Principal | None = None) -> Sender:
        """What the handler may know of who sent the message; ``principal`` is not kept."""
        return Sender(principal, self.activated, self.metadata, self.skill)


class _Call(msgspec.Struct, omit_defaults=True):
    """What came with the message of a run, and replay must find again."""

    metadata: dict[str, Any] | None = None
    activated: tuple[str, ...] = ()
    skill: str | None = None


_decode_message = msgspec.json.Decoder(Message).decode
_decode = msgspec.json.Decoder(Record).decode
_decode_response = msgspec.json.Decoder(StreamResponse).decode
_encode = msgspec.json.Encoder().encode

# How bodies begin: what a record is can be told without decoding it.
_STATUS = b'{"statusUpdate"'
_RUN = b'{"kind":"run"'
_CALL = b'{"kind":"call"'
_ANSWER = b'{"kind":"answer"'
_CANCEL = b'{"kind":"cancel"'
_REFUSED = b'{"kind":"refused"'
_SLEEP = b'{"kind":"sleep"'
_READERS = (_ANSWER, b'{"kind":"receive"')
DURABLE = b'{"kind":"durable"}'
"""The record that a run's first step or stream has begun, whether or not it will be over."""
RESTARTED = b'{"kind":"run","name":"restart"'
"""How the first record of a run begins that ``ctx.restart`` began."""
_DURABLE = (
    DURABLE, *_READERS, RESTARTED, b'{"kind":"step"', b'{"kind":"stream"', _SLEEP
)  # fmt: skip

_CLEANING = "!+-"
"""How the names of branches end that belong to the clean-up of a block (``/2!``: of operation 2),
or of a whole branch that was cut off after an operation (``+``) or within it (``-``)."""
_INNER = {"stream": False, "gather": True, "race": True}
"""Kinds of operations that may have branches below them while they have no record yet."""


class ReplayMismatch(BaseException):
    """The handler does something else than its journal says. Not an ``Exception``: it must reach
    the runtime, which blocks the task until a handler is deployed that fits."""

    def __init__(self, op: Op, recorded: str, asked: str) -> None:
        super().__init__(
            f"operation {op.ordinal} of branch {op.branch or 'root'} was {recorded} "
            f"and is now {asked}"
        )
        self._told = (op, recorded, asked)

    def again(self) -> ReplayMismatch:
        """The same, for another place that must not go on either."""
        return ReplayMismatch(*self._told)


class Ledger:
    """The entries of one run, by place."""

    __slots__ = ("_cuts", "_entries", "_inner", "_last", "stumbled")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[tuple[str, int], Entry] = {
            (entry.branch, entry.ordinal): entry for entry in entries if entry.ordinal
        }
        self._inner: dict[tuple[str, int], bool] = {}
        """Operations that have branches below them; whether those are of a gather or a race."""
        self._cuts: dict[str, Position] = {}
        """Branches that were cut off and began to clean up, and where."""
        self._last: dict[str, int] = {}
        self.stumbled: ReplayMismatch | None = None
        """What was found to be something else: from here on nothing is written."""
        for branch, ordinal in self._entries:
            if ordinal > self._last.get(branch, 0):
                self._last[branch] = ordinal
        for branch in list(self._last):
            self._trace(branch)

    def _trace(self, branch: str) -> None:
        """An operation may have left nothing at its own place, only below it."""
        while branch:
            parent, _, tail = branch.rpartition("/")
            if tail[-1] in _CLEANING:
                ordinal = int(tail[:-1])
                if tail[-1] != "!":
                    self._cuts[parent] = Position(ordinal, tail[-1] == "+")
            else:
                number, dot, _ = tail.partition(".")
                ordinal = int(number)
                self._inner[parent, ordinal] = bool(dot)
            if ordinal > self._last.get(parent, 0):
                self._last[parent] = ordinal
            branch = parent

    def __bool__(self) -> bool:
        return bool(self._entries)

    @staticmethod
    def start(entries: Sequence[Entry], *, afresh: bool = False) -> Start:
        """What a run began with, and the messages of it that no operation has read; ``afresh``
        those, too, that were received and not the answer to a question, which is asked again."""
        began: Start | None = None
        call = _Call()
        read: set[int] = set()
        later: list[tuple[int, Message]] = []
        for entry in entries:
            if entry.kind is Kind.MESSAGE:
                if began is None:
                    began = Start(_decode_message(entry.body))
                elif b'"ROLE_USER"' in entry.body:
                    message = _decode_message(entry.body)
                    if message.role is Role.USER:
                        later.append((entry.sequence, message))
            elif entry.kind is Kind.RECORD:
                # Only few records matter here; the others are not decoded.
                if entry.body.startswith(_ANSWER if afresh else _READERS):
                    read.add(int(value_of(_decode(entry.body))))
                elif began is None and entry.body.startswith(_RUN):
                    began = msgspec.json.decode(_decode(entry.body).value, type=Start)
                elif entry.body.startswith(_CALL):
                    call = msgspec.json.decode(_decode(entry.body).value, type=_Call)
        if began is None:
            raise ValueError("the journal of the run does not say what it began with")
        unread = [item for item in (*began.unread, *later) if item[0] not in read]
        return Start(began.message, began.state, unread, call.metadata, call.activated, call.skill)

    @staticmethod
    def open_ask(entries: Sequence[Entry]) -> Op | None:
        """Where the answer belongs, if a question of the run is open."""
        entry = _interruption(entries)
        question = None if entry is None else _question(entry)
        return None if question is None else Op(question.branch, question.ordinal + 1)

    @staticmethod
    def suspended(entries: Sequence[Entry]) -> bool:
        """Whether the handler itself interrupted the task and would go on with its run."""
        question = _interruption(entries)
        return question is not None and question.ordinal > 0

    @staticmethod
    def cancelled(entries: Sequence[Entry]) -> Reason | None:
        """Why the run was told to end, if it was."""
        for entry in reversed(entries):
            if entry.kind is Kind.RECORD and entry.body.startswith(_CANCEL):
                return Reason(value_of(_decode(entry.body)))
        return None

    def last(self, branch: str) -> int:
        """The last operation that a branch is known to have begun."""
        return self._last.get(branch, 0)

    def cut(self, branch: str) -> Position | None:
        """Where a whole branch was cut off, if it is known to have cleaned up after that."""
        return self._cuts.get(branch)

    def position(self, branch: str) -> Position:
        """How far a branch is known to have come, of one that was cut off."""
        known = self._cuts.get(branch)
        if known is not None:
            return known
        last = Op(branch, self.last(branch))
        inner = below(last)
        end = self._entries.get((inner, self.last(inner)))
        answered = end is not None and end.kind is Kind.RECORD and end.body.startswith(_ANSWER)
        entry = self._entries.get((branch, last.ordinal))
        # A sleep is recorded when it begins.
        slept = entry is not None and entry.body.startswith(_SLEEP)
        over = not last.ordinal or answered or (entry is not None and not slept)
        return Position(last.ordinal, over)

    def mismatch(self, op: Op, recorded: str, asked: str) -> ReplayMismatch:
        """Make the error to raise, after which nothing is written."""
        self.stumbled = ReplayMismatch(op, recorded, asked)
        return self.stumbled

    def check_complete(self, ordinal: int, now: str) -> None:
        """Raise ``ReplayMismatch`` if the root branch went further than ``ordinal``, where there
        is ``now`` something else."""
        if self.last("") > ordinal:
            missing = Op("", ordinal + 1)
            raise self.mismatch(missing, self._describe(missing), now)

    def is_record(self, op: Op, kind: str, name: str) -> bool:
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is None or entry.kind is not Kind.RECORD:
            return False
        found = _decode(entry.body)
        return found.kind == kind and found.name == name

    def find(self, op: Op) -> Entry | None:
        return self._entries.get((op.branch, op.ordinal))

    def record(self, op: Op, kind: str, name: str = "") -> Record | None:
        """Return the record of ``op``; raises ``ReplayMismatch`` if it is of something else."""
        if not self._entries:
            return None
        entry = self._entries.get((op.branch, op.ordinal))
        asked = f"{kind} {name!r}" if name else kind
        if entry is None:
            self.check_new(op, asked, _INNER.get(kind))
            return None
        if entry.kind is not Kind.RECORD:
            raise self.mismatch(op, _what(entry), asked)
        found = _decode(entry.body)
        if found.kind != kind or found.name != name:
            raise self.mismatch(op, _what(entry), asked)
        return found

    def event(self, op: Op, asked: str) -> Entry | None:
        """Return the event emitted at ``op``, or the record that says that it was refused."""
        if not self._entries:
            return None
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is None:
            self.check_new(op, asked, None)
            return None
        if entry.kind is not Kind.EVENT and not entry.body.startswith(_REFUSED):
            raise self.mismatch(op, _what(entry), asked)
        return entry

    def check_new(self, op: Op, asked: str, inner: bool | None, *, traceless: bool = False) -> None:
        """Raise ``ReplayMismatch`` unless ``op`` may be new ground.

        ``inner``: what branches below it may be there: of a gather or a race (``True``), of a
        question, a stream or chunks (``False``), or none (``None``). One that is over may be
        ``traceless``.
        """
        found = self._inner.get((op.branch, op.ordinal))
        if found is not None and found is not inner:
            raise self.mismatch(op, self._describe(op), asked)
        if found is None and not traceless and self._last.get(op.branch, 0) > op.ordinal:
            raise self.mismatch(op, self._describe(op), asked)

    def chunks(self, op: Op) -> Sequence[Entry]:
        """The chunks that were written below ``op``, which needs none."""
        if not self._entries:
            return ()
        asked = "the chunks of an artifact"
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is not None:
            raise self.mismatch(op, _what(entry), asked)
        self.check_new(op, asked, False, traceless=True)
        return self.below(op)

    def below(self, op: Op) -> Sequence[Entry]:
        """Entries of the branch that belongs to ``op``, in order."""
        branch = below(op)
        found: list[Entry] = []
        ordinal = 1
        while (entry := self._entries.get((branch, ordinal))) is not None:
            found.append(entry)
            ordinal += 1
        return found

    def _describe(self, op: Op) -> str:
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is not None:
            return _what(entry)
        inner = self._inner.get((op.branch, op.ordinal))
        if inner is None:
            return "interrupted by something else than ctx.timeout, ctx.race or ctx.gather"
        return "a gather or a race" if inner else "a question, a stream or chunks"


def _what(entry: Entry) -> str:
    """A few words for what an entry is."""
    if entry.kind is Kind.EVENT:
        return "an artifact" if entry.body.startswith(b'{"artifactUpdate"') else "a status"
    found = _decode(entry.body)
    return f"{found.kind} {found.name!r}" if found.name else found.kind


def _interruption(entries: Sequence[Entry]) -> Entry | None:
    """The event of the run that asks for something, if nothing has answered or withdrawn it."""
    answered: set[Op | None] = set()
    for entry in reversed(entries):
        if entry.kind is Kind.RECORD:
            if entry.body.startswith(_ANSWER):
                answered.add(Op(entry.branch, entry.ordinal - 1))
        elif entry.kind is Kind.EVENT and entry.body.startswith(_STATUS):
            update = _decode_response(entry.body).status_update
            if update is not None and update.status.state.interrupted:
                return None if _question(entry) in answered else entry
            if not entry.ordinal:
                return None  # said by the runtime: the question was answered or withdrawn
    return None


NOTHING_RECORDED = Ledger()
"""The ledger of a first run: all is new ground."""


def _below(branch: str) -> bool:
    """Whether a branch belongs to an operation that consists of several entries."""
    return branch.rpartition("/")[2].isdigit()


def _question(entry: Entry) -> Op | None:
    """The place of the question that an event asks, or asks again (below its place)."""
    if not _below(entry.branch):
        return None
    parent, _, ordinal = entry.branch.rpartition("/")
    return Op(parent, int(ordinal)) if _below(parent) else Op(entry.branch, entry.ordinal)


def below(op: Op) -> str:
    """Name of the branch that belongs to an operation."""
    return f"{op.branch}/{op.ordinal}"


def durable(entries: Iterable[Entry]) -> bool:
    """Whether a run has a step, a question, a stream or a sleep, or was begun by ``ctx.restart``:
    by default it is resumed then."""
    return any(
        entry.body.startswith(_DURABLE)
        if entry.kind is Kind.RECORD
        else entry.ordinal > 0 and _below(entry.branch) and entry.body.startswith(_STATUS)
        for entry in entries
    )


def record(kind: str, name: str = "", value: bytes = b"null", arguments: str = "") -> bytes:
    """Encode a record."""
    return _encode(Record(kind, name, msgspec.Raw(value), None, arguments))


def failure(name: str, error: tuple[str, str], arguments: str = "") -> bytes:
    """Encode the record of a step that failed."""
    return _encode(Record("step", name, msgspec.Raw(b"null"), error, arguments))


def call_record(sender: Sender) -> bytes:
    """The body of the record of what came with the message of a run."""
    value = _encode(_Call(sender.metadata, sender.activated, sender.skill))
    return _encode(Record("call", value=msgspec.Raw(value)))


def value_of(found: Record) -> Any:
    """The plain value of a record."""
    return msgspec.json.decode(found.value)


def refusal(entry: Entry) -> IllegalTransition:
    """What an emission raised that was refused."""
    return IllegalTransition(*msgspec.json.decode(_decode(entry.body).value, type=_Refused))


_Refused = tuple[TaskState, TaskState]
