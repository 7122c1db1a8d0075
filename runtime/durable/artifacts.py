"""Artifacts in chunks: the writer, durable streams, and generator handlers."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from ...protocol.types import Artifact, Part, StreamResponse, TaskArtifactUpdateEvent
from ...protocol.values import mend
from .. import content as parts
from ..actor.actor import Op
from ..journal.entries import Entry, Kind
from ..journal.fold import SEAL
from .branch import Busy
from .replay import below, record
from .steps import check_function, running_step

if TYPE_CHECKING:
    from ..handler.context import TaskContext

_response = msgspec.json.Decoder(StreamResponse)


class ArtifactWriter:
    """An artifact on its way out. Await it to deliver it whole, enter it to write chunks."""

    def __init__(self, context: TaskContext, artifact: Artifact, content: Any = None) -> None:
        self._context = context
        self._artifact = artifact
        self._content = content
        self._used = False
        self._op: Op | None = None
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
        return self._whole().__await__()

    async def _whole(self) -> Artifact:
        self._used = True
        context = self._context
        artifact = self._artifact
        if not isinstance(self._content, Artifact):
            content = "" if self._content is None else self._content
            artifact = msgspec.structs.replace(artifact, parts=parts.parts_of(content))
        artifact = parts.whole(artifact)
        op = await context._begin(waits=False)
        if not context._replays(op, "an artifact"):
            self._emit(artifact, op, append=False, last=True)
            await context._room()
        return artifact

    # --- in chunks ------------------------------------------------------------------------------

    async def __aenter__(self) -> ArtifactWriter:
        await self._enter()
        return self

    async def _enter(self) -> Op:
        """Take the place of the operation, and what is recorded of it."""
        self._used = True
        context = self._context
        self._op = op = await context._begin(waits=False)
        for entry in context._ledger.chunks(op):
            event = _artifact_event(context, op, entry, self._artifact.artifact_id)
            self._events += 1
            if not event.append:
                self._committed.clear()
            if not (event.last_chunk and event.artifact.parts == SEAL):
                self._committed.extend(event.artifact.parts)
            self._sealed = event.last_chunk
        return op

    async def write(self, content: parts.Content) -> None:
        """Append a chunk. Waits only while too much of this task is still uncommitted.

        On replay, chunks that are the same are not sent again; the first that differs replaces
        what was streamed of this artifact, unless that was whole, and what follows is appended.
        """
        if chunk := self._halves.join(parts.parts_of(content)):
            await self._write(chunk)

    async def _write(self, chunk: list[Part]) -> None:
        if self._op is None:
            await self._enter()
        context = self._context
        branch = context._enter()
        if self._sealed:
            return
        upto = self._replayed + len(chunk)
        if self._committed[self._replayed : upto] == chunk:
            self._replayed = upto
            self._begun = True
            return
        if branch.cut:
            await branch.wait_for_the_cut()
        context._check_length()
        if self._replayed < len(self._committed):
            # What the model says now is not what it said then: start the artifact over.
            self._replace([*self._committed[: self._replayed], *chunk])
        elif self._begun:
            artifact = Artifact(artifact_id=self._artifact.artifact_id, parts=chunk)
            self._chunk(artifact, append=True)
        else:
            self._chunk(msgspec.structs.replace(self._artifact, parts=chunk), append=False)
        await context._room()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if rest := self._halves.rest():
            await self._write(rest)
        self._context._enter()
        if self._sealed:
            return
        if self._replayed < len(self._committed):
            self._replace(self._committed[: self._replayed] or SEAL, last=True)
        elif self._begun:
            artifact = Artifact(artifact_id=self._artifact.artifact_id, parts=SEAL)
            self._chunk(artifact, append=True, last=True)

    def _replace(self, found: list[Part], *, last: bool = False) -> None:
        self._committed = []
        self._replayed = 0
        artifact = msgspec.structs.replace(self._artifact, parts=found)
        self._chunk(artifact, append=False, last=last)

    def _chunk(self, artifact: Artifact, *, append: bool, last: bool = False) -> None:
        assert self._op is not None
        self._events += 1
        self._emit(artifact, Op(below(self._op), self._events), append=append, last=last)
        self._begun = True

    def _emit(self, artifact: Artifact, op: Op, *, append: bool, last: bool = False) -> None:
        actor = self._context._actor
        actor.add_artifact(
            TaskArtifactUpdateEvent(
                task_id=actor.id,
                context_id=actor.context_id,
                artifact=artifact,
                append=append,
                last_chunk=last,
            ),
            op,
        )


def _artifact_event(
    context: TaskContext, op: Op, entry: Entry, artifact_id: str
) -> TaskArtifactUpdateEvent:
    """The chunk in an entry below ``op``; raises ``ReplayMismatch`` if it is of something else."""
    event = _response.decode(entry.body).artifact_update if entry.kind is Kind.EVENT else None
    if event is None or event.artifact.artifact_id != artifact_id:
        what = "a question" if event is None else f"artifact {event.artifact.artifact_id!r}"
        raise context._ledger.mismatch(op, what, f"artifact {artifact_id!r}")
    return event


class StreamStep:
    """A step whose chunks are events of the artifact ``name``; ``done`` if replay has all of it.

    ``begin``; within ``busy`` ``ready``; within ``running`` ``write`` for each chunk; ``end``.
    """

    def __init__(self, context: TaskContext, name: str, on_restart: str) -> None:
        if on_restart not in ("again", "continue"):
            raise ValueError(f"on_restart is 'again' or 'continue', not {on_restart!r}")
        self._context = context
        self._name = name = mend(name)
        self._halves = parts.Halves()
        self._continues = on_restart == "continue"
        self._chunks = 0
        self._begun = False
        self._parts: list[Part] = []
        self.done = False
        self.keywords: dict[str, Any] = {}
        """What the generator is told beside its arguments."""

    @property
    def artifact(self) -> Artifact:
        return Artifact(artifact_id=self._name, name=self._name, parts=self._parts)

    async def begin(self) -> None:
        """Take the place of the operation, and what is recorded of it."""
        context = self._context
        self._branch = context._branch()
        self.busy = Busy(self._branch)
        self._op = op = await context._begin()
        self._inner = below(op)
        self.done = context._ledger.record(op, "stream", self._name) is not None
        committed: list[Part] = []
        for entry in context._ledger.below(op):
            self._chunks += 1
            event = _artifact_event(context, op, entry, self._name)
            if not event.append:
                committed.clear()
            if not (event.last_chunk and event.artifact.parts == SEAL):
                committed.extend(event.artifact.parts)
        if self.done:
            self._parts = committed
        elif self._chunks and self._continues:
            self.keywords = {"committed": list(committed)}
            self._parts = committed
            self._begun = True

    async def ready(self) -> None:
        """What happened before is durable before anything can happen outside."""
        self._context._execution.begins_durable()
        await self._context._actor.flushed()
        await self._context._actor.until_owned()

    def running(self) -> AbstractContextManager[None]:
        """Within it the generator may ask for its ``step_info``."""
        return running_step(self._context._actor, self._branch, self._op)

    async def write(self, content: parts.Content) -> None:
        if chunk := self._halves.join(parts.parts_of(content)):
            self._write(chunk)
            await self._context._room()

    def _write(self, chunk: list[Part]) -> None:
        if self._begun:
            self._emit(Artifact(artifact_id=self._name, parts=chunk))
        else:
            self._emit(Artifact(artifact_id=self._name, name=self._name, parts=chunk))
        self._parts.extend(chunk)

    def end(self) -> None:
        """It is whole: never to be called again."""
        if rest := self._halves.rest():
            self._write(rest)
        if self._begun:
            self._emit(Artifact(artifact_id=self._name, parts=SEAL), last=True)
        elif self._chunks:  # of an earlier attempt; this one had nothing to say
            self._emit(Artifact(artifact_id=self._name, name=self._name, parts=SEAL), last=True)
        self._context._actor.record(self._op, record("stream", self._name))

    def _emit(self, artifact: Artifact, *, last: bool = False) -> None:
        actor = self._context._actor
        self._chunks += 1
        actor.add_artifact(
            TaskArtifactUpdateEvent(
                task_id=actor.id, context_id=actor.context_id,
                artifact=artifact, append=self._begun, last_chunk=last,
            ),
            Op(self._inner, self._chunks),
        )  # fmt: skip
        self._begun = True


def check_generator(generator: Any) -> None:
    """Raise TypeError for what makes no chunks."""
    check_function("ctx.stream", generator)
    if inspect.iscoroutinefunction(generator):
        raise TypeError(_NO_CHUNKS.format(name_of(generator)))


def check_made(generator: Any, made: Any, wanted: type) -> None:
    """Raise TypeError if calling ``generator`` gave none."""
    if not isinstance(made, wanted):
        if isinstance(made, Coroutine):
            made.close()
        raise TypeError(_NO_CHUNKS.format(name_of(generator)))


def name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


_NO_CHUNKS = (
    "ctx.stream takes a generator function, and {} is none: let it `yield` its chunks, or run it "
    "with ctx.step and deliver what it returns with ctx.artifact"
)


async def stream(
    context: TaskContext,
    name: str,
    generator: Callable[..., AsyncGenerator[Any, None]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    on_restart: str,
) -> Artifact:
    """``TaskContext.stream``."""
    check_generator(generator)
    if inspect.isgeneratorfunction(generator):
        raise TypeError(
            f"{name_of(generator)} is a plain generator, and this handler is `async def`: write it "
            "as `async def` with `yield`"
        )
    step = StreamStep(context, name, on_restart)
    await step.begin()
    with step.busy:
        if not step.done:
            await step.ready()
            made = generator(*args, **kwargs, **step.keywords)
            check_made(generator, made, AsyncGenerator)
            with step.running():
                async with aclosing(made) as produced:
                    async for content in produced:
                        await step.write(content)
            step.end()
    return step.artifact


async def pump(context: TaskContext, generator: AsyncGenerator[Any, None]) -> Any:
    """Stream what a generator handler yields: chunks of one artifact, or whole artifacts.

    An ``InputRequired`` that it yields ends the turn.
    """
    from ..handler.outcome import RESULT, InputRequired

    async with aclosing(generator) as produced:
        writer = ArtifactWriter(context, Artifact(artifact_id=RESULT, name=RESULT, parts=[]))
        async with writer:
            async for item in produced:
                if isinstance(item, InputRequired):
                    return item
                if isinstance(item, Artifact):
                    await context.artifact(item.name or item.artifact_id, item)
                else:
                    await writer.write(item)
    return None
