"""An orderly end: what works may finish and be heard, what waits is left to the next process."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from ..actor.actor import Actor
from ..actor.cancellation import Reason
from ..actor.system import System
from ..journal.feed import Stream


async def drain(system: System, streams: Iterable[Stream], grace: float) -> None:
    """Let handlers end within ``grace`` seconds, and the streams of their tasks with them.

    Streams of tasks that wait are sent away at once, those of tasks that end are read to their
    last event, and what is still open at the end of the grace is sent away then. What has not
    ended is cancelled with the reason *shutdown* and stays resumable in the store. Returns when
    everything accepted is committed.
    """
    with anyio.move_on_after(grace):
        await _finish(system, streams)
    for stream in list(streams):
        stream.end(retry=True)
    for actor in list(system.actors.values()):
        if actor.execution is not None:
            actor.execution.cancel(Reason.SHUTDOWN)
    with anyio.move_on_after(max(1.0, grace)):
        await system.until_quiet()
        await _settle(system)
    for actor in list(system.actors.values()):
        actor.rest()


async def _finish(system: System, streams: Iterable[Stream]) -> None:
    """Return when no handler is at work and every stream has ended or was sent away."""
    while True:
        for actor in list(system.actors.values()):
            if actor.execution is not None and actor.execution.asleep:
                # What it waits for does not come any more.
                actor.execution.cancel(Reason.SHUTDOWN)
        await _settle(system)
        for stream in list(streams):
            waiting = system.actors.get(stream.task_id)
            if waiting is not None and _idle(waiting):
                stream.end(retry=True)
        if not system.running and all(stream.ending for stream in streams):
            return
        await system.stirred()


async def _settle(system: System) -> None:
    """Wait until nothing is left to commit but what handlers still write."""
    await system.journal.caught_up()
    while any(actor.unwritten and actor.execution is None for actor in system.actors.values()):
        await system.journal.caught_up()


def _idle(actor: Actor) -> bool:
    """Whether nothing will come of a task here: no handler, and nothing to commit."""
    return actor.execution is None and not actor.unwritten
