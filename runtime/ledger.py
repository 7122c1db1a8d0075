"""Replay: what a run of a handler did before, by place.

An operation is known by (branch, ordinal in its branch); never by the order in which things
happened to arrive. What is found here is given back; what is not found is new ground. Operations
that consist of several entries (asks, streams) keep them in a branch below their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..protocol.types import Message
from .actor import Op
from .ports import Entry, Kind


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a RECORD entry."""

    kind: str
    name: str = ""
    value: msgspec.Raw = msgspec.Raw()
    error: tuple[str, str] | None = None
    """(type, message) of a step that failed."""


class _Start(msgspec.Struct):
    message: Message
    state: Any


_decode_message = msgspec.json.Decoder(Message).decode
_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


class ReplayMismatch(BaseException):
    """The handler does something else than its journal says. Not an ``Exception``: it must reach
    the runtime, which blocks the task until a handler is deployed that fits."""

    def __init__(self, op: Op, recorded: str, asked: str) -> None:
        super().__init__(
            f"operation {op.ordinal} of branch {op.branch or 'root'} was {recorded} "
            f"and is now {asked}"
        )


class Ledger:
    """The entries of one run, by place."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[tuple[str, int], Entry] = {
            (entry.branch, entry.ordinal): entry for entry in entries if entry.ordinal
        }

    def __bool__(self) -> bool:
        return bool(self._entries)

    @staticmethod
    def start(entries: Sequence[Entry]) -> tuple[Message, Any]:
        """The message that a run began with, and the state that ``ctx.restart`` gave it."""
        for entry in entries:
            if entry.kind is Kind.MESSAGE:
                return _decode_message(entry.body), None
            if entry.kind is Kind.RECORD and (found := _decode(entry.body)).kind == "run":
                began = msgspec.json.decode(found.value, type=_Start)
                return began.message, began.state
        raise ValueError("the journal of the run does not say what it began with")

    @staticmethod
    def open_ask(entries: Sequence[Entry]) -> Op | None:
        """Where the answer belongs, if the last event is a question that waits in a run."""
        for entry in reversed(entries):
            if entry.kind is Kind.EVENT:
                return Op(entry.branch, entry.ordinal + 1) if entry.ordinal else None
        return None

    @staticmethod
    def unread(entries: Sequence[Entry]) -> list[Entry]:
        """Messages of a run, its first apart, that no operation of it has read."""
        read = {
            int(value_of(found))
            for entry in entries
            if entry.kind is Kind.RECORD
            and (found := _decode(entry.body)).kind in ("answer", "receive")
        }
        messages = [entry for entry in entries if entry.kind is Kind.MESSAGE]
        if messages and entries[0] is messages[0]:
            messages.pop(0)
        return [
            entry
            for entry in messages
            if entry.sequence not in read and b'"ROLE_USER"' in entry.body
        ]

    def beyond(self, op: Op) -> bool:
        """Whether the branch of ``op`` went further than it."""
        return any(
            branch == op.branch and ordinal > op.ordinal for branch, ordinal in self._entries
        )

    def is_record(self, op: Op, kind: str, name: str) -> bool:
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is None or entry.kind is not Kind.RECORD:
            return False
        found = _decode(entry.body)
        return found.kind == kind and found.name == name

    def check_complete(self, ordinal: int) -> None:
        """Raise ``ReplayMismatch`` if the root branch went further than ``ordinal``."""
        missing = Op("", ordinal + 1)
        entry = self._entries.get(("", ordinal + 1))
        if entry is not None:
            raise ReplayMismatch(missing, _what(entry), "the end of the handler")

    def find(self, op: Op) -> Entry | None:
        return self._entries.get((op.branch, op.ordinal))

    def record(self, op: Op, kind: str, name: str = "") -> Record | None:
        """Return the record of ``op``; raises ``ReplayMismatch`` if it is of something else."""
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is None:
            self._check_inner(op, f"{kind} {name!r}" if name else kind, kind)
            return None
        asked = f"{kind} {name!r}" if name else kind
        if entry.kind is not Kind.RECORD:
            raise ReplayMismatch(op, _what(entry), asked)
        found = _decode(entry.body)
        if found.kind != kind or found.name != name:
            raise ReplayMismatch(op, f"{found.kind} {found.name!r}", asked)
        return found

    def event(self, op: Op, asked: str) -> Entry | None:
        """Return the event emitted at ``op``."""
        entry = self._entries.get((op.branch, op.ordinal))
        if entry is None:
            self._check_inner(op, asked, "")
            return None
        if entry.kind is not Kind.EVENT:
            raise ReplayMismatch(op, _what(entry), asked)
        return entry

    def _check_inner(self, op: Op, asked: str, kind: str) -> None:
        """An ask or an interrupted stream has no record at its place, but a branch below it."""
        if self._entries and kind not in ("stream", "gather", "race", "struck", "answer"):
            inner = self._entries.get((below(op), 1))
            if inner is not None:
                raise ReplayMismatch(op, "a question or a stream", asked)

    def below(self, op: Op) -> Sequence[Entry]:
        """Entries of the branch that belongs to ``op``, in order."""
        branch = below(op)
        found: list[Entry] = []
        ordinal = 1
        while (entry := self._entries.get((branch, ordinal))) is not None:
            found.append(entry)
            ordinal += 1
        return found


def _what(entry: Entry) -> str:
    """A few words for what an entry is."""
    if entry.kind is Kind.EVENT:
        return "an artifact" if entry.body.startswith(b'{"artifactUpdate"') else "a status"
    found = _decode(entry.body)
    return f"{found.kind} {found.name!r}" if found.name else found.kind


def below(op: Op) -> str:
    """Name of the branch that belongs to an operation."""
    return f"{op.branch}/{op.ordinal}"


def durable(entries: Iterable[Entry]) -> bool:
    """Whether a run has a step, an ask or a stream: what makes it resumable by default."""
    return any(entry.ordinal and (entry.kind is Kind.RECORD or entry.branch) for entry in entries)


def record(kind: str, name: str = "", value: bytes = b"null") -> bytes:
    """Encode a record."""
    return _encode(Record(kind, name, msgspec.Raw(value)))


def failure(name: str, error: tuple[str, str]) -> bytes:
    """Encode the record of a step that failed."""
    return _encode(Record("step", name, msgspec.Raw(b"null"), error))


def value_of(found: Record) -> Any:
    """The plain value of a record."""
    return msgspec.json.decode(found.value)
