"""Artifacts in chunks: the writer, durable streams, and generator handlers."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any

import msgspec

from ...protocol.types import Artifact, Part, StreamResponse, TaskArtifactUpdateEvent
from .. import content as parts
from ..journal.entries import Entry, Kind
from ..journal.fold import SEAL
from ..journal.places import Place, inside
from .branch import Operation
from .run import Run

_response = msgspec.json.Decoder(StreamResponse)


class ArtifactWriter:
    """An artifact on its way out. Await it to deliver it whole, enter it to write chunks."""

    def __init__(self, run: Run, artifact: Artifact, content: Any = None) -> None:
        self._run = run
        self._artifact = artifact
        self._content = content
        self._used = False
        self._operation: Operation | None = None
        self._branch = ""
        """Of its chunks."""
        self._events = 0
        self._begun = False
        """There is something to append to."""
        self._committed: list[Part] = []
        """On replay: what the artifact was …"""
        self._replayed = 0
        """… and how many of those parts were written again. More differ, if this is not all."""
        self._sealed = False
        self._halves = parts.Halves()

    def __del__(self) -> None:
        if self._content is not None and not self._used:
            # As Python says of coroutines; without it the artifact would be lost in silence.
            warnings.warn(
                f"ctx.artifact({self._artifact.artifact_id!r}) was never awaited: "
                f"nothing was delivered",
                RuntimeWarning,
                stacklevel=2,
            )

    # --- whole ----------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Artifact]:
        return self.deliver().__await__()

    async def deliver(self) -> Artifact:
        """Deliver the artifact whole and return it."""
        self._used = True
        run = self._run
        artifact = self._artifact
        if not isinstance(self._content, Artifact):
            content = "" if self._content is None else self._content
            artifact = msgspec.structs.replace(artifact, parts=parts.parts_of(content))
        artifact = parts.whole(artifact)
        operation = run.begin()
        if not run.replays(operation.place, "an artifact"):
            if not run.at_new_ground(operation):
                await run.new_ground(operation, waits=False)
            self._emit(artifact, operation.place, append=False, last=True)
            if run.full:
                await run.room()
        else:
            await run.found(operation, operation.place)
        operation.over()
        return artifact

    # --- in chunks ------------------------------------------------------------------------------

    async def __aenter__(self) -> ArtifactWriter:
        self._enter()
        return self

    def _enter(self) -> None:
        """Take the place of the operation, and what is recorded of it."""
        self._used = True
        run = self._run
        operation = run.begin()
        self._operation = operation
        self._branch = inside(operation.place)
        for entry in run.replay.chunks(operation.place):
            event = artifact_event(run, operation.place, entry, self._artifact.artifact_id)
            self._events += 1
            if not event.append:
                self._committed.clear()
            if not (event.last_chunk and event.artifact.parts == SEAL):
                self._committed.extend(event.artifact.parts)
            self._sealed = event.last_chunk
        operation.over()

    async def write(self, content: parts.Content) -> None:
        """Append a chunk. Waits only while too much of this task is still uncommitted.

        On replay, chunks that are the same are not sent again; the first that differs replaces
        what was streamed of this artifact, unless that was whole, and what follows is appended.
        """
        chunk = self._halves.join(parts.parts_of(content))
        if not chunk:
            return
        if self._operation is None:
            self._enter()
        assert self._operation is not None
        run = self._run
        run.check_alone()
        if self._sealed or (self._committed and self._written_again(chunk)):
            return
        if not run.at_new_ground(self._operation):
            await run.new_ground(self._operation, waits=False)
        run.check_length()
        if self._replayed < len(self._committed):
            # What the model says now is not what it said then: start the artifact over.
            self._replace([*self._committed[: self._replayed], *chunk])
        elif self._begun:
            artifact = Artifact(artifact_id=self._artifact.artifact_id, parts=chunk)
            self._chunk(artifact, append=True)
        else:
            self._chunk(msgspec.structs.replace(self._artifact, parts=chunk), append=False)
        if run.full:
            await run.room()

    def _written_again(self, chunk: list[Part]) -> bool:
        """Whether ``chunk`` is what follows in what is recorded; then it is taken as found."""
        upto = self._replayed + len(chunk)
        if self._committed[self._replayed : upto] != chunk:
            return False
        self._replayed = upto
        self._begun = True
        return True

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if rest := self._halves.rest():
            await self.write(rest)
        self._run.check_alone()
        if self._sealed:
            return
        if self._replayed < len(self._committed):
            self._replace(self._committed[: self._replayed] or SEAL, last=True)
        elif self._begun:
            artifact = Artifact(artifact_id=self._artifact.artifact_id, parts=SEAL)
            self._chunk(artifact, append=True, last=True)

    def _replace(self, parts: list[Part], *, last: bool = False) -> None:
        self._committed = []
        self._replayed = 0
        artifact = msgspec.structs.replace(self._artifact, parts=parts)
        self._chunk(artifact, append=False, last=last)

    def _chunk(self, artifact: Artifact, *, append: bool, last: bool = False) -> None:
        self._events += 1
        self._emit(artifact, Place(self._branch, self._events), append=append, last=last)
        self._begun = True

    def _emit(self, artifact: Artifact, place: Place, *, append: bool, last: bool = False) -> None:
        actor = self._run.actor
        actor.add_artifact(
            TaskArtifactUpdateEvent(
                task_id=actor.id,
                context_id=actor.context_id,
                artifact=artifact,
                append=append,
                last_chunk=last,
            ),
            place,
        )


def artifact_event(
    run: Run, place: Place, entry: Entry, artifact_id: str
) -> TaskArtifactUpdateEvent:
    """Return the chunk in an entry below ``place``; raises ``ReplayMismatch`` if it is of something
    else."""
    event = _response.decode(entry.body).artifact_update if entry.kind is Kind.EVENT else None
    if event is None or event.artifact.artifact_id != artifact_id:
        what = "a question" if event is None else f"artifact {event.artifact.artifact_id!r}"
        raise run.replay.mismatch(place, what, f"artifact {artifact_id!r}")
    return event
