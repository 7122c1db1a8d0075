"""A task as its client knows it: the fold of the events and snapshots that came.

Events are folded as the server folds them (section 4.2.2). A snapshot, which the first event of a
stream and every ``GetTask`` is, replaces what was known. ``apply`` returns what is new in it as
events: whoever folds all events that ``apply`` returned has the same task, whether the stream was
cut or not, and no event comes twice.

Folding an event costs its own parts, whatever the size of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec import UNSET, structs

from ....protocol.types import (
    Artifact,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)

_SEAL = [Part(text="")]
"""What a server sends to close an artifact when there is nothing more to say."""


class Assembly:
    """One task, or the message that was the whole answer."""

    def __init__(self, task_id: str | None = None) -> None:
        """``task_id`` is known where the client subscribes to a task or answers it."""
        self.task_id = task_id
        self.context_id: str | None = None
        self.message: Message | None = None
        """A message that came instead of a task."""
        self.status: TaskStatus | None = None
        self._task: Task | None = None
        self._artifacts: dict[str, tuple[Artifact, list[Part]]] = {}

    @property
    def state(self) -> TaskState | None:
        """The last state that is known; ``None`` before one came."""
        return None if self.status is None else self.status.state

    @property
    def over(self) -> bool:
        """Whether nothing more can come: a message came, or the task is in a terminal state."""
        return self.message is not None or (self.status is not None and self.status.state.terminal)

    @property
    def task(self) -> Task | None:
        """The task as it is now; ``None`` before its state is known."""
        if self.task_id is None or self.status is None:
            return None
        artifacts = [
            structs.replace(first, parts=parts.copy()) for first, parts in self._artifacts.values()
        ]
        known = self._task
        return Task(
            id=self.task_id,
            context_id=self.context_id,
            status=self.status,
            artifacts=artifacts or None,
            history=None if known is None else known.history,
            metadata=None if known is None else known.metadata,
        )

    def apply(self, event: StreamResponse) -> list[StreamResponse]:
        """Fold ``event``; return what is new in it, as events."""
        if (update := event.artifact_update) is not None:
            self._ids(update.task_id, update.context_id)
            self._artifact(update)
        elif (status := event.status_update) is not None:
            self._ids(status.task_id, status.context_id)
            self.status = status.status
        elif event.task is not None:
            return self._snapshot(event.task)
        elif event.message is not None:
            self.message = event.message
        return [event]

    def _ids(self, task_id: str, context_id: str) -> None:
        self.task_id = task_id or self.task_id
        self.context_id = context_id or self.context_id

    def _artifact(self, update: TaskArtifactUpdateEvent) -> None:
        new = update.artifact
        known = self._artifacts.get(new.artifact_id) if update.append else None
        if known is None:
            self._artifacts[new.artifact_id] = (new, list(new.parts))
        elif not (update.last_chunk and new.parts == _SEAL):
            known[1].extend(new.parts)

    # --- snapshots --------------------------------------------------------------------------------

    def _snapshot(self, task: Task) -> list[StreamResponse]:
        self._ids(task.id, task.context_id or "")
        first = self.status is None and not self._artifacts
        news = [] if first else list(self._news(task))
        if self._task is not None:  # a snapshot without history does not say that there is none
            history = self._task.history if task.history is None else task.history
            task = structs.replace(task, history=history)
        self._task, self.status = task, task.status
        self._artifacts |= {one.artifact_id: (one, list(one.parts)) for one in task.artifacts or ()}
        return [StreamResponse(task=task)] if first else news

    def _news(self, task: Task) -> Sequence[StreamResponse]:
        """Return the events that lead from what is known to ``task``."""
        news: list[StreamResponse] = []
        context_id = task.context_id or ""
        for artifact in task.artifacts or ():
            update = self._difference(task.id, context_id, artifact)
            if update is not None:
                news.append(StreamResponse(artifact_update=update))
        if task.status != self.status:
            update_of_status = TaskStatusUpdateEvent(
                task_id=task.id, context_id=context_id, status=task.status
            )
            news.append(StreamResponse(status_update=update_of_status))
        return news

    def _difference(
        self, task_id: str, context_id: str, artifact: Artifact
    ) -> TaskArtifactUpdateEvent | None:
        known = self._artifacts.get(artifact.artifact_id)
        rest = None if known is None else _rest(known[1], artifact.parts)
        if rest == []:
            return None
        if rest is None:
            return TaskArtifactUpdateEvent(
                task_id=task_id, context_id=context_id, artifact=artifact
            )
        return TaskArtifactUpdateEvent(
            task_id=task_id,
            context_id=context_id,
            artifact=Artifact(artifact_id=artifact.artifact_id, parts=rest),
            append=True,
        )


def _rest(known: list[Part], parts: list[Part]) -> list[Part] | None:
    """Return what ``parts`` have beyond ``known``, ``None`` where they do not begin with it."""
    if known == parts[: len(known)]:
        return parts[len(known) :]
    # Some servers join the chunks of a text: the comparison is between joined texts then.
    before, after = _joined(known), _joined(parts)
    if not before or len(before) > len(after) or before[:-1] != after[: len(before) - 1]:
        return None
    last, there = before[-1], after[len(before) - 1]
    if last == there:
        return after[len(before) :]
    if not (_is_text(last) and _is_text(there)):
        return None
    begun, whole = last.text or "", there.text or ""
    if not whole.startswith(begun):
        return None
    return [Part(text=whole[len(begun) :]), *after[len(before) :]]


def _joined(parts: list[Part]) -> list[Part]:
    joined: list[Part] = []
    texts: list[str] = []
    for part, after in pairwise([*parts, None]):
        if part is None:
            break
        if not _is_text(part):
            joined.append(part)
            continue
        texts.append(part.text or "")
        if after is None or not _is_text(after):
            joined.append(Part(text="".join(texts)))
            texts = []
    return joined


def _is_text(part: Part) -> bool:
    """Whether ``part`` is text and nothing else."""
    return (
        part.text is not None
        and part.data is UNSET
        and part.metadata is None
        and part.media_type is None
        and part.filename is None
    )
