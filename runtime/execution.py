"""One start of a handler: a supervised child that turns what the handler does into entries.

A handler's exception fails its own task and nothing else. What it returns becomes artifacts and the
last status in one append, so a task is never left half finished.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
import traceback
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
import msgspec

from ..protocol.errors import InternalError
from ..protocol.types import (
    Artifact,
    Message,
    Part,
    Role,
    TaskArtifactUpdateEvent,
    TaskState,
)
from . import parts
from .actor import ROOT, LeaseLost, Op
from .call import Sender
from .cancel import TOLD, Reason, Rejected, Restart, Stop, TaskCancelled
from .ledger import DURABLE, NOTHING_RECORDED, Ledger, ReplayMismatch, durable
from .ports import Entry
from .sends import DirectReply
from .signals import Signal
from .supervisor import Child
from .telemetry import current_actor, handler_span

if TYPE_CHECKING:
    from .actor import Actor
    from .context import TaskContext

log = logging.getLogger("greenroom.runtime")

_PACKAGE = os.path.dirname(os.path.dirname(__file__))

RESULT = "result"
"""Name of the artifact that holds what a handler returned."""


class InputRequired(msgspec.Struct, frozen=True):
    """Return it to ask for more input; the next message calls the handler again."""

    question: Any = ""
    metadata: dict[str, Any] | None = None


class Execution:
    """A handler at work for one run of one task."""

    __slots__ = (
        "_answers",
        "_calls",
        "_child",
        "_ctx",
        "_durable",
        "active",
        "actor",
        "alarms",
        "call",
        "detached",
        "handler",
        "ledger",
        "message",
        "reason",
        "signal",
        "started",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        actor: Actor,
        message: Message,
        call: Sender | None = None,
        entries: Sequence[Entry] = (),
        state: Any = None,
    ) -> None:
        self.actor = actor
        self.message = message
        self.call = call
        self.ledger = Ledger(entries) if entries else NOTHING_RECORDED
        self.handler = actor.agent.handler_for(message, call)
        self.signal = Signal()
        """Wakes a handler that waits for a message."""
        self.reason: Reason | None = None
        self.detached = False
        """Left behind: it may not write any more."""
        self.active = 1
        """Lines of the handler (its branches) that are at work: at 0 the actor may rest."""
        self.state = state
        self._durable = bool(entries) and durable(entries)
        self.started = False
        self._calls: set[anyio.CancelScope] = set()
        self.alarms: dict[str, anyio.Event] = {}
        """What sleeps, by the name of its timer."""
        self._answers: dict[Op, Message] = {}
        self._child: Child | None = None
        self._ctx: TaskContext | None = None

    def start(self) -> None:
        """Run it as a child of the runtime."""
        self._child = self.actor.system.start(self.run, "handler")

    # --- the actor's side -----------------------------------------------------------------------

    def wake(self) -> None:
        """A message came."""
        self.signal.notify()

    def answered(self, op: Op, message: Message) -> None:
        """The answer came that is recorded at ``op``."""
        self._answers[op] = message
        self.signal.notify()

    def take_answer(self, op: Op) -> Message | None:
        return self._answers.pop(op, None)

    @property
    def asleep(self) -> bool:
        """Whether it waits for messages and time only."""
        return self.active == 0

    def pause(self) -> None:
        """A line of the handler waits for the client, for time or for its branches."""
        self.active -= 1
        if not self.active:
            self.actor.system.waiting += 1
            self.actor.moved()
            self.actor.quiet()

    def go(self) -> None:
        """A line of the handler goes on, or begins."""
        self.active += 1
        if self.active == 1:
            self.actor.system.waiting -= 1
            self.actor.parked = False
            self.actor.moved()

    def begins_durable(self) -> None:
        """A step or a stream begins: from now on the run is worth resuming, recorded or not."""
        if not self._durable:
            self._durable = True
            self.actor.record(ROOT, DURABLE)

    def alarm(self, timer: str) -> bool:
        """A durable timer is due; whether a line of the handler slept for it."""
        event = self.alarms.get(timer)
        if event is not None:
            event.set()
        return event is not None

    def cancel(self, reason: Reason) -> None:
        """Cancel the handler; it has ``cancel_grace`` seconds to clean up."""
        if self.reason is not None:
            return
        self.reason = reason
        self.signal.notify()
        if not self.started:
            # It never ran, and on asyncio a child cancelled this early never will.
            self.abandon(reason.value)
            self._cancelled()
            self.actor.execution = None
            return
        self.actor.system.graces.add(self)
        # A thread cannot be cancelled: its call to the context is, or its next one, or it is left
        # behind.
        if self._child is not None and not self.handler.threaded:
            self._child.cancel()
        for call in self._calls:
            call.cancel()

    def abandon(self, why: str) -> None:
        """Stop it without waiting; nothing that it still does is written."""
        self.detached = True
        if self.reason is None:
            self.reason = Reason.LEASE_LOST
        for call in self._calls:
            call.cancel()
        if self._child is not None:
            self._child.cancel()

    async def called(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a call of a plain handler's thread. Raises ``TaskCancelled`` once it is cancelled."""
        if self.reason is not None:
            raise TaskCancelled(self.reason)
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await function(*args, **kwargs)
            finally:
                self._calls.discard(scope)
        raise TaskCancelled(self.reason or Reason.SHUTDOWN)

    def overdue(self) -> None:
        """The grace is over: end the task without its handler."""
        if self.actor.execution is not self:
            return
        log.warning("the handler of task %s ignored its cancellation", self.actor.id)
        self.detached = True
        if self._child is not None:
            self._child.cancel()
        self._cancelled()
        self.actor.execution = None

    # --- the child ------------------------------------------------------------------------------

    async def run(self) -> None:
        if self.detached:
            return
        actor = self.actor
        system = actor.system
        self.started = True
        system.began(actor.scope)
        current_actor.set(actor)
        try:
            await actor.claimed()
            if system.tracing:
                with handler_span(actor):
                    value = await self._call()
            else:
                value = await self._call()
            if not self.detached:
                if self.ledger and self._ctx is not None:
                    self._ctx.check_complete()
                self._finish(value)
        except anyio.get_cancelled_exc_class() as cancelled:
            if not self.detached:
                self._unwound(cancelled)
            raise
        except BaseException as error:
            # Nothing that a handler raises may reach its neighbours, neither SystemExit nor
            # KeyboardInterrupt: servers and asyncio take Ctrl-C elsewhere (bare trio may raise it
            # here; then this handler is what it stops).
            cause = _cause(error)
            if isinstance(cause, GeneratorExit):
                raise
            if not self.detached:
                self._unwound(cause)
            if isinstance(cause, anyio.get_cancelled_exc_class()):
                raise
        finally:
            system.ended(actor.scope)
            system.graces.discard(self)
            if self._ctx is not None:
                self._ctx.leave()
                self._ctx = None
            self._child = None
            if actor.execution is self:
                actor.execution = None
                actor.quiet()

    async def _call(self) -> Any:
        from .context import TaskContext

        self._ctx = ctx = TaskContext(self)
        handler = self.handler
        if handler.threaded:
            from .blocking import BlockingContext

            return await anyio.to_thread.run_sync(
                partial(handler.function, BlockingContext(ctx)),
                abandon_on_cancel=True,
                limiter=self.actor.system.threads,
            )
        made = handler.function(ctx)
        if inspect.isasyncgen(made):
            return await ctx.pump(cast("AsyncGenerator[Any, None]", made))
        return await made

    def _finish(self, value: Any) -> None:
        """Write what the handler returned, and the end, in one append."""
        actor = self.actor
        if actor.state.terminal:
            return
        if isinstance(value, Message) and not actor.born:
            DirectReply(actor, self._agent_message(value)).send()
            return
        if isinstance(value, InputRequired):
            actor.set_status(
                TaskState.INPUT_REQUIRED,
                self.say(value.question),
                metadata=value.metadata,
            )
            return
        if isinstance(value, Message):
            self._complete(self._agent_message(value))
            return
        if value is not None:
            self._deliver(value)
        self._complete(None)

    def _complete(self, message: Message | None) -> None:
        actor = self.actor
        if not actor.born:
            actor.birth()
        if actor.state.interrupted:
            actor.set_status(TaskState.WORKING)
        actor.set_status(TaskState.COMPLETED, message)

    def _deliver(self, value: Any) -> None:
        if (
            isinstance(value, list | tuple)
            and value
            and all(isinstance(item, Artifact) for item in value)
        ):
            for item in value:
                self._artifact(item)
            return
        self._artifact(parts.artifact_of(RESULT, value))

    def _artifact(self, artifact: Artifact) -> None:
        actor = self.actor
        actor.add_artifact(
            TaskArtifactUpdateEvent(
                task_id=actor.id, context_id=actor.context_id, artifact=artifact, last_chunk=True
            )
        )

    def _agent_message(self, message: Message) -> Message:
        if not message.parts:
            raise TypeError("a Message has at least one part, as in parts=[Part(text=...)]")
        parts.parts_of(message.parts)
        changes: dict[str, Any] = {}
        if not message.message_id:
            changes["message_id"] = self.actor.system.new_id()
        if message.context_id != self.actor.context_id:
            changes["context_id"] = self.actor.context_id
        if self.actor.born and message.task_id != self.actor.id:
            changes["task_id"] = self.actor.id
        if message.role is not Role.AGENT:
            changes["role"] = Role.AGENT
        return msgspec.structs.replace(message, **changes) if changes else message

    def say(self, content: Any) -> Message | None:
        """Make a message of the agent out of text, parts or data; nothing of nothing."""
        if content is None or content == "":
            return None
        if isinstance(content, Message):
            return self._agent_message(content)
        actor = self.actor
        return Message(
            message_id=actor.system.new_id(),
            role=Role.AGENT,
            parts=parts.parts_of(content),
            context_id=actor.context_id,
            task_id=actor.id,
        )

    def _unwound(self, cause: BaseException) -> None:
        """The handler ended by an exception: write what that means for its task."""
        match cause:
            case Stop() | LeaseLost():
                pass
            case TaskCancelled():
                self._cancelled()
            case Restart():
                self.actor.restarted(self, cause.state)
            case ReplayMismatch():
                self.actor.block(f"{cause}{_where(cause)}")
            case Rejected():
                self._end(TaskState.REJECTED, self.say(str(cause)))
            case _ if isinstance(cause, anyio.get_cancelled_exc_class()):
                # Not ours, if nobody gave a reason: the whole runtime is going down.
                if self.reason is not None:
                    self._cancelled()
                elif not _being_cancelled():
                    self._failed(cause)
            case _ if self.reason is not None:
                # Only the client and the deadline may end a task that is being stopped.
                log.warning("the clean-up of task %s failed", self.actor.id, exc_info=cause)
                self._cancelled()
            case _:
                self._failed(cause)

    def _failed(self, error: BaseException) -> None:
        actor = self.actor
        error_id = secrets.token_hex(6)
        log.error(
            "the handler of task %s failed (error id %s)",
            actor.id,
            error_id,
            exc_info=error,
            extra={"task": actor.id, "error_id": error_id},
        )
        told = f"The agent failed. Error id: {error_id}"
        if self.handler.direct and not actor.born:
            # It promised never to make a task, so there is none that could fail.
            actor.lose(InternalError(told))
            return
        self._end(
            TaskState.FAILED,
            Message(
                message_id=actor.system.new_id(),
                role=Role.AGENT,
                parts=[Part(text=told)],
                context_id=actor.context_id,
                task_id=actor.id,
                metadata={"errorId": error_id},
            ),
        )

    def _cancelled(self) -> None:
        """The handler is gone; whether its task is over depends on why."""
        if self.reason in TOLD:
            self._end(TaskState.CANCELED, self.say(TOLD[self.reason]))
        else:
            # The journal is as it was: the task is resumed by whoever owns it next.
            self.actor.interrupted()

    def _end(self, state: TaskState, message: Message | None) -> None:
        actor = self.actor
        if actor.state.terminal:
            return
        try:
            actor.set_status(state, message)
        except LeaseLost:
            log.info("task %s has a new owner; its end here is not written", actor.id)


_SIGNALS = (ReplayMismatch, Restart, Stop, TaskCancelled)
"""What outweighs the errors that it comes with in a group, the strongest first."""


def _cause(error: BaseException) -> BaseException:
    """What a handler was unwound by, where task groups wrapped it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    for wanted in (*_SIGNALS, Rejected, anyio.get_cancelled_exc_class()):
        found, rest = error.split(wanted)
        if found is not None and (rest is None or wanted in _SIGNALS):
            cause: BaseException = found
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            return cause
    return error


def _being_cancelled() -> bool:
    """Whether somebody cancels the handler; on asyncio it may have raised that error itself."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True
    return task is None or task.cancelling() > 0


def _where(mismatch: BaseException) -> str:
    """The line of the user's code that a mismatch came from."""
    found = ""
    for frame in traceback.extract_tb(mismatch.__traceback__):
        if not frame.filename.startswith(_PACKAGE):
            found = f" ({os.path.basename(frame.filename)}, line {frame.lineno}: {frame.line})"
    return found
