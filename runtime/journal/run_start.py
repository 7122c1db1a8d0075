"""What the entries of a run tell before anybody runs it again: its start, and its open question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ...protocol.types import Message, Role, StreamResponse
from ..call import Principal, Sender
from .entries import Entry, Kind
from .places import Place, inside, of_operation
from .records import CallValue, Due, RecordKind, decode, is_kind, resumes, value_of

_decode_message = msgspec.json.Decoder(Message).decode
_decode_response = msgspec.json.Decoder(StreamResponse).decode
_STATUS = b'{"statusUpdate"'
"""How the body of a status event begins."""


class Start(msgspec.Struct):
    """What a run began with."""

    message: Message
    state: Any = None
    """What ``ctx.restart`` handed over."""
    unread: list[tuple[int, Message]] = []
    """Messages accepted that no operation has read, with their sequences."""
    metadata: dict[str, Any] | None = None
    """Metadata of the request. It may have chosen the skill."""
    activated: tuple[str, ...] = ()
    skill: str | None = None
    """Skill of the task, where no metadata chose one."""

    def sender(self, principal: Principal | None = None) -> Sender:
        """Return what the handler may know of the sender of the message; the journal does not keep
        the ``principal``."""
        return Sender(principal, self.activated, self.metadata, self.skill)


def start_of(entries: Sequence[Entry], *, afresh: bool = False) -> Start:
    """Return what a run began with, and the messages of the run that no operation has read.

    With ``afresh`` also those that ``ctx.receive`` has read: the run begins once more, and asks its
    questions again. Raises ``ValueError`` if the entries do not say what the run began with.
    """
    readers = (RecordKind.ANSWER,) if afresh else (RecordKind.ANSWER, RecordKind.RECEIVE)
    message: Message | None = None
    state: Any = None
    earlier: list[tuple[int, Message]] = []
    call = CallValue()
    read: set[int] = set()
    later: list[tuple[int, Message]] = []
    for entry in entries:
        if entry.kind is Kind.MESSAGE:
            if message is None:
                message = _decode_message(entry.body)
            elif b'"ROLE_USER"' in entry.body:
                accepted = _decode_message(entry.body)
                if accepted.role is Role.USER:
                    later.append((entry.sequence, accepted))
        # Only few records matter here; the others are not decoded.
        elif is_kind(entry, *readers):
            read.add(value_of(decode(entry.body)))
        elif message is None and is_kind(entry, RecordKind.RUN):
            begun = value_of(decode(entry.body))
            message, state, earlier = begun.message, begun.state, begun.unread
        elif is_kind(entry, RecordKind.CALL):
            call = value_of(decode(entry.body))
    if message is None:
        raise ValueError("the journal of the run does not say what the run began with")
    unread = [item for item in (*earlier, *later) if item[0] not in read]
    return Start(message, state, unread, call.metadata, call.activated, call.skill)


def open_ask(entries: Sequence[Entry]) -> Place | None:
    """Return where the answer belongs, if a question of the run is open."""
    entry = _interruption(entries)
    question = None if entry is None else _question(entry)
    return None if question is None else Place(question.branch, question.ordinal + 1)


def suspended(entries: Sequence[Entry]) -> bool:
    """Whether the handler itself interrupted the task and would go on with its run."""
    question = _interruption(entries)
    return question is not None and question.ordinal > 0


def overdue(entries: Iterable[Entry], now: float) -> bool:
    """Whether a sleep or a time-out of the run was due at ``now``, and its end is not recorded."""
    due: set[str] = set()
    for entry in entries:
        if is_kind(entry, RecordKind.SLEEP, RecordKind.TIMEOUT):
            with suppress(msgspec.ValidationError):  # of an earlier format: replay will say so
                value = value_of(decode(entry.body))
                if isinstance(value, Due) and value.at <= now:
                    due.add(inside(Place(entry.branch, entry.ordinal)))
        elif is_kind(entry, RecordKind.END, RecordKind.CUT):
            due.discard(entry.branch)
    return bool(due)


def durable(entries: Iterable[Entry]) -> bool:
    """Whether a run has a step, a question, a stream or a sleep, or was begun by ``ctx.restart``:
    by default it is resumed then."""
    return any(
        resumes(entry)
        if entry.kind is Kind.RECORD
        else entry.ordinal > 0
        and of_operation(entry.branch) is not None
        and entry.body.startswith(_STATUS)
        for entry in entries
    )


def _interruption(entries: Sequence[Entry]) -> Entry | None:
    """Return the event of the run that asks for something, if nothing answered or withdrew it."""
    answered: set[Place | None] = set()
    for entry in reversed(entries):
        if is_kind(entry, RecordKind.ANSWER):
            answered.add(Place(entry.branch, entry.ordinal - 1))
        elif entry.kind is Kind.EVENT and entry.body.startswith(_STATUS):
            update = _decode_response(entry.body).status_update
            if update is not None and update.status.state.interrupted:
                return None if _question(entry) in answered else entry
            if not entry.ordinal:
                return None  # said by the runtime: the question was answered or withdrawn
    return None


def _question(entry: Entry) -> Place | None:
    """Return the place of the question that an event asks, or asks again (below its place)."""
    operation = of_operation(entry.branch)
    if operation is None:
        return None
    if of_operation(operation.branch) is not None:
        return operation
    return Place(entry.branch, entry.ordinal)


__all__ = ["Start", "durable", "open_ask", "overdue", "start_of", "suspended"]
