"""Operations that wait for the client: questions, and messages sent meanwhile."""

from __future__ import annotations

import builtins
from typing import Any, TypeVar, overload

import anyio
import anyio.lowlevel
import msgspec
from typing_extensions import TypeForm

from ...protocol.types import Message, TaskState
from ..actor.replies import say
from ..answers import InvalidAnswer, answer, check_type
from ..content import Content
from ..journal.entries import Kind
from ..journal.places import Place, inner, inside
from ..journal.records import RecordKind
from .branch import Asleep, Operation
from .run import Run

T = TypeVar("T")

_ONE_QUESTION = "one question is open already; wait for its answer before asking another"


class _Question(msgspec.Struct):
    """What is open: if another branch says something, it is asked again, to be seen."""

    place: Place
    answer: Place
    """Where the answer will be recorded."""
    state: TaskState
    content: Content
    repeated: int


class AskOperations:
    """The part of ``TaskContext`` that listens."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._question: _Question | None = None

    @overload
    async def ask(self, question: Content) -> str: ...

    @overload
    async def ask(self, question: Content, type: TypeForm[T]) -> T: ...

    async def ask(self, question: Content, type: Any = str) -> Any:
        """Ask the client and wait for the answer, for a week if need be (input-required).

        With ``type`` (``int``, ``date | None``, ``Literal["a", "b"]``, a dataclass, …) the answer
        is validated; one that does not fit is asked for again. The task may leave memory meanwhile.
        ``Message`` as the type gives the message itself. Raises TypeError for a type that no
        answer can be read as.
        """
        return await self._ask(question, type, TaskState.INPUT_REQUIRED)

    async def require_auth(self, content: Content) -> Message:
        """Ask for an authorisation (auth-required) and wait for a message (section 7.6)."""
        answer: Message = await self._ask(content, Message, TaskState.AUTH_REQUIRED)
        return answer

    async def _ask(self, content: Content, type: Any, state: TaskState) -> Any:
        if isinstance(content, builtins.type):
            raise TypeError(f"the question comes first: ctx.ask('How many?', {content.__name__})")
        if type is not Message and type is not str:
            check_type(type)
        operation = self._run.begin()
        self._run.replay.check_new(operation.place, "a question", False)
        attempt = 0
        with operation:
            while True:
                message = await self._ask_once(operation, attempt, content, state)
                if type is Message:
                    return message
                try:
                    return answer(message.parts, type)
                except InvalidAnswer as invalid:
                    content = str(invalid)
                    attempt += 1

    async def _ask_once(
        self, operation: Operation, attempt: int, content: Content, state: TaskState
    ) -> Message:
        """Ask for the ``attempt``-th time (from 0) and return what was answered."""
        run, replay, place = self._run, self._run.replay, operation.place
        asked, answered = inner(place, 2 * attempt + 1), inner(place, 2 * attempt + 2)
        entry = replay.event(asked, "a question")
        if entry is None:
            if attempt and replay.last(place.branch) > place.ordinal:
                raise replay.mismatch(
                    place, "a question that was answered", "one that the answer does not fit"
                )
            await run.new_ground(operation)
            await self._ask_alone(asked)
            run.actor.set_status(state, say(run.actor, content), asked)
        elif entry.kind is Kind.RECORD:
            raise RuntimeError(_ONE_QUESTION)
        else:
            await run.found(operation, asked)
        replay.take(asked)
        answer = run.value(answered, RecordKind.ANSWER)
        if answer is not None:
            await run.found(operation, answered)
            replay.take(answered)
            return await self._message_at(answer)
        since = run.actor.sequence if entry is None else entry.sequence
        repeated = len(replay.below(asked))
        return await self._wait_answer(
            operation, _Question(asked, answered, state, content, repeated), since
        )

    async def _ask_alone(self, asked: Place) -> None:
        """Wait until no question is open that replay still cuts off. Raises ``RuntimeError`` if
        another question is open for good."""
        run, actor = self._run, self._run.actor
        while actor.open_ask is not None and self._question is None and run.replay.unread:
            await run.activity.replay_moved()
        if actor.open_ask is None:
            return
        if self._question is None and not run.replay.empty:
            actor.open_ask = None  # of a branch that is not there any more
            actor.withdraw()
            return
        run.record(asked, RecordKind.REFUSED)
        raise RuntimeError(_ONE_QUESTION)

    async def _wait_answer(self, operation: Operation, question: _Question, since: int) -> Message:
        """Wait for the first message accepted after the entry ``since``."""
        run, actor, answered = self._run, self._run.actor, question.answer
        activity = run.activity
        try:
            await run.new_ground(operation)
            message = activity.take_answer(answered)
            if message is not None:
                return message
            if actor.inbox:
                await activity.caught_up()
            for item in actor.inbox:
                if item[0] > since:  # it came before the replay did
                    actor.inbox.remove(item)
                    run.record(answered, RecordKind.ANSWER, item[0])
                    return item[1]
            actor.open_ask = answered
            self._question = question
            self._ask_again()
            with Asleep(activity):
                while (message := activity.take_answer(answered)) is None:
                    run.check()
                    await activity.notified()
            await anyio.lowlevel.checkpoint_if_cancelled()
        finally:
            if self._question is question:
                self._question = None
            if actor.open_ask == answered:
                actor.open_ask = None
                if activity.reason is None and run.may_write:
                    actor.withdraw()
        return message

    def _ask_again(self) -> None:
        """Show the open question again, if something else was said since."""
        question, actor = self._question, self._run.actor
        if question is None or actor.open_ask != question.answer or actor.state.interrupted:
            return
        question.repeated += 1
        place = Place(inside(question.place), question.repeated)
        content = question.content
        if isinstance(content, Message):
            content = msgspec.structs.replace(content, message_id="")  # one of its own
        actor.set_status(question.state, say(actor, content), place)

    async def receive(self) -> Message:
        """Return the next message that the client sent meanwhile; wait for one if there is none."""
        run, actor = self._run, self._run.actor
        operation = run.begin()
        sequence = run.value(operation.place, RecordKind.RECEIVE)
        with operation:
            if sequence is not None:
                await run.found(operation, operation.place)
                message = await self._message_at(sequence)
                actor.forget_unread(sequence)
                return message
            await run.new_ground(operation)
            if actor.inbox:
                await run.activity.caught_up()
            if not actor.inbox:
                await self._listen()
            sequence, message = actor.inbox.popleft()
            run.record(operation.place, RecordKind.RECEIVE, sequence)
            return message

    async def _listen(self) -> None:
        """Wait until there is a message that nobody has read."""
        run, activity = self._run, self._run.activity
        run.begins_durable()  # what waits for its client can wait for it again
        activity.listeners += 1
        try:
            with Asleep(activity):
                while not run.actor.inbox:
                    run.check()
                    await activity.notified()
        finally:
            activity.listeners -= 1
        await anyio.lowlevel.checkpoint_if_cancelled()

    async def _message_at(self, sequence: int) -> Message:
        """Read a message again. A time-out must not strike on ground that is only replayed."""
        message: Message | None = None
        with anyio.CancelScope(shield=True):
            message = await self._run.actor.message_at(sequence)
        assert message is not None
        return message
