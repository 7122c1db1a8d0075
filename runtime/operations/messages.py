"""Sending: SendMessage, SendStreamingMessage and CancelTask (sections 3.1.1, 3.1.2, 3.1.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from ...protocol.errors import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    ResourceExhaustedError,
    TaskGenerationMismatchError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from ...protocol.frame import Frame
from ...protocol.types import (
    CancelTaskRequest,
    Message,
    SendMessageRequest,
    SendMessageResponse,
    StreamResponse,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from ..actor.actor import Actor
from ..actor.cancellation import Reason
from ..actor.directory import Directory
from ..actor.errors import Duplicate
from ..actor.running import RunningHandler
from ..actor.system import System
from ..actor.waits import Wait
from ..agent import Agent
from ..call import ANONYMOUS, Call, Sender, TaskScope
from ..concurrency.signal import Signal
from ..journal.entries import Header, PushRow, SendRecord
from ..journal.feed import Subscription
from ..journal.store import Sends
from ..modes import accepts, media_types
from ..security.gate import Gate
from .idempotency import send_key
from .open_streams import held
from .subscription import open_stream, shown_history, with_generation
from .targets import check_target

_decode_message = msgspec.json.Decoder(Message).decode


class Admission(msgspec.Struct):
    """A message taken in, and what its sender waits for."""

    actor: Actor
    after: int = 0
    """The generation beyond which the answer lies."""
    sequence: int = 1
    """The entry that must be committed before anything is answered."""
    fresh: bool = False
    """It made the task."""
    repeat: bool = False
    """The message had been taken in before."""


MakePush = Callable[[TaskScope, str, int], PushRow]
"""Makes the row of a push configuration of a task: what follows a generation is delivered."""


class InlinePush(Protocol):
    """Push configurations inside a send."""

    async def check(
        self, call: Call, scope: TaskScope, task_id: str | None, config: TaskPushNotificationConfig
    ) -> MakePush:
        """Check a configuration before its task is known. Raises A2AError."""
        ...


class MessageOperations:
    """The doors through which messages and cancellations come."""

    def __init__(
        self,
        system: System,
        directory: Directory,
        gate: Gate,
        agents: Mapping[str, Agent],
        opened: Callable[[Subscription], None],
        push: InlinePush | None = None,
    ) -> None:
        self._system = system
        self._push = push
        self._sends: Sends = system.store
        self._directory = directory
        self._gate = gate
        self._agents = agents
        self._opened = opened
        self._claims: dict[bytes, Signal] = {}
        """Sends that are being looked at: a repeat waits until they are accepted or refused."""

    # --- SendMessage ----------------------------------------------------------------------------

    async def send(
        self, call: Call, agent: Agent, scope: TaskScope, request: SendMessageRequest
    ) -> SendMessageResponse:
        """Answer with the task when it ends or asks, at once if asked to, or a direct Message."""
        configuration = request.configuration
        immediate = configuration is not None and configuration.return_immediately
        result = await self._carry_out(call, agent, scope, request, immediate, immediate)
        if isinstance(result, Message):
            return SendMessageResponse(message=result)
        task, generation = await result.actor.task(shown_history(self._system, configuration))
        return SendMessageResponse(task=with_generation(task, generation, call))

    async def _carry_out(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: SendMessageRequest,
        immediate: bool,
        at_once: bool,
    ) -> Admission | Message:
        """Accept a message and wait for its answer: a direct Message, or the task to show.

        ``immediate``: the answer is the task as soon as it exists. ``at_once``: a new task exists
        from now on; else its handler has ``task_delay`` seconds to return a Message instead.
        """
        accepted = await self._accept(call, agent, scope, request, at_once)
        try:
            answer = await self._answer(call, accepted, immediate)
        except Duplicate as duplicate:
            # Another node was quicker with the same send: answer with what it made of it.
            accepted = await self._known(scope, duplicate.send)
            answer = await self._answer(call, accepted, immediate)
        return answer if isinstance(answer, Message) else accepted

    async def _answer(
        self, call: Call, accepted: Admission | Message, immediate: bool
    ) -> Header | Message:
        if isinstance(accepted, Message):
            return accepted
        actor = accepted.actor
        actor.hold()  # it may not leave memory while somebody waits for it
        try:
            if immediate:
                return await actor.accepted(accepted.sequence)
            if not accepted.repeat:
                return await self._wait(accepted)
            async with held(self._gate, call):  # which no limit of handlers counts
                return await self._wait(accepted)
        finally:
            actor.release()

    async def _wait(self, accepted: Admission) -> Header | Message:
        wait = Wait(accepted.actor)
        self._system.waits.add(wait)
        try:
            return await accepted.actor.answer(accepted.after, accepted.sequence, wait)
        finally:
            self._system.waits.discard(wait)

    async def _accept(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: SendMessageRequest,
        at_once: bool,
    ) -> Admission | Message:
        """Take a message in; a repeat gets what its first send became."""
        message = request.message
        system = self._system
        self._check_content(agent, message)
        agent.named_skill(message, request.metadata)  # or there is none such
        check_target(call, agent, self._agents, self._gate, request)
        configuration = request.configuration
        push: MakePush | None = None
        if configuration is not None and configuration.task_push_notification_config is not None:
            if self._push is None:
                raise PushNotificationNotSupportedError  # rather than dropping it in silence
            push = await self._push.check(
                call, scope, message.task_id, configuration.task_push_notification_config
            )
        key = send_key(scope, call.principal or ANONYMOUS, message)
        if key is None:
            return await self._take(call, agent, scope, request, None, at_once, push)
        sends = system.sends
        while True:
            if (known := sends.get(key)) is not None:
                return Admission(*known, repeat=True)
            if (claim := self._claims.get(key)) is None:
                break
            await claim.wait()
        claim = self._claims[key] = Signal()
        try:
            send = await self._sends.find_send(scope, key)
            if send is not None:
                return await self._known(scope, send)
            record = SendRecord(key, message.message_id, system.now())
            accepted = await self._take(call, agent, scope, request, record, at_once, push)
            # Until it is committed; then the store knows it.
            sends[key] = (accepted.actor, accepted.after, accepted.sequence)
            return accepted
        finally:
            del self._claims[key]
            claim.notify()

    async def _take(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: SendMessageRequest,
        record: SendRecord | None,
        at_once: bool,
        push: MakePush | None,
    ) -> Admission:
        if request.message.task_id:
            return await self._continue(call, agent, scope, request, record, push)
        return self._begin(call, agent, scope, request, record, at_once, push)

    async def _continue(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: SendMessageRequest,
        record: SendRecord | None,
        push: MakePush | None,
    ) -> Admission:
        message = request.message
        assert message.task_id is not None
        actor = await self._directory.activate(scope, message.task_id)
        if not actor.state.terminal:
            # Whatever the message names: it is this skill that would go on with it.
            self._gate.check_skill(call, agent, actor.skill)
        named = agent.named_skill(message, request.metadata)
        sender = _sender(call, request, actor.skill if named is None else None)
        if message.context_id and message.context_id != actor.context_id:
            raise InvalidParamsError(
                "contextId is not the one of the task; leave it out or send the task's own",
                field="message.contextId",
            )
        if record is not None:
            record = msgspec.structs.replace(record, task_id=actor.id)
        if message.context_id != actor.context_id:
            message = msgspec.structs.replace(message, context_id=actor.context_id)
        configuration = request.configuration
        expected = configuration.if_generation_match if configuration is not None else None
        if not actor.state.terminal and actor.at_rest:
            self._check_room(call, scope, actor.execution)
        try:
            after, sequence = actor.deliver(message, record, expected, sender)
        except (TaskGenerationMismatchError, UnsupportedOperationError):
            await _committed(actor)
            raise
        if push is not None:
            actor.add_push(push(scope, actor.id, after))
        return Admission(actor, after, sequence)

    def _begin(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: SendMessageRequest,
        record: SendRecord | None,
        at_once: bool,
        push: MakePush | None,
    ) -> Admission:
        message = request.message
        system = self._system
        self._check_room(call, scope)
        actor = self._directory.create(agent, scope, message.context_id or system.new_id())
        if record is not None:
            record = msgspec.structs.replace(record, task_id=actor.id)
        message = msgspec.structs.replace(message, context_id=actor.context_id, task_id=actor.id)
        actor.begin(message, record, request.metadata)
        if push is not None:
            actor.add_push(push(scope, actor.id, 1))  # the first generation is in the answer
        execution = actor.execution = system.launch(actor, message, _sender(call, request))
        if not execution.handler.direct:
            if at_once or execution.commit_before_start:
                actor.create()
            else:
                system.creations.add(actor)
        execution.start()
        return Admission(actor, fresh=True)

    def _check_room(self, call: Call, scope: TaskScope, own: RunningHandler | None = None) -> None:
        """Refuse to set another handler to work; ``own``, the task's, does not stand in its own
        way. Nothing may be awaited between this and the handler's start: then it is counted."""
        system = self._system
        counted = int(own is not None and own.at_work)
        self._gate.check_running(call, system.at_work(scope) - counted)
        if system.running - system.waiting - counted >= system.settings.handlers:
            raise ResourceExhaustedError(
                "This server runs as many handlers as it allows", headers={"Retry-After": "1"}
            )

    async def _known(self, scope: TaskScope, send: SendRecord) -> Admission | Message:
        if send.message is not None:
            return _decode_message(send.message)
        try:
            return Admission(
                await self._directory.activate(scope, send.task_id), sequence=0, repeat=True
            )
        except TaskNotFoundError:
            raise TaskNotFoundError(
                "This message was worked on and its task was deleted; to have it done again send "
                "it with another messageId",
                taskId=send.task_id,
            ) from None

    def _check_content(self, agent: Agent, message: Message) -> None:
        for media_type in media_types(message.parts):
            if not accepts(agent.input_modes, media_type):
                raise ContentTypeNotSupportedError(
                    f"This agent does not take {media_type}; it takes "
                    f"{', '.join(agent.input_modes)}",
                    mediaType=media_type,
                )

    # --- SendStreamingMessage -------------------------------------------------------------------

    async def stream(
        self, call: Call, agent: Agent, scope: TaskScope, request: SendMessageRequest
    ) -> Subscription:
        """Stream the task from where it is until it ends or asks, or one direct Message."""
        result = await self._carry_out(call, agent, scope, request, True, False)
        if isinstance(result, Message):
            stream = Subscription(
                None, Frame(0, response=StreamResponse(message=result)), cursor=0,
                sending=True, catchup=_nothing, release=self._system.notify_drain,
            )  # fmt: skip
        else:
            actor = result.actor
            if call.last_event_id is not None and call.last_event_id <= result.after:
                # It saw an earlier turn, whose end would be taken for the end of this one.
                call.last_event_id = None
            history = shown_history(self._system, request.configuration)
            stream = await open_stream(
                self._system, actor, call, history=history, sending=True,
                first=actor.born_frame(history) if result.fresh else None,
            )  # fmt: skip
        self._opened(stream)
        return stream

    # --- CancelTask -----------------------------------------------------------------------------

    async def cancel(
        self, call: Call, agent: Agent, scope: TaskScope, request: CancelTaskRequest
    ) -> Task:
        """Cancel; the answer is the task in its end state, whoever wins the race to it."""
        actor = await self._directory.activate(scope, request.id)
        if actor.state.terminal:
            await _committed(actor)
            raise TaskNotCancelableError(
                f"The task is {actor.state.name.lower()} already", taskId=request.id
            )
        actor.cancel(Reason.USER)
        wait = Wait(actor)
        self._system.waits.add(wait)
        actor.hold()
        try:
            header = await actor.ended(wait)
        finally:
            actor.release()
            self._system.waits.discard(wait)
        if header.state is not TaskState.CANCELED:
            if header.state.terminal:
                raise TaskNotCancelableError(
                    f"The task became {header.state.name.lower()} before it could be canceled",
                    taskId=request.id,
                )
            raise UnavailableError("The task's handler has not stopped yet; ask for the task.")
        task, generation = await actor.task(None)
        return with_generation(task, generation, call)


async def _committed(actor: Actor) -> None:
    """Wait until the store has what a refusal is about to tell: nobody hears of it before."""
    await actor.accepted(actor.sequence)


async def _nothing(cursor: int) -> list[Frame]:
    return []


def _sender(call: Call, request: SendMessageRequest, skill: str | None = None) -> Sender:
    return Sender(call.principal, call.activated, request.metadata, skill)
