"""One task: the single writer of its journal.

An actor is an object, not a child of the event loop. What changes a task is a plain method that
awaits nothing: it reads the state, appends entries and tells the committer, and no other code runs
in between. So an actor handles one message at a time without a lock. All waiting is done by others:
by the committer, by the handler (a supervised child), by the senders (``answer``, ``accepted``).

There are two points of view:

- what was *accepted* (``state``, ``sequence``, ``generation`` …): the handler's view;
- what was *committed* (``committed``, ``feed``): the world's view. Nothing else leaves the actor.

The sequence of a life: ``begin`` (or ``wake``) → entries … → ``rest`` or an end. A task whose first
message is answered at once is written once, with everything that happened to it. Nothing of it
exists outside until the first entry, a short delay, or a sender who wants to return at once.

An actor is lost (``lose``) when its append is refused (another node owns the task) or when nobody
knows what became of it. It forgets everything, stops its handler, and writes nothing any more; the
store decides who goes on.
"""

from __future__ import annotations

import logging
import secrets

import msgspec

from ...protocol.errors import (
    InternalError,
    ResourceExhaustedError,
    TaskGenerationMismatchError,
    UnavailableError,
    UnsupportedOperationError,
)
from ...protocol.frame import Frame
from ...protocol.types import Message, TaskState, TaskStatus
from ..agent import Agent
from ..call import Sender
from ..journal.entries import Kind, Loaded, SendRecord, Timer
from ..journal.fold import BLOCKED
from ..journal.records import RecordKind, record_of
from ..journal.run_start import overdue, start_of, suspended
from .cancellation import STATUS_TEXT, Reason
from .errors import STOPPING, LeaseLost
from .replies import say
from .running import RunningHandler
from .system import System
from .timers import CANCEL, DEADLINE, UNBLOCK
from .view import TaskView

log = logging.getLogger("greenroom.actor")

_encode = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_status = msgspec.json.Decoder(TaskStatus).decode

_SNOOZE = 60.0
"""Seconds until a timer is due again whose handler has not come to where it waits."""


