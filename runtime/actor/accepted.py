"""What a task accepts: the handler's view of an actor, and the entries that it appends.

Everything here is a plain method that changes the accepted state and appends to what waits for the
journal. Nothing of it is visible outside before it is committed (``committing``).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

import msgspec

from ...protocol.frame import Frame
from ...protocol.types import (
    Message,
    StreamResponse,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from ..agent import Agent
from ..call import Sender, TaskScope
from ..content import fit
from ..journal.committer import Writer
from ..journal.entries import ALL_TIMERS, Entry, Header, Kind, PushRow, SendRecord, Timer
from ..journal.feed import Feed
from ..journal.fold import Artifacts
from ..journal.places import ROOT, Place
from ..journal.records import RecordKind, call_record, record, record_of
from . import states
from .cancellation import Reason
from .errors import LeaseLost
from .running import RunningHandler
from .system import System
from .timers import DEADLINE

log = logging.getLogger("greenroom.actor")

_encode = msgspec.json.Encoder().encode
_MESSAGES_KEPT = 32
"""Messages of a young task kept in memory; a task with more reads its history from the store."""


class AcceptedState(Writer):
    """The accepted state of one task."""

    __slots__ = (
        "_artifact_bytes",
        "_artifacts",
        "_borders",
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
        "_pushes",
        "_queued",
        "_retakes",
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
        "before_run",
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
        "held_back",
        "id",
        "inbox",
        "left_at_work",
        "open_ask",
        "parked",
        "readers",
        "reply",
        "run",
        "run_start",
        "scope",
        "sequence",
        "skill",
        "state",
        "status",
        "stopped",
        "system",
        "updated_at",
    )  # fmt: skip

    def __init__(
        self, system: System, agent: Agent, scope: TaskScope, task_id: str, context_id: str
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
        self.before_run = 1
        """Generation of the last event before the current run."""
        self.epoch = 1
        self.floor = 0
        self.handler = ""
        self.blocked = ""
        self.skill: str | None = None
        """What the current run carries out: whoever continues it must be allowed to."""
        self.parked = False
        self.attempts = 0
        self.stopped = False
        """Its handler was told to go, and the run goes on in another process."""
        self.left_at_work = False
        """… where it does not only wait."""
        self.execution: RunningHandler | None = None
        self.inbox: deque[tuple[int, Message]] = deque()
        """Accepted messages that the handler has not read."""
        self.open_ask: Place | None = None
        """Where the answer to the open question will be recorded."""
        self.reply: Message | None = None
        """A direct Message: then there is no task."""
        self.readers = 0
        """Who waits for this actor: while somebody does it stays in memory."""
        self.held_back = False
        """It would have left memory, were it not for its readers."""
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
        self._pushes: tuple[PushRow, ...] = ()
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
        self._borders: list[int] = []
        """Where the log may be cut: ends of segments behind ``floor``, oldest first."""
        self._status_json = b""
        self._row_epoch = 0
        self._retakes = False
        self._committed_sequence = 0
        self._inflight: tuple[Header, list[Frame], list[SendRecord]] | None = None
        self._queued = False
        self._lost: Exception | None = None

    # --- coming to life ---------------------------------------------------------------------------

    def begin(
        self, message: Message, send: SendRecord | None, metadata: dict[str, object] | None
    ) -> None:
        """Take the first message of a new task. Nothing is written before ``create``."""
        self._first = (message, send)
        if metadata:
            self._metadata = _encode(metadata)

    def add_push(self, row: PushRow) -> None:
        """Commit a push configuration with what is written next."""
        self._pushes += (row,)

    def create(self) -> None:
        """Let the task exist: it, its first message and what follows are written from now on."""
        if self.born or self.reply is not None or self._first is None:
            return
        self.born = True
        self.system.creations.discard(self)
        message, send = self._first
        self.created_at = self.updated_at = self.system.now()
        self._born_at = self.system.wire_time(self.created_at)  # the event tells what is kept
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
            self.set_timer(Timer(DEADLINE, self.created_at + self.agent.deadline))
        if self.execution is not None:
            self.set_status(TaskState.WORKING)

    def _dirty(self) -> None:
        """There is something to commit."""
        if not self._queued and self._inflight is None:
            self._queued = True
            self.system.journal.submit(self)

    def leave(self) -> None:
        """Go out of memory."""
        system = self.system
        system.forget(self)
        system.creations.discard(self)
        system.idle.discard(self)
        if self.first_send is not None:
            system.sends.pop(self.first_send.key, None)
        self.feed.close()

    @property
    def first_send(self) -> SendRecord | None:
        """The record of the send that began the task, if it can be repeated."""
        return self._first[1] if self._first is not None else None

    # --- changes ----------------------------------------------------------------------------------

    def set_status(
        self, state: TaskState, message: Message | None = None, op: Place = ROOT,
        metadata: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        """Append a status event. Raises ``IllegalTransition``."""
        if not self.born:
            self.create()
            if state is TaskState.WORKING and message is None and op is ROOT:
                return
        states.check(self.state, state)
        # Encoded first: what cannot be written must not have changed anything.
        status = TaskStatus(state=state, message=message, timestamp=self.system.timestamp())
        if message is None:
            status_json = _encode(status)  # nothing in it is the agent's own
        else:
            status, status_json = fit(status)
        response = StreamResponse(
            status_update=TaskStatusUpdateEvent(
                task_id=self.id, context_id=self.context_id, status=status, metadata=metadata
            )
        )
        if message is None and metadata is None:
            frame = Frame(self.generation + 1, response=response, json=_encode(response))
        else:
            frame = self._frame(response)
        self._keep_status_message()
        self.state = state
        self.status = status
        self.updated_at = self.system.now()
        self._status_json = status_json
        if state.terminal and self._timed:
            self._timers.clear()
            self._cleared = [ALL_TIMERS]
        self._add_event(frame, op)

    def add_artifact(self, event: TaskArtifactUpdateEvent, op: Place = ROOT) -> None:
        """Append an artifact event. Raises ``IllegalTransition`` when the task is over."""
        if not self.born:
            self.create()
        if self.state.terminal:
            raise states.IllegalTransition(self.state, self.state)
        self._add_event(self._frame(StreamResponse(artifact_update=event)), op)

    def record(self, op: Place, body: bytes) -> None:
        """Append a record of the current run."""
        if not self.born:
            self.create()
        self._add(Kind.RECORD, body, 0, op)

    def set_timer(self, timer: Timer) -> None:
        self._timed = True
        self._timers.append(timer)
        self._dirty()

    def clear_timer(self, name: str) -> None:
        if self._timers:  # one that was set and is in no append yet
            self._timers = [timer for timer in self._timers if timer.name != name]
        self._cleared.append(name)
        self._dirty()

    def begin_run(self, message: Message, name: str, state: bytes = b"null") -> None:
        """Begin a run that no message begins: a record holds what it starts from, and ``name``
        says what began it."""
        self.create()  # or the first run would still be to come
        self.run += 1
        self.run_start = self.sequence + 1
        self.before_run = self.generation
        self.handler = self.agent.version
        self.record(
            ROOT,
            record(
                RecordKind.RUN,
                name,
                b'{"message":%b,"state":%b,"unread":%b}'
                % (_encode(message), state, _encode(list(self.inbox))),
            ),
        )

    def record_call(self, sender: Sender | None) -> None:
        """Keep what came with the message of a run and chooses or guides its handler."""
        if sender is not None and (sender.metadata or sender.activated or sender.skill):
            self._add(Kind.RECORD, call_record(sender), 0, ROOT)

    def record_cancel(self, reason: Reason) -> None:
        """Keep that the run was told to end, and why, until it has."""
        if self.born and not self.state.terminal and self._lost is None:
            self._add(Kind.RECORD, record_of(RecordKind.CANCEL, reason), 0, ROOT)

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

    def _frame(self, response: StreamResponse) -> Frame:
        """Return the next event, encoded; raises TypeError for what cannot be sent."""
        response, body = fit(response)
        return Frame(self.generation + 1, response=response, json=body)

    def _add_event(self, frame: Frame, op: Place) -> None:
        self.generation += 1
        self._add(Kind.EVENT, frame.json, self.generation, op)
        self._new.append(frame)

    def _add(self, kind: Kind, body: bytes, generation: int, op: Place) -> None:
        if self._lost is not None:
            raise LeaseLost(str(self._lost))
        self.parked = False
        if op.ordinal and self.attempts > 1 and self.agent.on_interrupt != "rerun":
            self.attempts = 1  # the run has come further than ever
        self.sequence += 1
        self._pending.append(
            Entry(self.sequence, kind, body, generation, self.run, op.branch, op.ordinal)
        )
        self._dirty()

    # --- the header -------------------------------------------------------------------------------

    @property
    def _node(self) -> str:
        """Who has to be alive for this task to go on; nobody if only its client or time can."""
        if self.state.terminal or self.blocked:
            return ""
        if not (self.state.interrupted or self.parked):
            return self.system.node
        execution = self.execution
        if execution is None:
            asleep = not self.left_at_work
        else:
            asleep = execution.asleep and not execution.ending
        return "" if asleep else self.system.node

    def moved(self) -> None:
        """The handler fell asleep or woke up: the store must know who is to be missed."""
        if self.committed is not None and self.committed.node != self._node:
            self.touch()

    def touch(self) -> None:
        """Have the header written, though there may be no entry to write."""
        self._touched = True
        self._dirty()

    def interrupted(self, at_work: bool) -> None:
        """The handler was stopped in good order: that was no attempt that failed.

        If it was ``at_work``, somebody else must go on with it though the client be asked as well.
        """
        if self._lost is None and self.born and not self.state.terminal:
            self.stopped = True
            self.left_at_work = at_work
            self.attempts = max(0, self.attempts - 1)
            self.touch()
