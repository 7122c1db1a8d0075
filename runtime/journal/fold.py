"""The task is the fold of its journal: one reducer for live tasks, reads, replay and clients.

Folding an artifact event is O(its own parts): chunks are appended to lists that belong to the fold.
Segments are runs of events already joined; their parts stay encoded bytes while they are only
copied from store to store, and become Structs when somebody reads the task.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...protocol.types import (
    Artifact,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
)
from .clock import wire_time
from .entries import Header, Snapshot

_status = msgspec.json.Decoder(TaskStatus)
_message = msgspec.json.Decoder(Message)
_response = msgspec.json.Decoder(StreamResponse)
_metadata = msgspec.json.Decoder(dict[str, object])
_encode = msgspec.json.Encoder().encode


BLOCKED = "greenroom/blocked"
"""In the metadata of a task, and of the event that tells of it: why replay cannot go on."""
SEAL = [Part(text="")]
"""What closes an artifact when there is nothing more to say: parts may not be empty (5.7)."""


def _seals(event: TaskArtifactUpdateEvent | Line) -> bool:
    artifact = event.artifact
    return event.append and event.last_chunk and artifact is not None and artifact.parts == SEAL


class Line(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """Of a segment: neighbouring chunks of one artifact, or the last status that it covers."""

    artifact: Artifact | None = None
    append: bool = False
    last_chunk: bool = False
    status: msgspec.Raw = msgspec.Raw()
    """JSON of a ``TaskStatus``: without it a task whose older events are gone could not be shown
    as it was."""


lines_of = msgspec.json.Decoder(list[Line]).decode
"""What a segment consists of."""


class Artifacts:
    """The artifacts of one task while events are folded into them."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        # id -> (first event's artifact, own list of parts)
        self._items: dict[str, tuple[Artifact, list[Part]]] = {}

    def apply(self, event: TaskArtifactUpdateEvent | Line) -> None:
        """Fold one event. An append to an artifact not seen begins it (section 4.2.2)."""
        new = event.artifact
        if new is None:
            return
        if event.append:
            known = self._items.get(new.artifact_id)
            if known is not None:
                if not _seals(event):
                    known[1].extend(new.parts)
                return
        self._items[new.artifact_id] = (new, list(new.parts))

    def apply_all(self, events: Iterable[TaskArtifactUpdateEvent | Line]) -> None:
        for event in events:
            self.apply(event)

    def result(self) -> list[Artifact] | None:
        """The artifacts as they are now, in the order in which they first came."""
        if not self._items:
            return None
        return [
            first
            if len(parts) == len(first.parts)
            else msgspec.structs.replace(first, parts=parts.copy())
            for first, parts in self._items.values()
        ]


def join(events: Iterable[StreamResponse]) -> bytes:
    """Encode a segment: neighbouring chunks of one artifact become one, of statuses the last
    counts."""
    joined: list[Line] = []
    parts: list[Part] = []
    status: TaskStatus | None = None
    for response in events:
        if response.status_update is not None:
            status = response.status_update.status
        event = response.artifact_update
        if event is None:
            continue
        last = joined[-1].artifact if joined else None
        if (
            last is not None
            and event.append
            and last.artifact_id == event.artifact.artifact_id
            and not _seals(joined[-1])  # it adds nothing, which what it was joined with would
        ):
            if not _seals(event):
                parts.extend(event.artifact.parts)
            continue
        parts = list(event.artifact.parts)
        artifact = msgspec.structs.replace(event.artifact, parts=parts)
        joined.append(Line(artifact, event.append, event.last_chunk))
    if status is not None:
        joined.append(Line(status=msgspec.Raw(_encode(status))))
    return _encode(joined)


def rewind(past: Snapshot) -> Task:
    """Build the task as it was (``Store.as_of``). Without history."""
    folded = Artifacts()
    status = TaskStatus(state=TaskState.SUBMITTED, timestamp=wire_time(past.header.created_at))
    for segment in past.segments:
        for line in lines_of(segment):
            folded.apply(line)
            if line.artifact is None:
                status = _status.decode(line.status)
    for body in past.events:
        response = _response.decode(body)
        if response.artifact_update is not None:
            folded.apply(response.artifact_update)
        elif response.status_update is not None:
            status = response.status_update.status
    header = past.header
    return Task(
        id=header.id,
        context_id=header.context_id,
        status=status,
        artifacts=folded.result(),
        metadata=_metadata.decode(header.metadata) if header.metadata else None,
    )


def artifacts_of(snapshot: Snapshot) -> Artifacts:
    """Fold the artifacts of a snapshot."""
    folded = Artifacts()
    for segment in snapshot.segments:
        folded.apply_all(lines_of(segment))
    for body in snapshot.events:
        if body.startswith(b'{"artifactUpdate"'):
            event = _response.decode(body).artifact_update
            assert event is not None
            folded.apply(event)
    return folded


def task_of(snapshot: Snapshot, *, artifacts: bool = True) -> Task:
    """Build the task that a snapshot shows. ``history`` is ``None`` when no message was read."""
    folded = artifacts_of(snapshot) if artifacts else Artifacts()
    return task_from(
        snapshot.header,
        folded.result(),
        [_message.decode(body) for body in snapshot.messages] or None,
    )


def task_from(
    header: Header, artifacts: list[Artifact] | None, history: list[Message] | None
) -> Task:
    """Build a task from its header and what was folded beside it."""
    metadata = _metadata.decode(header.metadata) if header.metadata else None
    if header.blocked:
        metadata = {**(metadata or {}), BLOCKED: header.why_blocked}
    return Task(
        id=header.id,
        context_id=header.context_id,
        status=_status.decode(header.status),
        artifacts=artifacts,
        history=history,
        metadata=metadata,
    )
