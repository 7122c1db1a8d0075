"""Results: what became of a task or a message, for programs that did not stay to hear it."""

from __future__ import annotations

import anyio
import msgspec

from ...protocol.errors import TaskNotFoundError
from ...protocol.types import Message, Task
from ..actor.directory import Directory
from ..call import TaskScope
from ..contexts.contexts import Contexts, NotOverError
from ..journal.fold import task_of
from ..journal.store import Sends, Tasks
from .idempotency import key_begin

_decode_message = msgspec.json.Decoder(Message).decode


class Results:
    """``runtime.results``. A scope is (tenant, slug of the agent, owner).

    Nobody has to put one there: it is committed with what it is the result of. A task's result is
    kept as long as the task (``task_retention``, or until ``delete``). Messages are known by their
    ids for ``send_retention``.
    """

    def __init__(
        self, tasks: Tasks, sends: Sends, directory: Directory, contexts: Contexts
    ) -> None:
        self._tasks = tasks
        self._sends = sends
        self._directory = directory
        self._contexts = contexts

    async def by_task(
        self, scope: TaskScope, task_id: str, *, history: int | None = 0, wait: float = 0.0
    ) -> Task | None:
        """Read a task with its artifacts as it is committed, after up to ``wait`` seconds for its
        end. ``history`` is how many messages (``None``: all). ``None``: there is no such task."""
        if wait > 0:
            await self._end(scope, task_id, wait)
        snapshot = await self._tasks.snapshot(scope, task_id, history=history)
        return None if snapshot is None else task_of(snapshot)

    async def by_message(
        self, scope: TaskScope, message_id: str, *, history: int | None = 0, wait: float = 0.0
    ) -> Task | Message | None:
        """The task that a message began or went on with, or the Message that answered it.

        ``None``: no such message was accepted from the scope, or it is forgotten, or nobody knows
        whose it was: of anonymous callers only messages with ids like UUIDs are known. Of several
        sends with one id (their contents differ) the newest counts.
        """
        beginning_so = await self._sends.sends(scope, key_begin(message_id))
        sends = [send for send in beginning_so if send.message_id == message_id]
        if not sends:
            return None
        send = sends[-1]
        if send.message is not None:
            return _decode_message(send.message)
        return await self.by_task(scope, send.task_id, history=history, wait=wait)

    async def delete(self, scope: TaskScope, task_id: str) -> bool:
        """Delete a finished task with all that is its own: history, artifacts, events, journal;
        pinned contexts do not keep it. ``False``: there is no such task. Raises ``NotOverError``.

        That its messages were accepted is remembered (``send_retention``): repeated, they do not
        do the work again, but find no task.
        """
        header = await self._tasks.delete_task(scope, task_id)
        if header is None:
            return False
        if not header.state.terminal:
            raise NotOverError(f"task {task_id} is not over: cancel it first")
        await self._contexts.lost(header)
        return True

    async def _end(self, scope: TaskScope, task_id: str, seconds: float) -> None:
        try:
            actor = await self._directory.activate(scope, task_id)
        except TaskNotFoundError:
            return
        actor.hold()
        try:
            with anyio.move_on_after(seconds):
                while not actor.feed.closed:
                    await actor.feed.signal.wait()
        finally:
            actor.release()