class Actor(TaskView):
    """The awake form of one task."""

    __slots__ = ()

    # --- coming to life ---------------------------------------------------------------------------

    @classmethod
    def wake(cls, system: System, agent: Agent, loaded: Loaded) -> Actor:
        """Make the actor of a stored task. Its first append takes the task over."""
        header = loaded.header
        self = cls(system, agent, header.scope, header.id, header.context_id)
        self.born = self._timed = True
        self.state = header.state
        self.status = _decode_status(header.status)
        self.generation = header.generation
        self.sequence = self._committed_sequence = header.sequence
        self.created_at = header.created_at
        self.updated_at = header.updated_at
        self.run = header.run
        self.run_start = header.run_start
        first = next((entry for entry in loaded.entries if entry.kind is Kind.EVENT), None)
        self.before_run = header.generation if first is None else first.generation - 1
        self._row_epoch = header.epoch
        self.epoch = header.epoch + 1
        self.floor = header.floor
        self.handler = header.handler
        self.blocked = header.blocked
        self.attempts = header.attempts
        self.committed = header
        self._messages = None
        self._metadata = header.metadata
        self._status_json = header.status
        self._artifacts = None
        self._folded = header.folded
        self._borders = list(loaded.borders)
        frames = [Frame(entry.generation, json=entry.body) for entry in loaded.tail]
        for frame in frames:
            self._unfold(frame)
        self.feed.restore(frames, header.generation)
        if header.state.terminal:
            self.feed.close()
        return self

    # --- messages and cancellations ---------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Whether a message would make a handler start, or go on that waits for one, or has just
        been started again and waits for one where it left off."""
        execution = self.execution
        if execution is None:
            return self.state.interrupted or self.open_ask is not None
        if not execution.started:
            return True
        listens = self.open_ask is not None or execution.listeners > 0
        return listens and not execution.at_work

    def deliver(
        self,
        message: Message,
        send: SendRecord | None,
        if_generation: int | None,
        sender: Sender | None = None,
    ) -> tuple[int, int]:
        """Accept a message for an existing task.

        Returns the generation it was accepted after and the sequence it got.

        Order of checks: state, then generation (authorisation and deduplication came before).
        """
        if self._lost is not None:
            raise self._failure()
        if self.stopped:
            raise UnavailableError(STOPPING, headers={"Retry-After": "1"})
        if self.state.terminal:
            raise UnsupportedOperationError(
                f"The task is {self.state.name.lower()} and accepts no more messages; "
                f"send the message without a taskId to start a new task.",
                taskId=self.id,
            )
        if if_generation is not None and if_generation != self.generation:
            raise TaskGenerationMismatchError(
                f"Expected generation {if_generation} but the task is at {self.generation}",
                taskId=self.id,
                expectedGeneration=str(if_generation),
                currentGeneration=str(self.generation),
            )
        # What answers a question is read at once, whatever was left unread before it.
        waiting = self.state.interrupted or self.open_ask is not None
        if not waiting and len(self.inbox) >= self.system.settings.mailbox:
            raise ResourceExhaustedError(
                f"The task has {len(self.inbox)} messages that its agent has not read yet",
                headers={"Retry-After": "1"},
            )
        accepted_after = self.generation
        if waiting:
            self._keep_status_message()
        elif self.status.message is not None and not self.blocked:
            self.set_status(self.state)  # what was said before comes before it in the history
        sequence = self._add_message(message)
        if send is not None:
            self._sends.append(send)
        self.inbox.append((sequence, message))
        if waiting:
            self._resume(sequence, message, sender)
        elif self.execution is not None:
            self.execution.wake()
        return accepted_after, sequence

    def _resume(self, sequence: int, message: Message, sender: Sender | None) -> None:
        """The message that a waiting task waited for is here: committed with working, together."""
        self.system.idle.discard(self)
        ask, self.open_ask = self.open_ask, None
        if ask is None and self.execution is None and not suspended(self.entries):
            # One call per message: a new turn, a new run.
            self.inbox.clear()
            self.entries = ()
            self.run += 1
            self.run_start = sequence
            self.before_run = self.generation
            self.handler = self.agent.version
            self.attempts = 1
            self.execution = self.system.launch(self, message, sender)
            self.record_call(sender)
            self.set_status(TaskState.WORKING)
            self.execution.start()
            return
        if self.state.interrupted:
            self.set_status(TaskState.WORKING)
        # What was due before the message came happens first. Then the question may be gone; if it
        # is not, the handler takes the answer out of the inbox (``durable.ask``).
        if ask is not None and self.execution is None and overdue(self.entries, self.system.now()):
            ask = None
        if ask is not None:
            self.inbox.pop()
            self.record(ask, record_of(RecordKind.ANSWER, sequence))
        if self.execution is None:
            self.resume(sender)
        assert self.execution is not None
        if ask is not None:
            self.execution.answered(ask, message)
        else:
            self.execution.wake()

    def resume(self, sender: Sender | None = None) -> None:
        """Start the handler of a woken task again: it replays up to where it was.

        ``sender`` is who woke it, but for what came with the message that the run answers.
        """
        entries, self.entries = self.entries, ()
        began = start_of(entries)
        # A message just delivered is in the inbox already; the others were never read.
        known = {sequence for sequence, _ in self.inbox}
        self.inbox.extendleft(item for item in reversed(began.unread) if item[0] not in known)
        sender = began.sender(sender.principal if sender is not None else None)
        self.execution = self.system.launch(self, began.message, sender, entries, began.state)
        self.execution.start()

    def withdraw(self) -> None:
        """Nobody waits any more for the answer to the open question."""
        if self._lost is None and self.state.interrupted:
            self.set_status(TaskState.WORKING)

    def cancel(self, reason: Reason) -> None:
        """End the task: through the handler if one runs, else at once."""
        if self.execution is not None:
            # Whoever takes the task up, if this process does not live to see its end, must know.
            self.record_cancel(reason)
            self.execution.cancel(reason)
        else:
            self.set_status(TaskState.CANCELED, say(self, STATUS_TEXT[reason]))

    def block(self, why: str, source: str = "") -> None:
        """Replay cannot go on: visible, not terminal, tried again with a new version. ``source``,
        the line of the handler, is for the log alone."""
        shown = f"{why}: {source}" if source else why
        if self.agent.on_mismatch == "fail":
            log.error("task %s cannot be replayed: %s", self.id, shown)
            self.set_status(
                TaskState.FAILED,
                say(self, "The agent has changed since this task began and cannot go on with it."),
            )
            return
        log.error("task %s is blocked: %s", self.id, shown)
        self.blocked = f"{self.agent.version}\n{self.system.node}\n{why}"
        self.set_status(
            TaskState.WORKING,
            say(self, f"Blocked: {why}"),
            metadata={BLOCKED: why},
        )
        self.set_timer(Timer(UNBLOCK, self.system.now() + self.system.settings.unblock_every))

    def timer_due(self, timer: Timer) -> None:
        """A durable timer of this task is due."""
        if self._lost is not None:
            return
        if timer.name in (DEADLINE, CANCEL, UNBLOCK):
            self.clear_timer(timer.name)
            self._command_due(timer.name)
        elif self.execution is not None:
            if self.execution.timer_due(timer.name):
                self._snooze(timer)
            elif timer.due_at <= self.system.now():
                self.clear_timer(timer.name)  # of what the run has left behind
        elif self.entries and not (self.blocked or self.state.terminal):
            # A sleep or a time-out, beside a question that is still open: the run goes on.
            self._snooze(timer)
            self.resume()
        else:
            self.clear_timer(timer.name)

    def _snooze(self, timer: Timer) -> None:
        """Set a timer of the handler anew, for later, if it is still in the store as it was. The
        commit that records what the timer has done clears it; until then the task stays one that a
        sweep finds, whatever becomes of this process."""
        later = self.system.now() + _SNOOZE
        pending = any(item.name == timer.name for item in self._timers)
        if not pending and timer.name not in self._cleared:
            self.set_timer(Timer(timer.name, later))

    def _command_due(self, name: str) -> None:
        """A timer that is no handler's is due."""
        if self.state.terminal:
            return
        if name == DEADLINE:
            self.cancel(Reason.DEADLINE)
        elif name == CANCEL:
            log.info("task %s is canceled by the operator", self.id)
            self.cancel(Reason.OPERATOR)
        elif self.blocked:
            self.set_timer(Timer(UNBLOCK, self.system.now() + self.system.settings.unblock_every))

    def restarted(self, execution: RunningHandler, state: bytes = b"null") -> None:
        """``ctx.restart``: a new run of the same handler on the same message."""
        self.attempts = 1
        self.begin_run(execution.message, "restart", state)
        self.record_call(execution.call)
        self.execution = self.system.launch(
            self, execution.message, execution.call, state=msgspec.json.decode(state)
        )
        self.execution.start()

    # --- leaving memory ---------------------------------------------------------------------------

    def rest(self) -> None:
        """Leave memory; the task stays where it is, in the store. Who still waits for it does so
        only because the server stops: nobody is put to rest in front of a reader."""
        self._lost = LeaseLost("passivated", public_error=STOPPING)
        self.leave()

    def quiet(self) -> None:
        """Nothing is to be done until somebody calls: after a while the actor may rest."""
        if self.born and self._lost is None and not self.state.terminal:
            self.system.idle.add(self)

    def hold(self) -> None:
        """Somebody waits for it: it stays in memory until ``release``."""
        self.readers += 1

    def release(self) -> None:
        """Who called ``hold`` waits no longer."""
        self.readers -= 1
        if self.held_back and not self.readers:
            self.held_back = False
            self.quiet()

    def idle_over(self) -> None:
        """The idle time is over."""

        if self._lost is not None or self.state.terminal:
            return
        execution = self.execution
        asleep = execution is not None and execution.asleep
        if execution is not None and not asleep:
            return  # it will say when it waits again
        if self.readers:
            self.held_back = True  # the last one of them lets it go (``release``)
        elif self.unwritten:
            self.system.idle.add(self)
        elif self.state.interrupted or self.blocked:
            if execution is None or asleep:
                self._passivate()
        elif asleep and not self.parked:
            # It sleeps while working: say in the store that nobody has it, then leave.
            self.parked = True
            self.moved()
            self.system.idle.add(self)
        elif asleep:
            self._passivate()

    def _passivate(self) -> None:
        if self.execution is not None:
            self.execution.passivate()
        self.rest()

    @property
    def adrift(self) -> bool:
        """Whether nothing will move this task on: it is not over and waits for nobody, no handler
        runs, and nothing is on its way to the store. That is a mistake of the runtime."""
        if self._lost is not None or self.execution is not None or self.unwritten:
            return False
        if not self.born:
            return self.reply is None and self._first is not None
        waits = self.state.interrupted or self.open_ask is not None
        return not (waits or self.state.terminal or self.blocked or self.stopped or self.parked)

    def give_up(self) -> None:
        """End a task that is ``adrift``."""
        error_id = secrets.token_hex(6)
        log.error("task %s was left without an end; it fails (error id %s)", self.id, error_id)
        public = f"The agent failed. Error id: {error_id}"
        if self.born:
            self.set_status(TaskState.FAILED, say(self, public))
        else:
            self.lose(InternalError(public))

    def replied(self, message: Message) -> None:
        """The handler's direct Message may be seen: there will be no task."""
        self.reply = message
        self.leave()

    def __repr__(self) -> str:
        return (
            f"<Actor {self.id} {self.state.name.lower()} generation={self.generation} "
            f"sequence={self.sequence} backlog={self.backlog}>"
        )
