"""A direct Message on its way out: the answer of a handler that makes no task."""

from __future__ import annotations

import msgspec

from ...protocol.types import Message
from ..actor.actor import Actor
from ..actor.errors import Duplicate
from ..content import fit
from ..journal.entries import Append, Outcome, Verdict


class DirectReply:
    """A direct Message on its way out: remembered first where the send can be repeated."""

    __slots__ = ("_actor", "_body", "_message")

    def __init__(self, actor: Actor, message: Message) -> None:
        self._actor = actor
        # Here, where only its handler fails if it cannot be written.
        self._message, self._body = fit(message)

    def send(self) -> None:
        if self._actor.first_send is None:
            self._reply()
        else:
            self._actor.system.journal.submit(self)

    def _reply(self) -> None:
        self._actor.replied(self._message)

    def take(self) -> Append | None:
        send = self._actor.first_send
        assert send is not None
        return Append(
            scope=self._actor.scope,
            sends=(msgspec.structs.replace(send, task_id="", message=self._body),),
        )

    def done(self, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.COMMITTED:
            self._reply()
        else:
            assert outcome.send is not None
            self._actor.lose(Duplicate(outcome.send))

    def unknown(self, error: BaseException) -> None:
        self._actor.unknown(error)
