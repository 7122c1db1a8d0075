"""Operations that wait for the client: questions, and messages sent meanwhile."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import anyio
import msgspec

from ...protocol.types import Message, TaskState
from ..actor.actor import Op
from ..actor.replies import say
from ..answers import InvalidAnswer, answer, check_type
from ..content import Content
from ..journal.entries import Kind
from .branch import Asleep, Busy
from .replay import below, record
from .run import Operations

T = TypeVar("T")

_ONE_QUESTION = "one question is open already; wait for its answer before asking another"


class _Question(msgspec.Struct):
    """What is open: if another branch says something, it is asked again, to be seen."""

    place: Op
    answer: Op
    """Where that will be recorded."""
    state: TaskState
    content: Content
    repeated: int


class Asking(Operations):
    """The part of ``TaskContext`` that listens."""

    _question: _Question | None = None

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
            check_type(type)
        actor = self._actor
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
                    if attempt and self._ledger.last(branch.name) > op.ordinal:
                        raise self._ledger.mismatch(
                            op, "a question that was answered", "one that the answer does not fit"
                        )
                    if actor.open_ask is not None:
                        actor.record(asked, record("refused"))
                        raise RuntimeError(_ONE_QUESTION)
                    actor.set_status(state, say(actor, content), asked)
                elif entry.kind is Kind.RECORD:
                    raise RuntimeError(_ONE_QUESTION)
                found = self._ledger.record(answered, "answer")
                if found is not None:
                    message = await self._message_at(msgspec.json.decode(found.value))
                else:
                    since = actor.sequence if entry is None else entry.sequence
                    repeated = len(self._ledger.below(asked))
                    branch.goes_on_anew()
                    question = _Question(asked, answered, state, content, repeated)
                    message = await self._wait_answer(question, since)
                if type is Message:
                    return message
                try:
                    return answer(message.parts, type)
                except InvalidAnswer as invalid:
                    content = str(invalid)
                    attempt += 1

    async def _wait_answer(self, question: _Question, since: int) -> Message:
        """Wait for the first message accepted after the entry ``since``."""
        execution, actor, answered = self._execution, self._actor, question.answer
        message = execution.take_answer(answered)
        if message is not None:
            return message
        for item in actor.inbox:
            if item[0] > since:  # it came before the replay did
                actor.inbox.remove(item)
                actor.record(answered, record("answer", value=b"%d" % item[0]))
                return item[1]
        actor.open_ask = answered
        self._question = question
        try:
            self._ask_again()
            with Asleep(execution):
                while (message := execution.take_answer(answered)) is None:
                    self._check()
                    await execution.stirred()
        finally:
            self._question = None
            if actor.open_ask == answered:
                actor.open_ask = None
                if execution.reason is None and self._may_write:
                    actor.withdraw()
        return message

    def _ask_again(self) -> None:
        """Show the open question again, if something else was said since."""
        question, actor = self._question, self._actor
        if question is None or actor.open_ask != question.answer or actor.state.interrupted:
            return
        question.repeated += 1
        place = Op(below(question.place), question.repeated)
        content = question.content
        if isinstance(content, Message):
            content = msgspec.structs.replace(content, message_id="")  # one of its own
        actor.set_status(question.state, say(actor, content), place)

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
                execution = self._execution
                execution.begins_durable()  # what waits for its client can wait for it again
                execution.listeners += 1
                try:
                    with Asleep(execution):
                        while not actor.inbox:
                            self._check()
                            await execution.stirred()
                finally:
                    execution.listeners -= 1
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
