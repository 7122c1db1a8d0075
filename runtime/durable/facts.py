"""Operations that record a fact: the time, chance, and how long a handler has slept."""

from __future__ import annotations

import uuid as stdlib_uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel

from ..journal.entries import Timer
from ..journal.places import inner, inside
from ..journal.records import Due, RecordKind
from ..settings import bounds
from .branch import Asleep
from .run import Run


class FactOperations:
    """The part of ``TaskContext`` that knows the time."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def _fact(self, kind: RecordKind, make: Callable[[], Any]) -> Any:
        run = self._run
        operation = run.begin()
        value = run.value(operation.place, kind)
        if value is None:
            value = make()
            run.record(operation.place, kind, value)
            operation.line.is_new()
        operation.over()
        return value

    def now(self) -> datetime:
        """The time (UTC) at which this was first asked."""
        system = self._run.actor.system
        return datetime.fromtimestamp(self._fact(RecordKind.NOW, system.now), UTC)

    def uuid(self) -> stdlib_uuid.UUID:
        """A random UUID, the same on replay."""
        return stdlib_uuid.UUID(self._fact(RecordKind.UUID, self._run.actor.system.new_id))

    def random(self) -> float:
        """A number in [0, 1), the same on replay."""
        value: float = self._fact(RecordKind.RANDOM, self._run.actor.system.random.random)
        return value

    async def sleep(self, seconds: float) -> None:
        """Sleep until ``seconds`` after this was first asked, through restarts; not at all if they
        are fewer than 0."""
        seconds = bounds.seconds(seconds, "ctx.sleep", "to wait for the client, use ctx.receive")
        run, actor = self._run, self._run.actor
        operation = run.begin()
        value: Due | float | None = run.value(operation.place, RecordKind.SLEEP)
        due = Due(value) if isinstance(value, int | float) else value
        end = inner(operation.place, 1)
        timer = f"sleep{inside(operation.place)}"
        with operation:
            if run.find(end, RecordKind.END) is not None:
                await run.found(operation, end)
                return
            if (
                due is not value
                and run.replay.last(operation.branch.name) > operation.place.ordinal
            ):
                return
            recorded = due is not None
            over = False
            try:
                await run.new_ground(operation)
                now = actor.system.now()
                if due is None:
                    due = Due(now + seconds)
                    run.record(operation.place, RecordKind.SLEEP, due)
                if due.at > now or not recorded:
                    actor.set_timer(Timer(timer, due.at))  # if the clock went back it is gone
                alarm = _Sleeper(due.at, Asleep(run.activity))
                run.activity.set_alarm(timer, alarm)
                try:
                    with alarm.line:
                        await alarm.over.wait()
                finally:
                    run.activity.drop_alarm(timer)
                await anyio.lowlevel.checkpoint_if_cancelled()
                over = True
            finally:
                if due is not None:
                    run.withdraw(timer)
                    if over:
                        run.record(end, RecordKind.END)


class _Sleeper:
    """A line in ``ctx.sleep`` (see ``activity.Alarm``)."""

    __slots__ = ("due", "line", "over", "rung")

    def __init__(self, due: float, line: Asleep) -> None:
        self.due = due
        self.line = line
        self.over = anyio.Event()
        self.rung = False

    def ring(self) -> None:
        self.line.end()
        self.over.set()
