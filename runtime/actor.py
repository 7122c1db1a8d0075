"""One task: the single writer of its journal.

An actor is an object, not a child of the event loop. What changes a task is a plain method here;
it appends entries and says so to the journal. There are two points of view:

- what was *accepted* (``state``, ``sequence``, ``generation`` …): the handler's view;
- what was *committed* (``committed``, ``feed``): the world's view. Nothing else leaves it.

The sequence of an actor's life: ``begin`` (or ``wake``) → entries … → ``rest`` or an end. A task
whose first message is answered at once is written once, with everything that happened to it:
until ``birth`` nothing of it exists outside.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..protocol.errors import (
    A2AError,
    InternalError,
    ResourceExhaustedError,
    TaskGenerationMismatchError,
    UnavailableError,
    UnsupportedOperationError,
)
from ..protocol.frame import Frame
from ..protocol.types import (
    Message,
    Part,
    Role,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from . import states
from .call import Scope, Sender
from .cancel import TOLD, Reason
from .feed import Feed
from .fold import Artifacts, artifacts_of, join, task_from, task_of
from .ports import (
    ALL_TIMERS,
    Append,
    Entry,
    Header,
    Kind,
    Loaded,
    Outcome,
    Segment,
    SendRecord,
    Timer,
    Verdict,
)
from .system import System

if TYPE_CHECKING:
    from .agent import Agent
    from .execution import Execution

log = logging.getLogger("greenroom.actor")

_encode = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_status = msgspec.json.Decoder(TaskStatus).decode
_MESSAGES_KEPT = 32
"""Messages of a young task kept in memory; a task with more reads its history from the store."""


class LeaseLost(Exception):
    """Another node owns the task now, or the store forgot us: this actor may not write."""


class Duplicate(Exception):
    """The message had been accepted before: by whom, ``send`` says."""

    def __init__(self, send: SendRecord) -> None:
        super().__init__(send.message_id)
        self.send = send


class Op(msgspec.Struct, frozen=True):
    """The place of an operation of a handler in its run."""

    branch: str
    ordinal: int


ROOT = Op("", 0)
"""No operation: written by the runtime itself."""


class Wait:
    """Somebody waits for an actor, but not for ever."""

    __slots__ = ("actor", "expired")

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.actor.feed.signal.notify()


class Actor:
    """The awake form of one task."""

    __slots__ = (
        "_artifact_bytes",
        "_artifacts",
        "_born_at",
        "_cleared",
        "_committed_sequence",
        "_first",
        "_folded",
        "_inflight",
        "_lost",
        "_messages",
        "_metadata",
        "_new",
        "_pending",
        "_queued",
        "_row_epoch",
        "_sends",
        "_status_json",
        "_timed",
        "_timers",
        "_touched",
        "_unfolded",
        "_unfolded_bytes",
        "agent",
        "attempts",
        "blocked",
        "born",
        "committed",
        "context_id",
        "created_at",
        "entries",
        "epoch",
        "execution",
        "feed",
        "floor",
        "generation",
        "handler",
        "id",
        "inbox",
        "open_ask",
        "parked",
        "readers",
        "reply",
        "run",
        "run_start",
        "scope",
        "sequence",
        "state",
        "status",
        "stopped",
        "system",
        "updated_at",
    )  # fmt: skip

    def __init__(
        self, system: System, agent: Agent, scope: Scope, task_id: str, context_id: str
    ) -> None:
        settings = system.settings
        self.system = system
        self.agent = agent
        self.scope = scope
        self.id = task_id
        self.context_id = context_id
        self.born = False
        self.state = TaskState.SUBMITTED
        self.status = TaskStatus(state=TaskState.SUBMITTED)
        self.generation = 1
        self.sequence = 0
        self.created_at = self.updated_at = 0.0
        self.run = 0
        self.run_start = 0
        self.epoch = 1
        self.floor = 0
        self.handler = ""
        self.blocked = ""
        self.parked = False
        self.attempts = 0
        self.stopped = False
        """Its handler was told to go, and the run goes on in another process."""
        self.execution: Execution | None = None
        self.inbox: deque[tuple[int, Message]] = deque()
        """Accepted messages that the handler has not read."""
        self.open_ask: Op | None = None
        """Where the answer to the open question will be recorded."""
        self.reply: Message | None = None
        """A direct Message: then there is no task."""
        self.readers = 0
        """Who waits for this actor: while somebody does it stays in memory."""
        self.entries: Sequence[Entry] = ()
        """Of a woken task: what its run did, until the run goes on."""
        self.committed: Header | None = None
        self.feed = Feed(1, max_events=settings.tail_events, max_bytes=settings.tail_bytes)
        self._first: tuple[Message, SendRecord | None] | None = None
        self._born_at = ""
        self._metadata: bytes | None = None
        self._messages: list[tuple[int, Message]] | None = []
        self._pending: list[Entry] = []
        self._new: list[Frame] = []
        self._sends: list[SendRecord] = []
        self._timers: list[Timer] = []
        self._timed = False
        """Timers of this task may be in the store."""
        self._touched = False
        """The header alone has changed."""
        self._cleared: list[str] = []
        self._unfolded: list[Frame] = []
        self._unfolded_bytes = 0
        self._artifacts: Artifacts | None = Artifacts()
        """What was committed of a task whose artifacts are small; of others the store knows."""
        self._artifact_bytes = 0
        self._folded = 1
        self._status_json = b""
        self._row_epoch = 0
        self._committed_sequence = 0
        self._inflight: tuple[Header, list[Frame], list[SendRecord]] | None = None
        self._queued = False
        self._lost: Exception | None = None

    # --- coming to life -------------------------------------------------------------------------

    def begin(
        self, message: Message, send: SendRecord | None, metadata: dict[str, object] | None
    ) -> None:
        """Take the first message of a new task. Nothing is written before ``birth``."""
        self._first = (message, send)
        if metadata:
            self._metadata = _encode(metadata)

    def birth(self) -> None:
        """Let the task exist: it, its first message and what follows are written from now on."""
        if self.born or self.reply is not None or self._first is None:
            return
        self.born = True
        self.system.births.discard(self)
        message, send = self._first
        self._born_at = self.system.timestamp()
        self.created_at = self.updated_at = self.system.now()  # never before what is shown
        self.status = TaskStatus(state=TaskState.SUBMITTED, timestamp=self._born_at)
        self._status_json = _encode(self.status)
        self.run = self.run_start = 1
        self.handler = self.agent.version
        self.attempts = 1
        self._add_message(message)
        if self.execution is not None:
            self.record_call(self.execution.call)
        if send is not None:
            self._sends.append(send)
        if self.agent.deadline is not None:
            self.set_timer(Timer("deadline", self.created_at + self.agent.deadline))
        if self.execution is not None:
            self.set_status(TaskState.WORKING)

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
        frames = [Frame(entry.generation, json=entry.body) for entry in loaded.tail]
        for frame in frames:
            self._unfold(frame)
        self.feed.restore(frames, header.generation)
        if header.state.terminal:
            self.feed.close()
        return self

    # --- changes --------------------------------------------------------------------------------

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
            raise UnavailableError("The task has moved to another node; try again.")
        if self.stopped:
            raise UnavailableError("The server is going; try again.", headers={"Retry-After": "1"})
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
        from .execution import Execution
        from .ledger import Ledger

        self.system.idle.discard(self)
        ask, self.open_ask = self.open_ask, None
        if ask is None and self.execution is None and not Ledger.suspended(self.entries):
            # One call per message: a new turn, a new run.
            self.inbox.clear()
            self.entries = ()
            self.run += 1
            self.run_start = sequence
            self.handler = self.agent.version
            self.attempts = 1
            self.execution = Execution(self, message, sender)
            self.record_call(sender)
            self.set_status(TaskState.WORKING)
            self.execution.start()
            return
        if self.state.interrupted:
            self.set_status(TaskState.WORKING)
        if ask is not None:
            self.inbox.pop()
            self.record(ask, b'{"kind":"answer","value":%d}' % sequence)
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
        from .execution import Execution
        from .ledger import Ledger

        entries, self.entries = self.entries, ()
        began = Ledger.start(entries)
        # A message just delivered is in the inbox already; the others were never read.
        known = {sequence for sequence, _ in self.inbox}
        self.inbox.extendleft(item for item in reversed(began.unread) if item[0] not in known)
        principal = sender.principal if sender is not None else None
        sender = Sender(principal, began.activated, began.metadata)
        self.execution = Execution(self, began.message, sender, entries, began.state)
        self.execution.start()

    def withdraw(self) -> None:
        """Nobody waits any more for the answer to the open question."""
        if self._lost is None and self.state.interrupted:
            self.set_status(TaskState.WORKING)

    def set_status(
        self, state: TaskState, message: Message | None = None, op: Op = ROOT,
        metadata: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        """Append a status event. Raises ``IllegalTransition``."""
        if not self.born:
            self.birth()
            if state is TaskState.WORKING and message is None and op is ROOT:
                return
        states.check(self.state, state)
        self._keep_status_message()
        self.state = state
        self.status = TaskStatus(state=state, message=message, timestamp=self.system.timestamp())
        self.updated_at = self.system.now()
        self._status_json = _encode(self.status)
        if state.terminal and self._timed:
            self._timers.clear()
            self._cleared = [ALL_TIMERS]
        self._add_event(
            StreamResponse(
                status_update=TaskStatusUpdateEvent(
                    task_id=self.id, context_id=self.context_id, status=self.status,
                    metadata=metadata,
                )
            ),
            op,
        )  # fmt: skip

    def add_artifact(self, event: TaskArtifactUpdateEvent, op: Op = ROOT) -> None:
        """Append an artifact event. Raises ``IllegalTransition`` when the task is over."""
        if not self.born:
            self.birth()
        if self.state.terminal:
            raise states.IllegalTransition(self.state, self.state)
        self._add_event(StreamResponse(artifact_update=event), op)

    def record(self, op: Op, body: bytes) -> None:
        """Append a record of the current run."""
        if not self.born:
            self.birth()
        if self.attempts > 1 and self.agent.on_interrupt != "rerun":
            self.attempts = 1  # the run has come further than ever
        self._add(Kind.RECORD, body, 0, op)

    def set_timer(self, timer: Timer) -> None:
        self._timed = True
        self._timers.append(timer)
        self._dirty()

    def clear_timer(self, name: str) -> None:
        self._cleared.append(name)
        self._dirty()

    def cancel(self, reason: Reason) -> None:
        """Cancel: through the handler if one runs, else at once."""
        if self.execution is not None:
            self.execution.cancel(reason)
        else:
            self.set_status(TaskState.CANCELED, self.say(TOLD[reason]))

    def block(self, why: str) -> None:
        """Replay cannot go on: visible, not terminal, tried again with a new version."""
        if self.agent.on_mismatch == "fail":
            log.error("task %s cannot be replayed: %s", self.id, why)
            self.set_status(
                TaskState.FAILED,
                self.say("The agent has changed since this task began and cannot go on with it."),
            )
            return
        log.error("task %s is blocked: %s", self.id, why)
        self.blocked = f"{self.agent.version} {self.system.node} {why}"
        self.set_status(
            TaskState.WORKING,
            self.say(f"Blocked: {why}"),
            metadata={"greenroom/blocked": why},
        )
        self.set_timer(Timer("unblock", self.system.now() + self.system.settings.unblock_every))

    def timer_due(self, timer: Timer) -> None:
        """A durable timer of this task is due."""
        if self._lost is not None:
            return
        if self.execution is not None and self.execution.alarm(timer.name):
            return  # it is cleared by what it wakes
        self.clear_timer(timer.name)
        if self.state.terminal:
            return
        if timer.name == "deadline":
            self.cancel(Reason.DEADLINE)
        elif timer.name == "cancel":  # from the command line
            self.cancel(Reason.USER)
        elif timer.name == "unblock":
            if self.blocked:
                self.set_timer(
                    Timer("unblock", self.system.now() + self.system.settings.unblock_every)
                )
        elif self.execution is None and self.entries and not self.blocked:
            # A sleep or a time-out, beside a question that is still open: the run goes on.
            self.resume()

    def say(self, text: str) -> Message:
        """A message of the agent to the client."""
        return Message(
            message_id=self.system.new_id(),
            role=Role.AGENT,
            parts=[Part(text=text)],
            context_id=self.context_id,
            task_id=self.id,
        )

    def restarted(self, execution: Execution, state: bytes = b"null") -> None:
        """``ctx.restart``: a new run of the same handler on the same message."""
        from .execution import Execution

        self.attempts = 1
        self.begin_run(execution.message, state)
        self.record_call(execution.call)
        self.execution = Execution(
            self, execution.message, execution.call, state=msgspec.json.decode(state)
        )
        self.execution.start()

    def begin_run(self, message: Message, state: bytes = b"null") -> None:
        """Begin a run that no message begins: a record holds what it starts from."""
        self.birth()  # or the first run would still be to come
        self.run += 1
        self.run_start = self.sequence + 1
        self.handler = self.agent.version
        self.record(
            ROOT,
            b'{"kind":"run","value":{"message":%b,"state":%b,"unread":%b}}'
            % (_encode(message), state, _encode(list(self.inbox))),
        )

    def record_call(self, sender: Sender | None) -> None:
        """Keep what came with the message of a run and chooses or guides its handler."""
        if sender is not None and (sender.metadata or sender.activated):
            from .ledger import call_record

            self._add(Kind.RECORD, call_record(sender), 0, ROOT)

    def _keep_status_message(self) -> None:
        """A status message that is superseded belongs to the history (section 3.7)."""
        if self.status.message is not None:
            self._add_message(self.status.message)
            self.status = msgspec.structs.replace(self.status, message=None)

    def _add_message(self, message: Message) -> int:
        self._add(Kind.MESSAGE, _encode(message), 0, ROOT)
        if self._messages is not None:
            self._messages.append((self.sequence, message))
            if len(self._messages) > _MESSAGES_KEPT:
                self._messages = None
        return self.sequence

    def _add_event(self, response: StreamResponse, op: Op) -> None:
        self.generation += 1
        frame = Frame(self.generation, response=response)
        self._add(Kind.EVENT, frame.json, self.generation, op)
        self._new.append(frame)

    def _add(self, kind: Kind, body: bytes, generation: int, op: Op) -> None:
        if self._lost is not None:
            raise LeaseLost(str(self._lost))
        self.parked = False
        self.sequence += 1
        self._pending.append(
            Entry(self.sequence, kind, body, generation, self.run, op.branch, op.ordinal)
        )
        self._dirty()

    @property
    def _node(self) -> str:
        """Who has to be alive for this task to go on; nobody if only its client or time can."""
        execution = self.execution
        if self.state.terminal or self.blocked:
            return ""
        waits = (self.state.interrupted or self.parked) and (execution is None or execution.asleep)
        return "" if waits else self.system.node

    def moved(self) -> None:
        """The handler fell asleep or woke up: the store must know who is to be missed."""
        if self.committed is not None and self.committed.node != self._node:
            self.touch()

    def touch(self) -> None:
        """Have the header written, though there may be no entry to write."""
        self._touched = True
        self._dirty()

    def interrupted(self) -> None:
        """The handler was stopped in good order: that was no attempt that failed."""
        if self._lost is None and self.born and not self.state.terminal:
            self.stopped = True
            self.attempts = max(0, self.attempts - 1)
            self.touch()

    def _dirty(self) -> None:
        if not self._queued and self._inflight is None:
            self._queued = True
            self.system.journal.submit(self)

    # --- the journal's side ---------------------------------------------------------------------

    def take(self) -> Append | None:
        """Hand all that waits to the journal (see ``journal.Writer``)."""
        self._queued = False
        if self._lost is not None:
            return None
        touched, self._touched = self._touched, False
        if not (self._pending or self._timers or self._cleared or touched):
            return None
        entries, self._pending = self._pending, []
        frames, self._new = self._new, []
        sends, self._sends = self._sends, []
        timers, self._timers = self._timers, []
        cleared, self._cleared = self._cleared, []
        segment = self._fold(frames)
        header = Header(
            id=self.id,
            scope=self.scope,
            context_id=self.context_id,
            state=self.state,
            status=self._status_json,
            generation=self.generation,
            sequence=self.sequence,
            created_at=self.created_at,
            updated_at=self.updated_at,
            run=self.run,
            run_start=self.run_start,
            epoch=self.epoch,
            node=self._node,
            folded=self._folded,
            floor=self.floor,
            metadata=self._metadata,
            handler=self.handler,
            blocked=self.blocked,
            attempts=self.attempts,
        )
        self._inflight = (header, frames, sends)
        return Append(
            expected=self._committed_sequence,
            epoch=self._row_epoch,
            header=header,
            entries=entries,
            sends=sends,
            segment=segment,
            timers=timers,
            cleared=cleared,
        )

    def _unfold(self, frame: Frame) -> None:
        self._unfolded.append(frame)
        self._unfolded_bytes += len(frame.json)

    def _fold(self, frames: list[Frame]) -> Segment | None:
        """Every so often write what came since the last segment as a new one: never rewritten."""
        for frame in frames:
            self._unfold(frame)
        settings = self.system.settings
        if (
            len(self._unfolded) < settings.tail_events
            and self._unfolded_bytes < settings.tail_bytes
        ):
            return None
        events = [
            event
            for frame in self._unfolded
            if (event := frame.response.artifact_update) is not None
        ]
        segment = Segment(self._folded + 1, self.generation, join(events))
        self._folded = self.generation
        self._unfolded = []
        self._unfolded_bytes = 0
        return segment

    def done(self, outcome: Outcome) -> None:
        assert self._inflight is not None
        header, frames, sends = self._inflight
        self._inflight = None
        self._forget_sends(sends)
        if outcome.verdict is Verdict.DUPLICATE:
            assert outcome.send is not None
            self.lose(Duplicate(outcome.send))
            return
        if outcome.verdict is Verdict.LOST:
            self.lose(LeaseLost(f"task {self.id} is owned elsewhere"))
            return
        self.committed = header
        self._committed_sequence = header.sequence
        self._row_epoch = 0
        self.moved()
        if frames:
            self._show(frames)
            self.feed.publish(frames)
        else:
            self.feed.signal.notify()
        if header.state.terminal:
            self._leave()
        elif self._pending or self._timers or self._cleared or self._touched:
            self._dirty()

    def _show(self, frames: list[Frame]) -> None:
        """Fold committed events into the task that replies show, while it is small."""
        shown = self._artifacts
        if shown is None:
            return
        for frame in frames:
            event = frame.response.artifact_update
            if event is not None:
                shown.apply(event)
                self._artifact_bytes += len(frame.json)
        if self._artifact_bytes > self.system.settings.tail_bytes:
            self._artifacts = None

    def unknown(self, error: BaseException) -> None:
        if self._inflight is not None:
            self._forget_sends(self._inflight[2])
        self._inflight = None
        self.lose(
            UnavailableError("The store failed; what became of the request is unknown. Try again.")
        )

    def lose(self, why: Exception) -> None:
        """Stop being the actor of this task: forget, and let whoever waits look elsewhere."""
        if self._lost is not None:
            return
        self._lost = why
        if self.born:
            self.system.strays[self.id] = self.scope
        self._pending.clear()
        self._new.clear()
        self._forget_sends(self._sends)
        if self.execution is not None:
            self.execution.abandon("lease lost")
        self._leave()

    def _leave(self) -> None:
        if self.system.actors.get(self.id) is self:
            del self.system.actors[self.id]
        self.system.births.discard(self)
        self.system.idle.discard(self)
        if self.first_send is not None:
            self.system.sends.pop(self.first_send.key, None)
        self.feed.close()

    def _forget_sends(self, sends: list[SendRecord]) -> None:
        for send in sends:
            self.system.sends.pop(send.key, None)

    def rest(self) -> None:
        """Leave memory; the task stays where it is, in the store."""
        self._lost = LeaseLost("passivated")
        self._leave()

    def quiet(self) -> None:
        """Nothing is to be done until somebody calls: after a while the actor may rest."""
        if self.born and self._lost is None and not self.state.terminal:
            self.system.idle.add(self)

    def idle_over(self) -> None:
        """The idle time is over."""

        if self._lost is not None or self.state.terminal:
            return
        execution = self.execution
        asleep = execution is not None and execution.asleep
        if execution is not None and not asleep:
            return  # it will say when it waits again
        if self.readers or self.unwritten:
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
            self.execution.reason = Reason.PASSIVATED
            self.execution.abandon("passivated")
        self.rest()

    @property
    def first_send(self) -> SendRecord | None:
        return self._first[1] if self._first is not None else None

    def replied(self, message: Message) -> None:
        """The handler's direct Message may be seen: there will be no task."""
        self.reply = message
        self._leave()

    # --- waiting --------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Entries accepted and not yet committed."""
        return self.sequence - self._committed_sequence

    @property
    def unwritten(self) -> bool:
        """Whether anything of this actor is not in the store yet."""
        return bool(self._queued or self._inflight)

    async def window(self) -> None:
        """Wait until the commit has caught up with what this task writes."""
        limit = self.system.settings.window
        while self.backlog >= limit and self._lost is None:
            await self.feed.signal.wait()
        self.check()

    async def flushed(self) -> None:
        """Wait until everything accepted so far is durable."""
        target = self.sequence
        while self._committed_sequence < target and self._lost is None:
            await self.feed.signal.wait()
        if self._committed_sequence < target:
            self.check()

    async def claimed(self) -> None:
        """Wait until the store knows that this actor has the task: of a woken one, that is."""
        while self._row_epoch and self._lost is None:
            if not self.unwritten:
                self.touch()
            await self.feed.signal.wait()
        if self._row_epoch:
            self.check()

    def check(self) -> None:
        """Raise why this actor may not go on, if so."""
        if self._lost is not None:
            raise self._lost

    async def settle(self) -> None:
        """Wait until nothing is left to commit, or this actor is not the task's any more."""
        while self.unwritten and self._lost is None:
            await self.feed.signal.wait()

    async def answer(self, after: int, wait: Wait) -> Header | Message:
        """Wait for what a blocking send waits for: an end or an interruption after ``after``.

        Gives the committed header as it stands when ``wait`` expires; a direct Message where the
        handler returned one. Raises ``Duplicate`` or an ``A2AError``.
        """
        while True:
            if self.reply is not None:
                return self.reply
            header = self.committed
            if header is not None and header.generation > after:
                state = header.state
                if state.terminal or state.interrupted or wait.expired:
                    return header
            elif wait.expired and header is not None:
                return header
            if self._lost is not None:
                raise self._failure()
            await self.feed.signal.wait()

    async def ended(self, wait: Wait) -> Header:
        """Wait for the end of the task; what is committed when ``wait`` expires."""
        while True:
            header = self.committed
            if header is not None and (header.state.terminal or wait.expired):
                return header
            if self._lost is not None:
                raise self._failure()
            await self.feed.signal.wait()

    async def accepted(self, sequence: int) -> Header | Message:
        """Wait until the entry ``sequence`` is committed: what an immediate return waits for."""
        while True:
            if self.reply is not None:
                return self.reply
            if self.committed is not None and self._committed_sequence >= sequence:
                return self.committed
            if self._lost is not None:
                raise self._failure()
            await self.feed.signal.wait()

    def _failure(self) -> Exception:
        lost = self._lost
        if isinstance(lost, Duplicate | A2AError):
            return lost
        if isinstance(lost, LeaseLost):
            return UnavailableError("The task has moved to another node; try again.")
        return InternalError()

    # --- reading --------------------------------------------------------------------------------

    async def task(self, history: int | None) -> tuple[Task, int]:
        """The committed task and its generation; ``history`` messages of it (``None``: all)."""
        header = self.committed
        assert header is not None
        artifacts = self._artifacts
        if artifacts is not None and (self._messages is not None or history == 0):
            shown: list[Message] | None = None
            if history != 0:
                assert self._messages is not None
                shown = [m for s, m in self._messages if s <= header.sequence]
                if history is not None:
                    shown = shown[-history:]
            return task_from(header, artifacts.result(), shown or None), header.generation
        snapshot = await self.system.store.snapshot(self.scope, self.id, history=history)
        if snapshot is None:
            raise UnavailableError("The task was removed meanwhile.")
        read = sum(map(len, snapshot.segments)) + sum(map(len, snapshot.events))
        if (
            read <= self.system.settings.tail_bytes
            and artifacts is None
            and self._artifact_bytes == 0
            and self.committed is header
            and snapshot.header.sequence == header.sequence
        ):
            self._artifacts = artifacts_of(snapshot)
            self._artifact_bytes = read
        return task_of(snapshot), snapshot.header.generation

    def born_frame(self, history: int | None) -> Frame:
        """The task as it was at its creation: what the stream of its first send begins with."""
        assert self._first is not None
        message, _ = self._first
        task = Task(
            id=self.id,
            context_id=self.context_id,
            status=TaskStatus(state=TaskState.SUBMITTED, timestamp=self._born_at),
            history=None if history == 0 else [message],
            metadata=msgspec.json.decode(self._metadata) if self._metadata else None,
        )
        return Frame(1, response=StreamResponse(task=task))

    def recent_messages(self) -> list[Message] | None:
        """All messages, oldest first, accepted ones included; ``None``: they are in the store."""
        if self._messages is None:
            return None
        return [message for _, message in self._messages] or (
            [self._first[0]] if self._first is not None else []
        )

    async def message_at(self, sequence: int) -> Message:
        """The message with this sequence."""
        for known, message in self.inbox:
            if known == sequence:
                return message
        rows = await self.system.store.messages(self.scope, self.id, before=sequence + 1, limit=1)
        if not rows or rows[0][0] != sequence:
            raise UnavailableError("A message of this task was pruned; it cannot be replayed.")
        return _decode_message(rows[0][1])

    def forget_unread(self, sequence: int) -> None:
        """A message was read before a restart."""
        self.inbox = deque(item for item in self.inbox if item[0] != sequence)

    def __repr__(self) -> str:
        return (
            f"<Actor {self.id} {self.state.name.lower()} generation={self.generation} "
            f"sequence={self.sequence} backlog={self.backlog}>"
        )
