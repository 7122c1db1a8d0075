"""What an actor shows of its task: the committed one, and the messages that a handler reads."""

from __future__ import annotations

from collections import deque

import msgspec

from ...protocol.errors import UnavailableError
from ...protocol.frame import Frame
from ...protocol.types import Message, StreamResponse, Task, TaskState, TaskStatus
from ..journal.fold import artifacts_of, task_from, task_of
from .waits import AwaitedState

_decode_message = msgspec.json.Decoder(Message).decode


class TaskView(AwaitedState):
    """The side of an actor that is looked at."""

    __slots__ = ()

    async def task(self, history: int | None) -> tuple[Task, int]:
        """The committed task and its generation; ``history`` messages of it (``None``: all)."""
        header = self.committed
        assert header is not None
        artifacts = self._artifacts
        if artifacts is not None and (self._messages is not None or history == 0):
            shown: list[Message] | None = None
            if history != 0:
                assert self._messages is not None
                shown = [m for s, m in self._messages if s <= header.sequence]
                if history is not None:
                    shown = shown[-history:]
            return task_from(header, artifacts.result(), shown or None), header.generation
        snapshot = await self.system.stored_tasks.snapshot(self.scope, self.id, history=history)
        if snapshot is None:
            raise UnavailableError("The task was removed meanwhile.")
        read = sum(map(len, snapshot.segments)) + sum(map(len, snapshot.events))
        if (
            read <= self.system.settings.tail_bytes
            and artifacts is None
            and self._artifact_bytes == 0
            and self.committed is header
            and snapshot.header.sequence == header.sequence
        ):
            self._artifacts = artifacts_of(snapshot)
            self._artifact_bytes = read
        return task_of(snapshot), snapshot.header.generation

    def born_frame(self, history: int | None) -> Frame:
        """The task as it was at its creation: what the stream of its first send begins with."""
        assert self._first is not None
        message, _ = self._first
        task = Task(
            id=self.id,
            context_id=self.context_id,
            status=TaskStatus(state=TaskState.SUBMITTED, timestamp=self._born_at),
            history=None if history == 0 else [message],
            metadata=msgspec.json.decode(self._metadata) if self._metadata else None,
        )
        return Frame(1, response=StreamResponse(task=task))

    def recent_messages(self) -> list[Message] | None:
        """All messages, oldest first, accepted ones included; ``None``: they are in the store."""
        if self._messages is None:
            return None
        return [message for _, message in self._messages] or (
            [self._first[0]] if self._first is not None else []
        )

    async def message_at(self, sequence: int) -> Message:
        """The message with this sequence."""
        for known, message in self.inbox:
            if known == sequence:
                return message
        journal = self.system.stored_journal
        rows = await journal.messages(self.scope, self.id, before=sequence + 1, limit=1)
        if not rows or rows[0][0] != sequence:
            raise UnavailableError("A message of this task was pruned; it cannot be replayed.")
        return _decode_message(rows[0][1])

    def forget_unread(self, sequence: int) -> None:
        """A message was read before a restart."""
        self.inbox = deque(item for item in self.inbox if item[0] != sequence)
