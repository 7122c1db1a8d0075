"""The task is the fold of its journal: one reducer for live tasks, reads, replay and clients.

Folding an artifact event is O(its own parts): chunks are appended to lists that belong to the fold.
Segments are runs of artifact events already joined; their parts stay encoded bytes while they are
only copied from store to store, and become Structs when somebody reads the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ..protocol.types import (
    Artifact,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
)
from .ports import Header, Snapshot

_status = msgspec.json.Decoder(TaskStatus)
_message = msgspec.json.Decoder(Message)
_response = msgspec.json.Decoder(StreamResponse)
_segment = msgspec.json.Decoder(list[TaskArtifactUpdateEvent])
_metadata = msgspec.json.Decoder(dict[str, object])
_encode = msgspec.json.Encoder().encode


SEAL = [Part(text="")]
"""What closes an artifact when there is nothing more to say: parts may not be empty (5.7)."""


def _seals(event: TaskArtifactUpdateEvent) -> bool:
    return event.append and event.last_chunk and event.artifact.parts == SEAL


class Artifacts:
    """The artifacts of one task while events are folded into them."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        # id -> (first event's artifact, own list of parts)
        self._items: dict[str, tuple[Artifact, list[Part]]] = {}

    def apply(self, event: TaskArtifactUpdateEvent) -> None:
        """Fold one event. An append to an artifact not seen begins it (section 4.2.2)."""
        new = event.artifact
        if event.append:
            known = self._items.get(new.artifact_id)
            if known is not None:
                if not _seals(event):
                    known[1].extend(new.parts)
                return
        self._items[new.artifact_id] = (new, list(new.parts))

    def apply_all(self, events: Iterable[TaskArtifactUpdateEvent]) -> None:
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


def join(events: Sequence[TaskArtifactUpdateEvent]) -> bytes:
    """Encode a segment: neighbouring chunks of one artifact become one event."""
    joined: list[TaskArtifactUpdateEvent] = []
    parts: list[Part] = []
    for event in events:
        last = joined[-1] if joined else None
        if (
            last is not None
            and event.append
            and last.artifact.artifact_id == event.artifact.artifact_id
            and not _seals(last)  # it adds nothing, which what it was joined with would
        ):
            if not _seals(event):
                parts.extend(event.artifact.parts)
            continue
        parts = list(event.artifact.parts)
        joined.append(
            msgspec.structs.replace(
                event, artifact=msgspec.structs.replace(event.artifact, parts=parts)
            )
        )
    return _encode(joined)


def rewind(header: Header, events: Iterable[tuple[int, bytes]]) -> Task:
    """Build the task as it was after ``events``, its first ones. Without history."""
    folded = Artifacts()
    status = TaskStatus(state=TaskState.SUBMITTED)
    for _, body in events:
        response = _response.decode(body)
        if response.artifact_update is not None:
            folded.apply(response.artifact_update)
        elif response.status_update is not None:
            status = response.status_update.status
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
        folded.apply_all(_segment.decode(segment))
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
    return Task(
        id=header.id,
        context_id=header.context_id,
        status=_status.decode(header.status),
        artifacts=artifacts,
        history=history,
        metadata=_metadata.decode(header.metadata) if header.metadata else None,
    )
