"""What a configuration is told next: one event of its task, some merged into one, or the task.

A reader of 1.0 gets a ``StreamResponse`` for each event, a reader of 0.3 the ``Task`` as it was
after a status event. Chunks that wait may leave as one event; how many did is written down before
they leave (``Next.merged``), so that a repeat has the same content under the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec
from msgspec import Struct, structs

from ...protocol.codecs import codec_for
from ...protocol.frame import Frame
from ...protocol.operations import GET_TASK
from ...protocol.types import StreamResponse, Task, TaskArtifactUpdateEvent
from ...protocol.version import V03, V10, V11
from ...protocol.webhooks import CONTENT_TYPE
from ..call import TaskScope
from ..journal.entries import EventPage, PushRow
from ..journal.fold import SEAL, rewind, task_of
from ..journal.store import Journal, Tasks
from .records import Destination, Health

PAGE = 64
"""Events read at once."""
_MERGED_BYTES = 64 * 1024
"""How long a merged event may become."""
_STATUS = b'{"statusUpdate"'


class Next(Struct, frozen=True):
    """What comes next."""

    generation: int
    """The cursor once this was delivered."""
    body: bytes = b""
    """Empty: there is nothing to deliver up to ``generation``."""
    content_type: str = ""
    id: str = ""
    """The same for every attempt."""
    merged: bool = False
    """It holds more than one event: write down up to which, before it leaves."""
    last: bool = False
    """The task is over, and nothing follows."""


class Payloads:
    """Reads what comes next from the store."""

    def __init__(self, journal: Journal, tasks: Tasks, *, merge: bool) -> None:
        self._journal = journal
        self._tasks = tasks
        self._merge = merge

    async def next(self, row: PushRow, to: Destination, health: Health, after: int) -> Next | None:
        """Return what follows generation ``after``; ``None``: the task is gone."""
        page = await self._journal.events(row.scope, row.task_id, after=after, limit=PAGE)
        if page is None:
            return None
        if health.snapshot or after < page.header.floor:
            return await self._snapshot(row, to)
        wanted = _first(page.events, to)
        if wanted is None:
            end = page.events[-1][0] if page.events else after
            return Next(end, last=_ends(page, end))
        if to.version == V03:
            return await self._task_as_of(row, to, health, page)
        return self._event(row, to, health, page, wanted)

    # --- 1.0 ------------------------------------------------------------------------------------

    def _event(
        self, row: PushRow, to: Destination, health: Health, page: EventPage, wanted: int
    ) -> Next:
        generation, body = page.events[wanted]
        if to.version == V11:
            body = codec_for(V11).frame(Frame(generation, json=body))
        elif self._merge:
            chunks = merged(page.events[wanted:], upto=health.planned)
            if chunks is not None:
                body, end = chunks
                return self._made(row, to, page, end, body, merged=end > generation)
        return self._made(row, to, page, generation, body)

    # --- 0.3 ------------------------------------------------------------------------------------

    async def _task_as_of(
        self, row: PushRow, to: Destination, health: Health, page: EventPage
    ) -> Next:
        """The task after the first status event that is wanted, else after the newest event."""
        chosen_events = [
            generation
            for generation, body in page.events
            if body.startswith(_STATUS) and _wanted(body, to)
        ]
        chosen = chosen_events[0] if chosen_events else page.events[-1][0]
        if health.planned > row.generation:
            chosen = health.planned
        past = await self._tasks.as_of(row.scope, row.task_id, chosen)
        if past is None:
            return await self._snapshot(row, to) or Next(chosen)
        merged = chosen > row.generation + 1
        return self._made(row, to, page, chosen, _task_json(rewind(past), to), merged=merged)

    async def _snapshot(self, row: PushRow, to: Destination) -> Next | None:
        snapshot = await self._tasks.snapshot(row.scope, row.task_id, history=0)
        if snapshot is None:
            return None
        task = task_of(snapshot)
        header = snapshot.header
        page = EventPage(header)
        if to.version == V11:
            task = structs.replace(task, generation=header.generation)
        body = (
            _task_json(task, to)
            if to.version == V03
            else msgspec.json.encode(StreamResponse(task=task))
        )
        return self._made(row, to, page, header.generation, body, kind="task")

    @staticmethod
    def _made(
        row: PushRow,
        to: Destination,
        page: EventPage,
        generation: int,
        body: bytes,
        *,
        merged: bool = False,
        kind: str = "event",
    ) -> Next:
        return Next(
            generation,
            body,
            "application/json" if to.version == V03 else CONTENT_TYPE,
            delivery_id(row.scope, row.task_id, row.id, generation, kind),
            merged,
            _ends(page, generation),
        )


def delivery_id(scope: TaskScope, task_id: str, push_id: str, generation: int, kind: str) -> str:
    """Return the id of a delivery: known without being kept, and equal in every attempt."""
    name = msgspec.json.encode((*scope, task_id, push_id, generation, kind))
    return f"evt_{sha256(name).hexdigest()[:32]}"


def merged(events: Sequence[tuple[int, bytes]], upto: int = 0) -> tuple[bytes, int] | None:
    """Merge the chunks of one artifact at the beginning of ``events`` into one event.

    ``upto``: the last generation of a merge that was begun. Returns the event and the generation
    of its last chunk, or ``None`` where the first event is no chunk.
    """
    first = _chunk(events[0][1])
    if first is None:
        return None
    end, size, parts, last = events[0][0], len(events[0][1]), list(first.artifact.parts), first
    for generation, body in events[1:]:
        if (upto and generation > upto) or (not upto and size + len(body) > _MERGED_BYTES):
            break
        chunk = _chunk(body)
        if chunk is None or not _follows(last, chunk):
            break
        parts += chunk.artifact.parts
        end, size, last = generation, size + len(body), chunk
    if last is first:
        return events[0][1], end
    artifact = structs.replace(first.artifact, parts=parts)
    event = structs.replace(first, artifact=artifact, last_chunk=last.last_chunk)
    return msgspec.json.encode(StreamResponse(artifact_update=event)), end


_decode = msgspec.json.Decoder(StreamResponse).decode


def _chunk(body: bytes) -> TaskArtifactUpdateEvent | None:
    return None if body.startswith(_STATUS) else _decode(body).artifact_update


def _follows(one: TaskArtifactUpdateEvent, other: TaskArtifactUpdateEvent) -> bool:
    """Whether two chunks can be one without losing anything that is not a part."""
    if not other.append or one.last_chunk or other.metadata != one.metadata:
        return False
    bare = structs.replace(other.artifact, parts=one.artifact.parts)
    return bare == one.artifact and other.artifact.parts != SEAL


def _first(events: Sequence[tuple[int, bytes]], to: Destination) -> int | None:
    """Return the place of the first event that is wanted."""
    return next((at for at, (_, body) in enumerate(events) if _wanted(body, to)), None)


def _wanted(body: bytes, to: Destination) -> bool:
    if to.events == "all":
        return True
    if not body.startswith(_STATUS):
        return False
    if to.events == "status":
        return True
    update = _decode(body).status_update
    return update is not None and update.status.state.terminal


def _ends(page: EventPage, generation: int) -> bool:
    return page.header.state.terminal and generation >= page.header.generation


def _task_json(task: Task, to: Destination) -> bytes:
    version = V03 if to.version == V03 else V10
    return codec_for(version).encode(GET_TASK, task)
