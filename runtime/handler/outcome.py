"""What a handler's end means for its task: a return value, an exception, a cancellation.

What it returned becomes artifacts and the last status in one append, so a task is never left half
finished. A handler's exception fails its own task and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sysconfig
import traceback
from pathlib import Path
from typing import Any, Protocol

import anyio
import msgspec

from ...protocol.errors import InternalError
from ...protocol.types import Artifact, Message, Part, Role, TaskArtifactUpdateEvent, TaskState
from .. import content as parts
from ..actor.actor import Actor
from ..actor.cancellation import STATUS_TEXT, Restart, Stop, TaskCancelled, TaskRejected
from ..actor.errors import LeaseLost
from ..actor.replies import agent_message, say
from ..actor.running import RunningHandler
from ..durable.replay import ReplayMismatch
from ..exceptions import exception_text, loggable
from .direct_reply import DirectReply

log = logging.getLogger("greenroom.runtime")

_STDLIB = os.path.join(sysconfig.get_paths()["stdlib"], "")
_SITE = {"site-packages", "dist-packages"}
_PACKAGE = os.path.dirname(os.path.dirname(__file__))

RESULT = "result"
"""Name of the artifact that holds what a handler returned."""


class Ended(RunningHandler, Protocol):
    """A handler that has ended, or is given up (``execution.Execution``)."""

    actor: Actor
    stopped_at_work: bool
    """When it was told to stop it did not only wait."""


class InputRequired(msgspec.Struct, frozen=True):
    """Return it to ask for more input; the next message calls the handler again."""

    question: Any = ""
    metadata: dict[str, Any] | None = None


def finish(execution: Ended, value: Any) -> None:
    """Write what the handler returned, and the end, in one append."""
    actor = execution.actor
    if actor.state.terminal:
        return
    if execution.reason is not None and not (execution.ending or execution.handler.threaded):
        # What a handler returns that was told to go is not what it would have returned.
        cancelled(execution)
        return
    if isinstance(value, Message) and not actor.born:
        DirectReply(actor, agent_message(actor, value)).send()
        return
    if isinstance(value, InputRequired):
        actor.set_status(
            TaskState.INPUT_REQUIRED,
            say(actor, value.question),
            metadata=value.metadata,
        )
        return
    if isinstance(value, Message):
        _complete(actor, agent_message(actor, value))
        return
    if value is not None:
        _deliver(actor, value)
    _complete(actor, None)


def _complete(actor: Actor, message: Message | None) -> None:
    if not actor.born:
        actor.create()
    if actor.state.interrupted:
        actor.set_status(TaskState.WORKING)
    actor.set_status(TaskState.COMPLETED, message)


def _deliver(actor: Actor, value: Any) -> None:
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(item, Artifact) for item in value)
    ):
        for item in [parts.whole(item) for item in value]:
            _artifact(actor, item)
        return
    _artifact(actor, parts.artifact_of(RESULT, value))


def _artifact(actor: Actor, artifact: Artifact) -> None:
    actor.add_artifact(
        TaskArtifactUpdateEvent(
            task_id=actor.id, context_id=actor.context_id, artifact=artifact, last_chunk=True
        )
    )


def unwound(execution: Ended, cause: BaseException) -> None:
    """The handler ended by an exception: write what that means for its task."""
    actor = execution.actor
    match cause:
        case Stop() | LeaseLost():
            pass
        case TaskCancelled():
            cancelled(execution)
        case Restart() if execution.reason is None:
            actor.restarted(execution, cause.state)
        case Restart():  # no run begins that is to stop at once
            cancelled(execution)
        case ReplayMismatch():
            where, source = _where(cause)
            actor.block(f"{cause}{where}", source)
        case TaskRejected():
            _end(actor, TaskState.REJECTED, say(actor, exception_text(cause)))
        case _ if isinstance(cause, anyio.get_cancelled_exc_class()):
            # Not ours, if nobody gave a reason: the whole runtime is going down.
            if execution.reason is not None:
                cancelled(execution)
            elif not _being_cancelled():
                _failed(execution, cause)
        case _ if execution.reason is not None:
            # Only the client and the deadline may end a task that is being stopped.
            log.warning("the clean-up of task %s failed", actor.id, exc_info=loggable(cause))
            cancelled(execution)
        case _:
            _failed(execution, cause)


def fail_anyway(execution: Ended, error: BaseException) -> None:
    """End the task, or leave it to its next owner, after ``unwound`` raised: what a handler raised
    may raise again whoever looks at it, and no task may be left without an end."""
    if execution.reason is not None:
        cancelled(execution)
    else:
        _failed(execution, error)


def _failed(execution: Ended, error: BaseException) -> None:
    actor = execution.actor
    error_id = secrets.token_hex(6)
    log.error(
        "the handler of task %s failed (error id %s)",
        actor.id,
        error_id,
        exc_info=loggable(error),
        extra={"task": actor.id, "error_id": error_id},
    )
    public = f"The agent failed. Error id: {error_id}"
    if execution.handler.direct and not actor.born:
        # It promised never to make a task, so there is none that could fail.
        actor.lose(InternalError(public))
        return
    _end(
        actor,
        TaskState.FAILED,
        Message(
            message_id=actor.system.new_id(),
            role=Role.AGENT,
            parts=[Part(text=public)],
            context_id=actor.context_id,
            task_id=actor.id,
            metadata={"errorId": error_id},
        ),
    )


def cancelled(execution: Ended) -> None:
    """The handler is gone; whether its task is over depends on why."""
    actor = execution.actor
    reason = execution.reason
    if reason is not None and reason in STATUS_TEXT:
        _end(actor, TaskState.CANCELED, say(actor, STATUS_TEXT[reason]))
    else:
        # The journal is as it was: the task is resumed by whoever owns it next.
        actor.interrupted(execution.stopped_at_work)


def _end(actor: Actor, state: TaskState, message: Message | None) -> None:
    if actor.state.terminal:
        return
    try:
        actor.set_status(state, message)
    except LeaseLost:
        log.info("task %s has a new owner; its end here is not written", actor.id)


_SIGNALS = (ReplayMismatch, Restart, Stop, TaskCancelled)
"""What outweighs the errors that it comes with in a group, the strongest first."""


def cause_of(error: BaseException) -> BaseException:
    """What a handler was unwound by, where task groups wrapped it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    for wanted in (*_SIGNALS, TaskRejected, anyio.get_cancelled_exc_class()):
        matching, rest = error.split(wanted)
        if matching is not None and (rest is None or wanted in _SIGNALS):
            cause: BaseException = matching
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


def _where(mismatch: BaseException) -> tuple[str, str]:
    """The line of the user's code that a mismatch came from, by its number, and what it says."""
    frames = [
        frame
        for frame in traceback.extract_tb(mismatch.__traceback__)
        if not frame.filename.startswith(_PACKAGE)
    ]
    installed = [frame for frame in frames if _SITE.intersection(Path(frame.filename).parts)]
    own = [
        frame
        for frame in frames
        if frame not in installed and not frame.filename.startswith(_STDLIB)
    ]
    for frame in reversed(own or installed):  # the agent itself may have been installed
        return f" ({os.path.basename(frame.filename)}, line {frame.lineno})", frame.line or ""
    return "", ""
