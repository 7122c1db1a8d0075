"""What a handler holds in its hands: every way in which it can listen and speak.

Each call that can matter on replay is an *operation* with a place: (branch, ordinal). ``_place``
gives the next place of the branch that the calling coroutine runs in.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

import anyio
import msgspec

from ..protocol.types import (
    Artifact,
    Message,
    Part,
    TaskState,
)
from . import parts as content_parts
from .actor import Op
from .branches import (
    Asleep,
    Branch,
    Busy,
    Group,
    TimeoutScope,
    current_branch,
    gather,
    group,
    race,
)
from .call import Principal
from .cancel import Reason, Restart, Stop
from .durable import DurableOperations
from .history import History
from .ledger import ReplayMismatch, below, record, refusal
from .parts import Content, InvalidAnswer
from .ports import Kind
from .states import IllegalTransition
from .streaming import ArtifactWriter, pump, stream

if TYPE_CHECKING:
    from .execution import Execution

T = TypeVar("T")

_ONE_QUESTION = "one question is open already; wait for its answer before asking another"


class TaskContext(DurableOperations):
    """The context of one task, for its handler.

    Operations on one context must not run side by side in coroutines that Greenroom does not know:
    use ``gather``, ``group`` or ``race``, whose branches replay the same whatever their timing.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._actor = execution.actor
        self._ledger = execution.ledger
        self._root = Branch(self, "")
        self._left = False
        self._thread = get_ident()

    def check_complete(self) -> None:
        """Raise ``ReplayMismatch`` if the handler ended before all that it did earlier. Not for
        handlers."""
        self._ledger.check_complete(self._root.ordinal)

    # --- what was asked -------------------------------------------------------------------------

    @property
    def message(self) -> Message:
        """The message that this run of the handler answers."""
        return self._execution.message

    @property
    def text(self) -> str:
        """Its text parts, one under the other."""
        return self._execution.message.text

    @property
    def parts(self) -> Sequence[Part]:
        return self._execution.message.parts

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
        call = self._execution.call
        request = call.metadata if call is not None else None
        return {**(request or {}), **(self.message.metadata or {})}

    @property
    def task_id(self) -> str:
        return self._actor.id

    @property
    def context_id(self) -> str:
        return self._actor.context_id

    @property
    def state(self) -> TaskState:
        return self._actor.state

    @property
    def deps(self) -> Any:
        """What the agent's lifespan yielded."""
        return self._actor.system.deps.get(self._actor.agent.slug)

    @property
    def principal(self) -> Principal | None:
        """Who sent the message; ``None`` after the task was resumed by another process."""
        call = self._execution.call
        return call.principal if call is not None else None

    @property
    def extensions(self) -> Sequence[str]:
        """URIs of the extensions activated for the message."""
        call = self._execution.call
        return call.activated if call is not None else (self.message.extensions or ())

    @property
    def cancelled(self) -> Reason | None:
        """Why the handler is being stopped, if it is."""
        return self._execution.reason

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
        message = self._execution.say(content)
        op = await self._begin(waits=False)
        if self._replays(op, "a status"):
            return
        try:
            self._actor.set_status(state, message, op, metadata)
        except IllegalTransition as refused:
            told = content_parts.encode((refused.old, refused.new))
            self._actor.record(op, record("refused", value=told))
            raise
        await self._room()

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
                artifact_id=key,
                name=name,
                description=description,
                parts=[],
                metadata=metadata,
                extensions=extensions,
            )
        return ArtifactWriter(self, first, content)

    async def reject(self, why: Content = None) -> None:
        """Refuse the task: it becomes rejected and the handler ends here."""
        await self._end(TaskState.REJECTED, why)

    async def fail(self, why: Content = None) -> None:
        """Fail the task with a message for the caller; the handler ends here."""
        await self._end(TaskState.FAILED, why)

    async def _end(self, state: TaskState, why: Content) -> None:
        self._check()
        self._actor.set_status(state, self._execution.say(why))
        raise Stop

    async def stream(
        self,
        name: str,
        generator: Callable[..., AsyncGenerator[Any, None]],
        *args: Any,
        on_restart: str = "again",
        **kwargs: Any,
    ) -> Artifact:
        """Run an async generator as a step whose chunks are streamed as the artifact ``name``.

        Closed, it is never called again. Interrupted, it is called anew and its first chunk
        replaces what was streamed; with ``on_restart="continue"`` it is called with the keyword
        ``committed`` (the list of parts that were committed) and appends to them.
        Returns the artifact.
        """
        return await stream(self, name, generator, args, kwargs, on_restart)

    async def pump(self, generator: AsyncGenerator[Any, None]) -> Any:
        """Stream what a generator handler yields. Not for handlers."""
        return await pump(self, generator)

    # --- side by side ---------------------------------------------------------------------------

    async def gather(self, *awaitables: Awaitable[Any]) -> list[Any]:
        """Run awaitables side by side, each as a branch; give their results in order.

        The first that fails cancels the others and is raised.
        """
        return await gather(self, awaitables)

    async def race(self, *awaitables: Awaitable[T]) -> T:
        """Run awaitables side by side; the first that ends wins, the others are cancelled."""
        result: T = await race(self, awaitables)
        return result

    def group(self) -> AbstractAsyncContextManager[Group]:
        """Start branches as you go: ``async with ctx.group() as group: group.start(fn, arg)``.

        Leaving the block waits for them; an error in one cancels the others.
        """
        return group(self)

    def timeout(self, seconds: float) -> TimeoutScope:
        """Bound a block, through restarts: ``async with ctx.timeout(60): ...``.

        Raises ``TimeoutError`` at its end when the time was up. Where it struck is recorded.
        """
        return TimeoutScope(self, seconds)

    # --- changes of code, long lives --------------------------------------------------------------

    def patched(self, name: str) -> bool:
        """Whether this run may take the new code path called ``name``.

        ``True`` for runs that come here for the first time, ``False`` for those whose journal was
        written by the code before the change.
        """
        branch = self._branch()
        if self._ledger.last(branch.name) > branch.ordinal:
            following = Op(branch.name, branch.ordinal + 1)
            if not self._ledger.is_record(following, "patched", name):
                return False
            self._place()
        else:
            self._actor.record(self._place(), record("patched", name))
        return True

    async def restart(self, state: Any = None) -> NoReturn:
        """Begin a new run of the handler with ``state`` in hand (``ctx.restart_state``).

        For handlers that live long: the journal of a run is replayed from its start.
        """
        raise Restart(content_parts.encode(state))

    @property
    def restart_state(self) -> Any:
        """What ``restart`` was given, as plain JSON values; ``None`` in a first run."""
        return self._execution.state

    # --- asking ---------------------------------------------------------------------------------

    @overload
    async def ask(self, question: Content) -> str: ...

    @overload
    async def ask(self, question: Content, type: type[T]) -> T: ...

    async def ask(self, question: Content, type: Any = str) -> Any:
        """Ask the client and wait for the answer, for a week if need be (input-required).

        With ``type`` the answer is validated; one that does not fit is asked for again. The task
        may leave memory meanwhile. ``Message`` as the type gives the message itself.
        """
        return await self._ask(question, type, TaskState.INPUT_REQUIRED)

    async def require_auth(self, content: Content) -> Message:
        """Ask for an authorisation (auth-required) and wait for a message (section 7.6)."""
        answer: Message = await self._ask(content, Message, TaskState.AUTH_REQUIRED)
        return answer

    async def _ask(self, question: Content, type: Any, state: TaskState) -> Any:
        if type is not Message and type is not str:
            content_parts.check_type(type)
        execution, actor = self._execution, self._actor
        if actor.open_ask is not None and not self._ledger:
            raise RuntimeError(_ONE_QUESTION)
        branch = self._branch()
        op = await self._begin()
        self._ledger.check_new(op, "a question", False)
        name = below(op)
        content = question
        attempt = 0
        with Busy(branch):
            while True:
                asked, answered = Op(name, 2 * attempt + 1), Op(name, 2 * attempt + 2)
                entry = self._ledger.event(asked, "a question")
                if entry is None:
                    self._check()
                    if actor.open_ask is not None:
                        raise RuntimeError(_ONE_QUESTION)
                    actor.set_status(state, execution.say(content), asked)
                found = self._ledger.record(answered, "answer")
                if found is not None:
                    message = await self._message_at(msgspec.json.decode(found.value))
                else:
                    since = actor.sequence if entry is None else entry.sequence
                    message = await self._wait_answer(answered, since)
                if type is Message:
                    return message
                try:
                    return content_parts.answer(message.parts, type)
                except InvalidAnswer as invalid:
                    content = str(invalid)
                    attempt += 1

    async def _wait_answer(self, answered: Op, since: int) -> Message:
        """Wait for the first message accepted after the entry ``since``."""
        execution, actor = self._execution, self._actor
        message = execution.take_answer(answered)
        if message is not None:
            return message
        for item in actor.inbox:
            if item[0] > since:  # it came before the replay did
                actor.inbox.remove(item)
                actor.record(answered, record("answer", value=b"%d" % item[0]))
                return item[1]
        actor.open_ask = answered
        try:
            with Asleep(execution):
                while (message := execution.take_answer(answered)) is None:
                    self._check()
                    await execution.signal.wait()
        finally:
            if actor.open_ask == answered:
                actor.open_ask = None
                if execution.reason is None and not execution.detached:
                    actor.withdraw()
        return message

    async def receive(self) -> Message:
        """Return the next message that the client sent meanwhile; wait for one if there is none."""
        branch = self._branch()
        op = await self._begin()
        actor = self._actor
        found = self._ledger.record(op, "receive")
        with Busy(branch):
            if found is not None:
                sequence = msgspec.json.decode(found.value)
                message = await self._message_at(sequence)
                actor.forget_unread(sequence)
                return message
            if not actor.inbox:
                with Asleep(self._execution):
                    while not actor.inbox:
                        self._check()
                        await self._execution.signal.wait()
            sequence, message = actor.inbox.popleft()
            actor.record(op, record("receive", value=b"%d" % sequence))
            return message

    async def _message_at(self, sequence: int) -> Message:
        """Read a message again. A time-out must not strike on ground that is only replayed."""
        message: Message | None = None
        with anyio.CancelScope(shield=True):
            message = await self._actor.message_at(sequence)
        assert message is not None
        return message

    # --- places ---------------------------------------------------------------------------------

    def _branch(self) -> Branch:
        branch = current_branch.get()
        return branch if branch is not None and branch.context is self else self._root

    def _place(self) -> Op:
        """The place of an operation that does not wait."""
        branch = self._enter()
        if branch.cut:
            raise self._mismatch_at_cut(branch)
        return self._next(branch)

    async def _begin(self, *, waits: bool = True) -> Op:
        """The place of the operation that begins now, unless the run was cut off before it.

        One that ``waits`` is over when its ``Busy`` is left.
        """
        branch = self._enter()
        if branch.cut:
            await branch.wait_for_the_cut()
        return self._next(branch, waits)

    def _enter(self) -> Branch:
        self._check()
        branch = self._branch()
        if branch.busy:
            raise RuntimeError(
                "two coroutines use one branch of the task's context at once; "
                "start them with ctx.gather, ctx.group or ctx.race"
            )
        actor = self._actor
        if actor.sequence - actor.run_start >= actor.system.settings.run_records:
            raise RuntimeError(
                f"this run of the handler has written {actor.sequence - actor.run_start} entries, "
                f"more than a run may have (run_records): call `await ctx.restart(state)` now and "
                f"then, which begins a new run with that state"
            )
        return branch

    @staticmethod
    def _next(branch: Branch, waits: bool = False) -> Op:
        branch.ordinal += 1
        if not waits:
            branch.ended = branch.ordinal
        if branch.watchers:
            branch.look()
        return Op(branch.name, branch.ordinal)

    @staticmethod
    def _mismatch_at_cut(branch: Branch) -> ReplayMismatch:
        return ReplayMismatch(
            Op(branch.name, branch.ordinal + 1), "cut off by a time-out or a failure", "begun"
        )

    def _replays(self, op: Op, what: str) -> bool:
        """Whether the emission at ``op`` happened before. Raises what it raised then."""
        entry = self._ledger.event(op, what)
        if entry is not None and entry.kind is Kind.RECORD:
            raise refusal(entry)
        return entry is not None

    def _check(self) -> None:
        """Raise if this handler may not go on, or not here."""
        if get_ident() != self._thread:
            raise RuntimeError(
                "this context belongs to the thread of its runtime: call it from the handler, or "
                "from another thread with anyio.from_thread.run; a plain `def` handler has a "
                "context that does so by itself"
            )
        if self._left or self._execution.detached:
            raise RuntimeError("the handler of this context is over")

    async def _room(self) -> None:
        """Let the commit keep up."""
        actor = self._actor
        if actor.backlog >= actor.system.settings.window:
            await actor.window()

    def leave(self) -> None:
        """The handler ended: whoever still holds the context may not use it. Not for handlers."""
        self._left = True
        # Or the two would hold each other, and the garbage collector would have to find them.
        self._root.context = None

    def __repr__(self) -> str:
        return f"<TaskContext {self.task_id} {self.state.name.lower()}>"


__all__ = ["TaskContext"]
