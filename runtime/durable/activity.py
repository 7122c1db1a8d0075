"""What a handler is at: lines of control at work or asleep, what wakes them, and in which order.

A *line* is one coroutine that uses the context: the handler itself, or a branch of it. A handler
whose every line waits for its client or for time is asleep. Then its task needs no process: the
actor may rest, and the header in the store names no node. So a line counts as at work from the
moment something has happened for it, and not only from its next turn.

Alarms are what time does to a handler: the end of a sleep, the end of a time-out. Each has a timer
in the store. In the usual case an alarm rings when it is due. If several are overdue (the process
was away, or something blocked the event loop), they ring in the order in which they were due, and
each one waits until the handler has done what followed from the one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from ...protocol.types import Message
from ..actor.cancellation import Reason, TaskCancelled
from ..concurrency.signal import Signal
from ..concurrency.supervisor import Child
from ..journal.places import Place
from .replay import Replay

_TURNS = 50
"""Turns of the event loop without an operation, after which a handler is taken to be waiting."""
_PATIENCE = 1.0
"""Seconds that overdue alarms wait for a handler that has not come as far as it was."""
_LATE = 0.05
"""Seconds after which an alarm looks whether others are overdue as well."""


class Alarm(Protocol):
    """A line of the handler that a durable timer wakes."""

    due: float
    """Seconds since the epoch."""
    rung: bool
    """It was time, and what it does is put off until entries are found again."""

    def ring(self) -> None:
        """It is time. From here on the line counts as at work."""


class Host(Protocol):
    """What an activity needs of the actor whose handler is at work (``actor.Actor``)."""

    system: Any
    scope: Any
    parked: bool

    def moved(self) -> None: ...

    def quiet(self) -> None: ...


class Watch(Protocol):
    """What finds a replay that comes no further (``standstill.Standstill``)."""

    def watch(self) -> None: ...

    def leave(self) -> None: ...


class Activity:
    """Whether one handler works or waits, and why it is stopped."""

    __slots__ = (
        "_answers", "_calls", "_came_back", "_catching_up", "_counted", "_deciding", "_overdue",
        "active", "actor", "alarms", "cuts", "detached", "held", "listeners", "moves", "reason",
        "replay", "signal", "standstill", "summoned",
    )  # fmt: skip

    def __init__(self, actor: Host, replay: Replay) -> None:
        self.actor = actor
        self.replay = replay
        self.signal = Signal()
        """Wakes a handler that waits for a message."""
        self.reason: Reason | None = None
        """Why the handler is being stopped, if it is."""
        self.detached = False
        """Left behind: the handler may not write any more."""
        self.active = 1
        """Lines that are at work: at 0 the actor may rest."""
        self.listeners = 0
        """Lines that wait for whatever message comes."""
        self.cuts = Signal()
        """Something cut branches off, or, on replay, a branch has come further."""
        self.held = 0
        """Lines that wait until the replay has come further."""
        self.standstill: Watch | None = None
        """Finds a replay that comes no further."""
        self.moves = 0
        """Grows with every operation that begins or ends."""
        self.summoned = False
        """The handler sleeps, and what wakes it is here: it counts as at work already."""
        self._counted = False
        """Between its start and its end. A plain handler's thread may outlast that."""
        self._calls: set[anyio.CancelScope] = set()
        self.alarms: dict[str, Alarm] = {}
        """What sleeps, by the name of its timer."""
        self._overdue: list[Alarm] = []
        self._deciding = 0
        """Lines that decide an operation as soon as the others have done what they do at once."""
        self._came_back = replay.empty
        """Whether what was overdue when the process came back has happened."""
        self._catching_up: Child | None = None
        self._answers: dict[Place, Message] = {}

    # --- at work or asleep ------------------------------------------------------------------------

    def begin(self) -> None:
        """The handler is to start: it counts from here on."""
        self._counted = True
        self.actor.system.began(self.actor.scope)

    def leave(self) -> None:
        """The handler does not count any more."""
        self._overdue.clear()
        if self.standstill is not None:
            self.standstill.leave()
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up = None
        if not self._counted:
            return
        self._counted = False
        system, scope = self.actor.system, self.actor.scope
        if self.asleep and not self.summoned:
            system.resumed(scope)
        system.ended(scope)

    @property
    def asleep(self) -> bool:
        """Whether the handler waits for messages and time only."""
        return self.active == 0

    @property
    def at_work(self) -> bool:
        """Whether the handler counts as at work."""
        return self._counted and (self.summoned or not self.asleep)

    def pause(self) -> None:
        """A line of the handler waits for the client, for time or for its branches."""
        self.active -= 1
        if not self.active:
            actor = self.actor
            if self._counted:
                actor.system.paused(actor.scope)
            actor.moved()
            actor.quiet()
            actor.system.notify_drain()

    def go(self) -> None:
        """A line of the handler goes on, or begins."""
        self.active += 1
        if self.active == 1:
            actor = self.actor
            if self.summoned:
                self.summoned = False
            elif self._counted:
                actor.system.resumed(actor.scope)
            actor.parked = False
            actor.moved()

    # --- messages ---------------------------------------------------------------------------------

    def wake(self) -> None:
        """A message came."""
        if self.listeners:
            self._summon()
        self.signal.notify()

    def answered(self, place: Place, message: Message) -> None:
        """The answer came that is recorded at ``place``."""
        self._answers[place] = message
        self._summon()
        self.signal.notify()

    def take_answer(self, place: Place) -> Message | None:
        """Return the answer that is recorded at ``place``, once, if it came."""
        return self._answers.pop(place, None)

    async def notified(self) -> None:
        """Wait until something may have come for the handler, or its end."""
        await self.signal.wait()
        if self.detached:
            await anyio.lowlevel.checkpoint()  # a cancellation that is not shielded comes first

    def _summon(self) -> None:
        if self._counted and self.asleep and not self.summoned:
            self.summoned = True
            self.actor.system.resumed(self.actor.scope)

    # --- time -------------------------------------------------------------------------------------

    def set_alarm(self, name: str, alarm: Alarm) -> None:
        """Let ``alarm`` ring when it is due, or after those that are due before it."""
        self.alarms[name] = alarm
        system = self.actor.system
        left = alarm.due - system.now()
        if left > 0:
            system.alarms.add((self, name), left)
        else:
            self._put_off(alarm)

    def drop_alarm(self, name: str) -> None:
        """Nobody waits for the alarm any more."""
        alarm = self.alarms.pop(name, None)
        if alarm is not None:
            self.actor.system.alarms.discard((self, name))
            if alarm in self._overdue:
                self._overdue.remove(alarm)

    def expire(self, name: str) -> None:
        """The time of an alarm has come. One that is not there is no error."""
        alarm = self.alarms.get(name)
        if alarm is None or alarm in self._overdue:
            return
        now = self.actor.system.now()
        late = now - alarm.due > _LATE and any(
            other.due <= now for other in self.alarms.values() if other is not alarm
        )
        if self._overdue or self.replay.unread or late:
            self._put_off(alarm)
        else:
            alarm.ring()

    def _put_off(self, alarm: Alarm) -> None:
        self._overdue.append(alarm)
        if self._catching_up is None:
            self._catching_up = self.actor.system.start(self._catch_up, "overdue alarms")

    async def _catch_up(self) -> None:
        """Let what is overdue happen in the order in which it was due."""
        try:
            while self._overdue:
                await self.settled()
                if self._overdue:
                    alarm = min(self._overdue, key=lambda alarm: alarm.due)
                    self._overdue.remove(alarm)
                    alarm.ring()
                if not self._overdue:
                    await self.settled()  # what follows from the last one
        finally:
            self._catching_up = None
            self.cuts.notify()

    async def caught_up(self) -> None:
        """Wait until all that is overdue has happened. A message came later than that."""
        if not self._came_back:
            self._came_back = True
            await self.settled()  # other lines have yet to come to what is overdue
        if self._catching_up is None:
            return
        while self._catching_up is not None:
            await self.cuts.wait()
        await anyio.lowlevel.checkpoint_if_cancelled()

    async def deciding(self) -> None:
        """Wait as ``settled`` does, before an operation is decided. What is overdue waits for the
        decision, and for what follows from it."""
        self._deciding += 1
        try:
            await self.settled(deciding=True)
        finally:
            self._deciding -= 1

    async def at_rest(self, *, deciding: bool = False) -> None:
        """Wait until no operation begins or ends for some turns of the event loop, and, unless it
        is who waits, no line is ``deciding``."""
        turns, moves = 0, self.moves
        while turns < _TURNS or (self._deciding and not deciding):
            await anyio.lowlevel.checkpoint()
            turns += 1
            if self.moves != moves:
                turns, moves = 0, self.moves

    async def settled(self, *, deciding: bool = False) -> None:
        """Wait until the handler has done what followed from what happened last."""
        await self.at_rest(deciding=deciding)
        moves, patience = self.moves, anyio.current_time() + _PATIENCE
        while self.replay.unread and anyio.current_time() < patience:
            await anyio.sleep(0.01)
            if self.moves != moves:
                await self.at_rest(deciding=deciding)
                moves, patience = self.moves, anyio.current_time() + _PATIENCE

    # --- waiting for the replay -------------------------------------------------------------------

    async def replay_moved(self) -> None:
        """Wait until the replay has come further: something was cut, or a line has moved. Raises
        ``ReplayMismatch`` once it comes no further."""
        self.held += 1
        self.watch()
        try:
            await self.cuts.wait()
        finally:
            self.held -= 1
        if self.replay.stumbled is not None:
            raise self.replay.stumbled.again()

    def watch(self) -> None:
        """Somebody waits for the replay to come further."""
        if self.standstill is not None:
            self.standstill.watch()

    @property
    def waits_for_replay(self) -> bool:
        """Whether a line, or a time-out that is over, waits until the replay has come further."""
        if self.detached or self.reason is not None or self.replay.stumbled is not None:
            return False
        if self.held:
            return True
        rung = any(alarm.rung for alarm in self.alarms.values())
        return rung and (self.replay.unread or self.replay.pending)

    @property
    def only_waits(self) -> bool:
        """Whether every line that is at work waits for the replay, and no time is overdue."""
        return self.active <= self.held and not self._overdue

    # --- its end ----------------------------------------------------------------------------------

    @property
    def may_write(self) -> bool:
        """Whether what ends now ends for good, and not only in this process or this version."""
        return (
            (self.reason is None or self.reason.ends)
            and not self.detached
            and self.replay.stumbled is None
        )

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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

    def cancel_calls(self) -> None:
        """Cancel the calls of a plain handler's thread that are under way."""
        for call in self._calls:
            call.cancel()
