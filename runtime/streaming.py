"""Artifacts in chunks: the writer, durable streams, and generator handlers."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.types import (
    Artifact,
    Part,
    StreamResponse,
    TaskArtifactUpdateEvent,
)
from . import parts
from .actor import Op
from .branch import Busy
from .fold import SEAL
from .ledger import ReplayMismatch, below, record
from .ports import Kind

if TYPE_CHECKING:
    from .context import TaskContext

_response = msgspec.json.Decoder(StreamResponse)


class ArtifactWriter:
    """An artifact on its way out. Await it to deliver it whole, enter it to write chunks."""

    def __init__(self, context: TaskContext, artifact: Artifact, content: Any = None) -> None:
        self._context = context
        self._artifact = artifact
        self._content = content
        self._begun = False
        self._used = False
        self._replayed: list[Part] | None = []
        """Parts that replay wrote again; ``None`` on new ground."""

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
        op = await context._begin(waits=False)
        if not context._replays(op, "an artifact"):
            self._emit(artifact, op, append=False, last=True)
            await context._room()
        return artifact

    # --- in chunks ------------------------------------------------------------------------------

    def entered(self) -> None:
        """It is being used. Not for handlers."""
        self._used = True

    async def __aenter__(self) -> ArtifactWriter:
        self._used = True
        return self

    async def write(self, content: parts.Content) -> None:
        """Append a chunk. Waits only while too much of this task is still uncommitted.

        On replay, chunks that are the same are not sent again; the first that differs replaces
        what was streamed of this artifact, and what follows is appended to it.
        """
        self._used = True
        context = self._context
        chunk = parts.parts_of(content)
        op = await context._begin(waits=False)
        if self._replayed is not None and context._ledger:
            entry = context._ledger.event(op, "a chunk")
            if entry is not None:
                self._replayed.extend(chunk)
                event = _response.decode(entry.body).artifact_update
                if event is not None and event.artifact.parts == chunk:
                    self._begun = True
                    return
                # What the model says now is not what it said then: start the artifact over.
                self._emit(
                    msgspec.structs.replace(self._artifact, parts=self._replayed), op, append=False
                )
                self._begun = True
                self._replayed = None
                await context._room()
                return
        self._replayed = None
        if self._begun:
            artifact = Artifact(artifact_id=self._artifact.artifact_id, parts=chunk)
        else:
            artifact = msgspec.structs.replace(self._artifact, parts=chunk)
        self._emit(artifact, op, append=self._begun)
        self._begun = True
        await context._room()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or not self._begun:
            return
        context = self._context
        op = await context._begin(waits=False)
        if not context._replays(op, "the end of an artifact"):
            self._emit(
                Artifact(artifact_id=self._artifact.artifact_id, parts=SEAL),
                op, append=True, last=True,
            )  # fmt: skip

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


class StreamStep:
    """A step whose chunks are events of the artifact ``name``; ``done`` if replay has all of it.

    ``begin``, then within ``busy``: ``ready``, ``write`` for each chunk, ``end``.
    """

    def __init__(self, context: TaskContext, name: str, on_restart: str) -> None:
        if on_restart not in ("again", "continue"):
            raise ValueError(f"on_restart is 'again' or 'continue', not {on_restart!r}")
        self._context = context
        self._name = name
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
        self.busy = Busy(context._branch())
        self._op = op = await context._begin()
        self._inner = below(op)
        self.done = context._ledger.record(op, "stream", self._name) is not None
        committed: list[Part] = []
        for entry in context._ledger.below(op):
            self._chunks += 1
            event = (
                _response.decode(entry.body).artifact_update if entry.kind is Kind.EVENT else None
            )
            if event is None or event.artifact.artifact_id != self._name:
                what = "a question" if event is None else f"stream {event.artifact.artifact_id!r}"
                raise ReplayMismatch(op, what, f"stream {self._name!r}")
            if not event.append:
                committed.clear()
            if event.artifact.parts != SEAL:
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
        await self._context._actor.system.until_alive()

    async def write(self, content: parts.Content) -> None:
        chunk = parts.parts_of(content)
        if self._begun:
            self._emit(Artifact(artifact_id=self._name, parts=chunk))
        else:
            self._emit(Artifact(artifact_id=self._name, name=self._name, parts=chunk))
        self._parts.extend(chunk)
        await self._context._room()

    def end(self) -> None:
        """It is whole: never to be called again."""
        if self._begun:
            self._emit(Artifact(artifact_id=self._name, parts=SEAL), last=True)
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


async def stream(
    context: TaskContext,
    name: str,
    generator: Callable[..., AsyncGenerator[Any, None]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    on_restart: str,
) -> Artifact:
    """``TaskContext.stream``."""
    step = StreamStep(context, name, on_restart)
    await step.begin()
    with step.busy:
        if not step.done:
            await step.ready()
            async with aclosing(generator(*args, **kwargs, **step.keywords)) as produced:
                async for content in produced:
                    await step.write(content)
            step.end()
    return step.artifact


async def pump(context: TaskContext, generator: AsyncGenerator[Any, None]) -> Any:
    """Stream what a generator handler yields: chunks of one artifact, or whole artifacts.

    An ``InputRequired`` that it yields ends the turn.
    """
    from .outcome import RESULT, InputRequired

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
