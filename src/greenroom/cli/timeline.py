"""A task's journal in lines: what ``greenroom tasks show`` prints for each entry."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..protocol.types import Message, Part, StreamResponse, TaskState
from ..runtime.journal.entries import Entry, Kind
from ..runtime.journal.records import decode as _record

_WIDTH = 100
"""Characters of a text, a chunk or a value that are shown."""

_message = msgspec.json.Decoder(Message).decode
_event = msgspec.json.Decoder(StreamResponse).decode


def timeline(entry: Entry) -> str:
    """``sequence  generation  place  what``."""
    generation = f"g{entry.generation}" if entry.generation else ""
    place = f"{entry.branch or '/'}:{entry.ordinal}" if entry.ordinal else ""
    return f"{entry.sequence:>6}  {generation:<6}  {place:<12}  {_what(entry)}".rstrip()


def _what(entry: Entry) -> str:
    if entry.kind is Kind.MESSAGE:
        message = _message(entry.body)
        who = "client" if message.role.name == "USER" else "agent"
        return f"{who} says: {short(texts(message.parts))}"
    if entry.kind is Kind.RECORD:
        record = _record(entry.body)
        name = f"{record.kind} {record.name}".rstrip()
        if record.error is not None:
            return f"{name} failed: {short(': '.join(record.error))}"
        value = bytes(record.value).decode()
        return name if value in ("", "null") else f"{name} = {short(value)}"
    event = _event(entry.body)
    if event.artifact_update is not None:
        update = event.artifact_update
        how = "more of" if update.append else "artifact"
        last = ", the last" if update.last_chunk else ""
        text = short(texts(update.artifact.parts))
        return f"{how} {update.artifact.artifact_id}{last}: {text}".rstrip(": ")
    assert event.status_update is not None
    status = event.status_update.status
    said = f": {short(texts(status.message.parts))}" if status.message is not None else ""
    return f"{status.timestamp}  {word(status.state)}{said}"


def texts(parts: list[Part]) -> str:
    return " ".join(_words(parts))


def _words(parts: list[Part]) -> Iterator[str]:
    for part in parts:
        if part.text is not None:
            yield part.text
        elif part.data is not msgspec.UNSET:
            yield msgspec.json.encode(part.data).decode()
        else:
            yield f"[{part.filename or part.media_type or 'file'}]"


def short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def word(state: TaskState) -> str:
    """Return the name of a state as the commands write it."""
    return state.name.lower().replace("_", "-")
