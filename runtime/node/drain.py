"""An orderly end: what works may finish and be heard, what waits is left to the next process."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from ..actor.cancellation import Reason
from ..actor.directory import Directory
from ..actor.system import System
from ..journal.feed import Subscription


async def drain(
    system: System, directory: Directory, streams: Iterable[Subscription], grace: float
) -> None:
    """Let handlers end within ``grace`` seconds, and the streams of their tasks with them.

    Streams of tasks that wait are sent away at once, those of tasks that end are read to their
    last event, and what is still open at the end of the grace is sent away then. What has not
    ended is cancelled with the reason *shutdown* and stays resumable in the store. Returns when
    everything accepted is committed.
    """
    with anyio.move_on_after(grace):
        await _finish(system, directory, streams)
    for stream in list(streams):
        stream.end(retry=True)
    directory.cancel(Reason.SHUTDOWN)
    with anyio.move_on_after(max(1.0, grace)):
        await system.until_quiet()
        await _settle(system, directory)
    directory.rest()


async def _finish(system: System, directory: Directory, streams: Iterable[Subscription]) -> None:
    """Return when no handler is at work and every stream has ended or was sent away."""
    while True:
        directory.cancel(Reason.SHUTDOWN, asleep=True)  # what they wait for does not come any more
        await _settle(system, directory)
        for stream in list(streams):
            if directory.idle(stream.task_id):
                stream.end(retry=True)
        if not system.running and all(stream.ending for stream in streams):
            return
        await system.drain_notified()


async def _settle(system: System, directory: Directory) -> None:
    """Wait until nothing is left to commit but what handlers still write."""
    await system.journal.caught_up()
    while directory.writing:
        await system.journal.caught_up()
