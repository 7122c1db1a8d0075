"""What a handler holds in its hands: every way in which it can listen and speak."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

import msgspec
import typing_extensions

from ...protocol.types import Artifact, Message, Part, TaskState
from ...protocol.values import mend
from .. import content as content_parts
from ..actor.cancellation import Reason, Restart, Stop, TaskCancelled
from ..actor.replies import say
from ..actor.states import IllegalTransition
from ..call import ANONYMOUS, Principal
from ..content import Content
from ..durable.artifacts import ArtifactWriter
from ..durable.ask import AskOperations
from ..durable.facts import FactOperations
from ..durable.fan_out import gather, race
from ..durable.group import Group, group
from ..durable.run import Run
from ..durable.steps import StepOperations
from ..durable.stream_step import OnRestart, stream
from ..durable.timeout import TimeoutScope
from ..journal.places import Place
from ..journal.records import RecordKind
from .history import History

P = ParamSpec("P")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Deps_co = typing_extensions.TypeVar("Deps_co", covariant=True, default=Any)


class TaskContext(AskOperations, StepOperations, FactOperations, Generic[Deps_co]):
    """The context of one task, for its handler.

    ``TaskContext[Database]`` is that of an ``Agent[Database]``, whose lifespan yields one:
    ``ctx.deps`` then has that type.

    Operations on one context must not run side by side in coroutines that Greenroom does not know:
    use ``gather``, ``group`` or ``race``, whose branches replay the same whatever their timing.
    """

    def __init__(self, run: Run) -> None:
        AskOperations.__init__(self, run)
        self._actor = run.actor

    # --- what was asked -------------------------------------------------------------------------

    @property
    def message(self) -> Message:
        """The message that this run of the handler answers."""
        return self._run.message

    @property
    def text(self) -> str:
        """Its text parts, one under the other."""
        return self._run.message.text

    @property
    def parts(self) -> Sequence[Part]:
        """All parts of the message: text, data and files."""
        return self._run.message.parts

    @property
    def files(self) -> list[Part]:
        """Its file parts: ``raw`` (bytes) or ``url``, with ``filename`` and ``media_type``."""
        return [part for part in self.parts if part.raw is not None or part.url is not None]

    @property
    def data(self) -> Any:
        """The value of its first data part, or ``None``."""
        for part in self.parts:
            if part.data is not msgspec.UNSET:
                return part.data
        return None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the request and of the message; the message's wins."""
        call = self._run.sender
        request = call.metadata if call is not None else None
        return {**(request or {}), **(self.message.metadata or {})}

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._actor.id

    @property
    def context_id(self) -> str:
        """The id of the context (the conversation) that the task belongs to."""
        return self._actor.context_id

    @property
    def state(self) -> TaskState:
        """The state of the task as of now."""
        return self._actor.state

    @property
    def deps(self) -> Deps_co:
        """What the agent's lifespan yielded; ``None`` without one."""
        deps: Any = self._actor.system.deps.get(self._actor.agent.slug)
        return cast("Deps_co", deps)

    @property
    def principal(self) -> Principal:
        """Who sent the message. Once the task was at rest, or in another process, that is its
        owner and tenant: nothing else of a principal is kept."""
        call = self._run.sender
        if call is not None and call.principal is not None:
            return call.principal
        scope = self._actor.scope
        if scope.owner == ANONYMOUS.owner and not scope.tenant:
            return ANONYMOUS
        return Principal(owner=scope.owner, tenant=scope.tenant)

    @property
    def extensions(self) -> Sequence[str]:
        """URIs of the extensions activated for the message."""
        call = self._run.sender
        return call.activated if call is not None else (self.message.extensions or ())

    @property
    def cancelled(self) -> Reason | None:
        """Why the handler is being stopped, if it is."""
        return self._run.activity.reason

    async def history(self, limit: int | None = None) -> AsyncIterator[Message]:
        """Iterate over the newest ``limit`` messages of the task (all without), oldest first.

        The message being answered is the last. Of a long conversation only a page at a time is
        read from the store and held in memory.
        """
        history = History(self._actor, limit)
        while page := await history.page():
            for message in page:
                yield message

    # --- speaking -------------------------------------------------------------------------------

    async def status(
        self,
        content: Content = None,
        state: TaskState = TaskState.WORKING,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Say how it goes: a status event with an optional message.

        Raises ``IllegalTransition`` if ``state`` cannot follow. Waits only while too much of this
        task is still uncommitted.
        """
        if not isinstance(state, TaskState):
            raise TypeError(f"a state is one of TaskState, as in TaskState.WORKING, not {state!r}")
        run = self._run
        message = say(run.actor, content)
        operation = run.begin()
        if not run.replays(operation.place, "a status"):
            await run.new_ground(operation, waits=False)
            try:
                run.actor.set_status(state, message, operation.place, metadata)
            except IllegalTransition as refused:
                run.record(operation.place, RecordKind.REFUSED, (refused.old, refused.new))
                raise
            self._ask_again()
            await run.room()
        else:
            await run.found(operation, operation.place)
        operation.over()

    def artifact(
        self,
        name: str,
        content: Content = None,
        *,
        artifact_id: str | None = None,
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        extensions: list[str] | None = None,
    ) -> ArtifactWriter:
        """Deliver an artifact: ``await ctx.artifact("report", text)`` whole, or in chunks::

            async with ctx.artifact("report") as report:
                await report.write("first chunk")

        The name is its id unless ``artifact_id`` is given: delivering it again replaces it.
        """
        if isinstance(content, Artifact):
            first = content
        else:
            key = artifact_id or name
            if not isinstance(key, str) or not key:
                raise TypeError(f"an artifact's name is a text that is not empty, not {key!r}")
            first = Artifact(
                artifact_id=mend(key),
                name=name,
                description=description,
                parts=[],
                metadata=metadata,
                extensions=extensions,
            )
        return ArtifactWriter(self._run, first, content)

    async def reject(self, why: Content = None) -> NoReturn:
        """Refuse the task: it becomes rejected and the handler ends here."""
        await self._end(TaskState.REJECTED, why)

    async def fail(self, why: Content = None) -> NoReturn:
        """Fail the task with a message for the caller; the handler ends here."""
        await self._end(TaskState.FAILED, why)

    async def _end(self, state: TaskState, why: Content) -> NoReturn:
        self._run.check()
        await self._run.until_cut()
        reason = self._run.activity.reason
        if reason is not None and not reason.ends:
            raise TaskCancelled(reason)  # the task goes on without this process
        self._actor.set_status(state, say(self._actor, why))
        raise Stop

    @overload
    async def stream(
        self,
        name: str,
        generator: Callable[..., AsyncIterator[Any]],
        /,
        *args: Any,
        on_restart: OnRestart,
        **kwargs: Any,
    ) -> Artifact: ...

    @overload
    async def stream(
        self,
        name: str,
        generator: Callable[P, AsyncIterator[Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Artifact: ...

    async def stream(
        self,
        name: str,
        generator: Callable[..., AsyncIterator[Any]],
        /,
        *args: Any,
        on_restart: Any = "again",
        **kwargs: Any,
    ) -> Artifact:
        """Run an async generator as a step whose chunks are streamed as the artifact ``name``.

        Closed, it is never called again. Interrupted, it is called anew and its first chunk
        replaces what was streamed; with ``on_restart="continue"`` it is called with the keyword
        ``committed`` (the list of parts that were committed) and appends to them.
        Returns the artifact.
        """
        return await stream(self._run, name, generator, args, kwargs, on_restart)

    # --- side by side ---------------------------------------------------------------------------

    @overload
    async def gather(self, one: Awaitable[T1], /) -> tuple[T1]: ...

    @overload
    async def gather(self, one: Awaitable[T1], two: Awaitable[T2], /) -> tuple[T1, T2]: ...

    @overload
    async def gather(
        self, one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], /
    ) -> tuple[T1, T2, T3]: ...

    @overload
    async def gather(
        self, one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], four: Awaitable[T4], /
    ) -> tuple[T1, T2, T3, T4]: ...

    @overload
    async def gather(self, *awaitables: Awaitable[T]) -> tuple[T, ...]: ...

    async def gather(self, *awaitables: Awaitable[Any]) -> tuple[Any, ...]:
        """Run awaitables side by side, each as a branch; give their results in order.

        The first that fails cancels the others and is raised.
        """
        return tuple(await gather(self._run, awaitables))

    async def race(self, *awaitables: Awaitable[T]) -> T:
        """Run awaitables side by side; the first that ends wins, the others are cancelled."""
        result: T = await race(self._run, awaitables)
        return result

    def group(self) -> AbstractAsyncContextManager[Group]:
        """Start branches as you go: ``async with ctx.group() as group: group.start(fn, arg)``.

        Leaving the block waits for them; an error in one cancels the others.
        """
        return group(self._run)

    def timeout(self, seconds: float) -> TimeoutScope:
        """Bound a block, through restarts: ``async with ctx.timeout(60): ...``.

        Raises ``TimeoutError`` at its end when the time was up. Where it struck is recorded.
        """
        return TimeoutScope(self._run, seconds)

    # --- changes of code, long lives --------------------------------------------------------------

    def patched(self, name: str) -> bool:
        """Whether this run may take the new code path called ``name``.

        ``True`` for runs that come here for the first time, ``False`` for those whose journal was
        written by the code before the change.
        """
        name = mend(name)
        run = self._run
        _, branch = run.check_alone()
        following = Place(branch.name, branch.ordinal + 1)
        known = run.replay.is_record(following, RecordKind.PATCHED, name)
        if not known and run.replay.last(branch.name) > branch.ordinal:
            return False
        operation = run.begin()
        if not known:
            run.record(operation.place, RecordKind.PATCHED, name=name)
            operation.line.is_new()
        operation.over()
        return True

    async def restart(self, state: Any = None) -> NoReturn:
        """Begin a new run of the handler with ``state`` in hand (``ctx.restart_state``).

        For handlers that live long: the journal of a run is replayed from its start.
        """
        await self._run.until_cut()
        raise Restart(content_parts.encode(state))

    @property
    def restart_state(self) -> Any:
        """What ``restart`` was given, as plain JSON values; ``None`` in a first run."""
        return self._run.state

    def __repr__(self) -> str:
        return f"<TaskContext {self.task_id} {self.state.name.lower()}>"


__all__ = ["TaskContext"]
