"""``ctx.stream``: a step whose chunks are events of one artifact."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, aclosing
from typing import Any, Literal

import anyio
import anyio.lowlevel

from ...protocol.types import Artifact, Part, TaskArtifactUpdateEvent
from ...protocol.values import mend
from .. import content as parts
from ..journal.fold import SEAL
from ..journal.places import inner
from ..journal.records import RecordKind, record
from .artifacts import artifact_event
from .run import Run
from .steps import check_arguments, check_function, digest, running_step

OnRestart = Literal["again", "continue"]
"""Whether a stream that was interrupted is made again, or gets what was committed and goes on."""


class StreamStep:
    """A step whose chunks are events of the artifact ``name``; ``done`` if replay has all of it.

    ``begin``; within ``operation`` ``ready``; within ``running`` ``write`` for each chunk; ``end``.
    """

    def __init__(self, run: Run, name: str, on_restart: OnRestart, arguments: str = "") -> None:
        if on_restart not in ("again", "continue"):
            raise ValueError(f"on_restart is 'again' or 'continue', not {on_restart!r}")
        self._run = run
        self._name = name = mend(name)
        self._halves = parts.Halves()
        self._arguments = arguments
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

    def begin(self) -> None:
        """Take the place of the operation, and what is recorded of it."""
        run = self._run
        self.operation = operation = run.begin()
        record = run.find(operation.place, RecordKind.STREAM, self._name)
        self.done = record is not None
        if record is not None:
            check_arguments(run, operation, record, self._arguments)
        committed: list[Part] = []
        for entry in run.replay.below(operation.place):
            self._chunks += 1
            event = artifact_event(run, operation.place, entry, self._name)
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
        run = self._run
        await run.new_ground(self.operation)
        run.begins_durable()
        await run.actor.flushed()
        await run.actor.until_owned()

    def running(self) -> AbstractContextManager[None]:
        """Within it the generator may ask for its ``step_info``."""
        return running_step(self._run, self.operation)

    async def write(self, content: parts.Content) -> None:
        if chunk := self._halves.join(parts.parts_of(content)):
            self._write(chunk)
            if self._run.full:
                await self._run.room()

    def _write(self, chunk: list[Part]) -> None:
        if self._begun:
            self._emit(Artifact(artifact_id=self._name, parts=chunk))
        else:
            self._emit(Artifact(artifact_id=self._name, name=self._name, parts=chunk))
        self._parts.extend(chunk)

    async def end(self) -> None:
        """It is whole: never to be called again."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        if rest := self._halves.rest():
            self._write(rest)
        if self._begun:
            self._emit(Artifact(artifact_id=self._name, parts=SEAL), last=True)
        elif self._chunks:  # of an earlier attempt; this one had nothing to say
            self._emit(Artifact(artifact_id=self._name, name=self._name, parts=SEAL), last=True)
        body = record(RecordKind.STREAM, self._name, arguments=self._arguments)
        self._run.actor.record(self.operation.place, body)

    def _emit(self, artifact: Artifact, *, last: bool = False) -> None:
        actor = self._run.actor
        self._chunks += 1
        actor.add_artifact(
            TaskArtifactUpdateEvent(
                task_id=actor.id, context_id=actor.context_id,
                artifact=artifact, append=self._begun, last_chunk=last,
            ),
            inner(self.operation.place, self._chunks),
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
    run: Run,
    name: str,
    generator: Callable[..., AsyncIterator[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    on_restart: OnRestart,
) -> Artifact:
    """``TaskContext.stream``."""
    check_generator(generator)
    if inspect.isgeneratorfunction(generator):
        raise TypeError(
            f"{name_of(generator)} is a plain generator, and this handler is `async def`: write it "
            "as `async def` with `yield`"
        )
    step = StreamStep(run, name, on_restart, digest(args, kwargs))
    step.begin()
    with step.operation:
        if step.done:
            await run.found(step.operation, step.operation.place)
        else:
            await step.ready()
            made: Any = generator(*args, **kwargs, **step.keywords)
            check_made(generator, made, AsyncGenerator)
            with step.running():
                async with aclosing(made) as produced:
                    async for content in produced:
                        await step.write(content)
            await step.end()
    return step.artifact
