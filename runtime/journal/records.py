"""The vocabulary of the journal: every kind of record, in one table.

A record is an entry that only replay reads; clients see events and messages. The records are kept
for as long as their task lives, weeks if need be, so this table is a format. A value that does not
have the type of its kind was written by a runtime with other rules: replay blocks the task and does
not guess."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from ...protocol.types import Message, TaskState
from ..call import Sender
from .entries import Entry, Kind


class RecordKind(StrEnum):
    """What a record says. ``TABLE`` has the details."""

    RUN = "run"
    CALL = "call"
    CANCEL = "cancel"
    DURABLE = "durable"
    STEP = "step"
    STREAM = "stream"
    ANSWER = "answer"
    RECEIVE = "receive"
    REFUSED = "refused"
    NOW = "now"
    UUID = "uuid"
    RANDOM = "random"
    PATCHED = "patched"
    SLEEP = "sleep"
    GATHER = "gather"
    RACE = "race"
    GROUP = "group"
    TIMEOUT = "timeout"
    CUT = "cut"
    END = "end"


class Begun(msgspec.Struct):
    """How a run began that no message began."""

    message: Message
    state: Any = None
    """What ``ctx.restart`` handed over."""
    unread: list[tuple[int, Message]] = []
    """Messages accepted before the run that nobody had read, with their sequences."""


class CallValue(msgspec.Struct, omit_defaults=True):
    """What came with the message of a run, and replay must find again."""

    metadata: dict[str, Any] | None = None
    activated: tuple[str, ...] = ()
    skill: str | None = None


class Due(msgspec.Struct, frozen=True, array_like=True):
    """When a sleep or a time-out is over."""

    at: float
    """Seconds since the epoch."""


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """How far one branch had come when something cut it off."""

    branch: str
    ordinal: int
    """The operation that the branch had begun last; -1: the branch had ended."""
    over: bool
    """Whether that operation was over."""


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """That the branches of an operation were cut off, and how far each of them had come."""

    by: int | None
    """Which branch failed or won; -1: the block of the group; ``None``: the time was up."""
    reached: tuple[Reached, ...] = ()
    """The branches that had not ended."""
    spawned: tuple[tuple[str, int], ...] = ()
    """The operations within which there were branches, and how many: those that are not in
    ``reached`` had ended."""


_Refused = tuple[TaskState, TaskState] | None


class RecordType(msgspec.Struct, frozen=True):
    """One row of the table."""

    value: Any
    """Type of the value; ``None``: there is none."""
    writer: str
    reader: str
    resumes: bool = False
    """Whether a run that has it is worth resuming by default."""


_REPLAY = "replay, at the place"

TABLE: dict[RecordKind, RecordType] = {
    RecordKind.RUN: RecordType(Begun, "the actor, at ctx.restart and at a rerun", "run_start"),
    RecordKind.CALL: RecordType(CallValue, "the actor, with the first message", "run_start"),
    RecordKind.CANCEL: RecordType(str, "the actor, when it cancels the handler", "recovery"),
    RecordKind.DURABLE: RecordType(None, "the first step or stream of a run", "recovery", True),
    RecordKind.STEP: RecordType(Any, "ctx.step, when the function has returned", _REPLAY, True),
    RecordKind.STREAM: RecordType(None, "ctx.stream, behind its last chunk", _REPLAY, True),
    RecordKind.ANSWER: RecordType(
        int, "the actor, when it accepts the answer: the sequence of the message",
        "ctx.ask and run_start", True,
    ),
    RecordKind.RECEIVE: RecordType(
        int, "ctx.receive: the sequence of the message", "ctx.receive and run_start", True
    ),
    RecordKind.REFUSED: RecordType(
        _Refused, "ctx.status and ctx.ask, when the state did not allow them", _REPLAY
    ),
    RecordKind.NOW: RecordType(float, "ctx.now", _REPLAY),
    RecordKind.UUID: RecordType(str, "ctx.uuid", _REPLAY),
    RecordKind.RANDOM: RecordType(float, "ctx.random", _REPLAY),
    RecordKind.PATCHED: RecordType(None, "ctx.patched", _REPLAY),
    # A bare number is of before the end of a sleep was a record: what follows tells its end.
    RecordKind.SLEEP: RecordType(Due | float, "ctx.sleep, when it begins", _REPLAY, True),
    RecordKind.GATHER: RecordType(None, "ctx.gather, at its end", _REPLAY),
    RecordKind.RACE: RecordType(None, "ctx.race, at its end", _REPLAY),
    RecordKind.GROUP: RecordType(tuple[()], "ctx.group, when it begins", _REPLAY),
    RecordKind.TIMEOUT: RecordType(Due, "ctx.timeout, when it begins", _REPLAY),
    RecordKind.CUT: RecordType(
        Cut, "gather, race, group and timeout, before anybody is cancelled", _REPLAY
    ),
    RecordKind.END: RecordType(None, "ctx.group, ctx.timeout and ctx.sleep, at their end", _REPLAY),
}  # fmt: skip


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a RECORD entry."""

    kind: str
    name: str = ""
    value: msgspec.Raw = msgspec.Raw()
    error: tuple[str, str] | None = None
    """(type, message) of a step that failed."""
    arguments: str = ""
    """Digest of the arguments of a step or a stream."""

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"{self.kind} {self.name!r}" if self.name else self.kind


decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode

_PREFIX = {kind: b'{"kind":"%b"' % kind.encode() for kind in RecordKind}
_RESTARTED = _PREFIX[RecordKind.RUN] + b',"name":"restart"'
_RESUMES = (_RESTARTED, *(_PREFIX[kind] for kind, row in TABLE.items() if row.resumes))


def record(kind: RecordKind, name: str = "", value: bytes = b"null", arguments: str = "") -> bytes:
    """Encode a record. ``value`` is JSON."""
    return _encode(Record(kind, name, msgspec.Raw(value), None, arguments))


def record_of(kind: RecordKind, value: Any, name: str = "") -> bytes:
    """Encode a record with a value that is not encoded yet."""
    return record(kind, name, _encode(value))


def failure(name: str, error: tuple[str, str], arguments: str = "") -> bytes:
    """Encode the record of a step that failed."""
    return _encode(Record(RecordKind.STEP, name, msgspec.Raw(b"null"), error, arguments))


def call_record(sender: Sender) -> bytes:
    """Encode what came with the message of a run."""
    return record_of(RecordKind.CALL, CallValue(sender.metadata, sender.activated, sender.skill))


DURABLE = record(RecordKind.DURABLE)
"""The record that a run's first step or stream has begun, whether or not it will be over."""


def is_kind(entry: Entry, *kinds: RecordKind) -> bool:
    """Whether an entry is a record of one of ``kinds``, told without decoding the record."""
    return entry.kind is Kind.RECORD and entry.body.startswith(
        tuple(_PREFIX[kind] for kind in kinds)
    )


def value_of(record: Record) -> Any:
    """Return the value of a record, typed by the table. Raises ``msgspec.ValidationError`` for a
    value of another type, which a runtime with other rules wrote."""
    return msgspec.json.decode(record.value, type=TABLE[RecordKind(record.kind)].value)


def resumes(entry: Entry) -> bool:
    """Whether the record in ``entry`` makes its run worth resuming by default."""
    return entry.body.startswith(_RESUMES)


__all__ = [
    "DURABLE", "TABLE", "Begun", "CallValue", "Cut", "Due", "Reached", "Record", "RecordKind",
    "RecordType", "call_record", "decode", "failure", "is_kind", "record", "record_of", "resumes",
    "value_of",
]  # fmt: skip
