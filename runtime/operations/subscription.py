"""A reader of one task: the task as of a generation, then every event after it (section 3.1.6)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...protocol.errors import UnavailableError
from ...protocol.frame import Frame
from ...protocol.types import SendMessageConfiguration, StreamResponse, Task
from ..actor.actor import Actor
from ..actor.system import System
from ..call import Call
from ..journal.feed import Subscription
from ..journal.fold import rewind
from ..journal.store import StoreError

PAGE_EVENTS = 256
"""Events read at once for a reader that catches up."""


def shown_history(system: System, configuration: SendMessageConfiguration | None) -> int | None:
    """How many messages to show (section 3.2.4)."""
    if configuration is None or configuration.history_length is None:
        return system.settings.history_limit
    return configuration.history_length


async def open_stream(
    system: System,
    actor: Actor,
    call: Call,
    *,
    history: int | None,
    sending: bool = False,
    first: Frame | None = None,
) -> Subscription:
    """Open a reader on a task: a snapshot as of n, then n+1, n+2 … (none twice, none missing).

    With ``call.last_event_id`` n is that; a cursor outside what is kept gets the present.
    """
    scope, task_id = actor.scope, actor.id
    journal = system.stored_journal

    async def catchup(cursor: int) -> Sequence[Frame] | None:
        try:
            page = await journal.events(scope, task_id, after=cursor, limit=PAGE_EVENTS)
        except StoreError as error:
            raise UnavailableError("The store failed. Come back.") from error
        if page is None or cursor < page.header.floor:
            return None
        return [Frame(generation, json=body) for generation, body in page.events]

    async def snapshot() -> Frame | None:
        task, generation = await actor.task(history)
        return task_frame(task, generation)

    reset = False
    cursor = call.last_event_id
    if first is None:
        if cursor is not None:
            first = await _as_of(system, actor, cursor, history)
        reset = cursor is not None and first is None
        if first is None:
            first = await snapshot()
    assert first is not None
    actor.hold()

    def release() -> None:
        actor.release()
        system.notify_drain()

    stream = Subscription(
        actor.feed, first, cursor=first.generation, sending=sending,
        catchup=catchup, resync=snapshot, release=release,
    )  # fmt: skip
    stream.reset = reset
    stream.task_id = actor.id
    return stream


async def _as_of(system: System, actor: Actor, cursor: int, history: int | None) -> Frame | None:
    """The task as it was at a generation (for ``Last-Event-ID``); ``None`` if nobody can tell."""
    assert actor.committed is not None
    if cursor == actor.committed.generation:
        task, generation = await actor.task(history)
        if generation == cursor:
            return task_frame(task, generation)
    tasks = system.stored_tasks
    past = await tasks.as_of(actor.scope, actor.id, cursor)
    return None if past is None else task_frame(rewind(past), cursor)


def task_frame(task: Task, generation: int) -> Frame:
    return Frame(generation, response=StreamResponse(task=task))


def with_generation(task: Task, generation: int, call: Call) -> Task:
    """Add what 1.1 shows; under other versions nothing of it is sent."""
    if call.version != "1.1":
        return task
    return msgspec.structs.replace(task, generation=generation)
