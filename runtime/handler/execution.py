"""One start of a handler: a supervised child that turns what the handler does into entries."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from ...protocol.types import Message
from ..actor.actor import ROOT, LeaseLost, Op
from ..actor.cancellation import Reason, TaskCancelled
from ..call import Sender
from ..concurrency.signal import Signal
from ..concurrency.supervisor import Child, in_task
from ..durable.replay import DURABLE, NOTHING_RECORDED, Ledger, ReplayMismatch, durable
from ..exceptions import loggable
from ..journal.entries import Entry
from ..telemetry import current_actor, handler_span
from .outcome import cancelled, cause_of, fail_anyway, finish, unwound

if TYPE_CHECKING:
    from ..actor.actor import Actor
    from .context import TaskContext

log = logging.getLogger("greenroom.runtime")

_PACKAGE = os.path.dirname(os.path.dirname(__file__))


class Alarm(Protocol):
    """A line of the handler that a durable timer wakes."""

    due: float
    """Wall time in seconds since the epoch."""

    def ring(self) -> None:
        """It is time. From here on the line counts as at work."""


class Execution:
    """A handler at work for one run of one task."""

    __slots__ = (
        "_answers",
        "_calls",
        "_child",
        "_counted",
        "_ctx",
        "_durable",
        "active",
        "actor",
        "alarms",
        "call",
        "cuts",
        "detached",
        "handler",
        "ledger",
        "listeners",
        "message",
        "reason",
        "signal",
        "started",
        "state",
        "stopped_at_work",
        "summoned",
    )  # fmt: skip

    def __init__(
        self,
        actor: Actor,
        message: Message,
        call: Sender | None = None,
        entries: Sequence[Entry] = (),
        state: Any = None,
    ) -> None:
        self.actor = actor
        self.message = message
        self.call = call
        self.ledger = Ledger(entries) if entries else NOTHING_RECORDED
        actor.skill = actor.agent.skill_of(message, call)
        self.handler = actor.agent.handler_of(actor.skill)
        self.signal = Signal()
        """Wakes a handler that waits for a message."""
        self.reason: Reason | None = None
        self.stopped_at_work = False
        """When it was told to stop it did not only wait."""
        self.detached = False
        """Left behind: it may not write any more."""
        self.active = 1
        """Lines of the handler (its branches) that are at work: at 0 the actor may rest."""
        self.listeners = 0
        """Those of them that wait for whatever message comes."""
        self.cuts = Signal()
        """Something cut branches off."""
        self.summoned = False
        """It sleeps, and what wakes it is here: it counts as at work already."""
        self._counted = False
        """Between its start and its end. A plain handler's thread may outlast that."""
        self.state = state
        self._durable = bool(entries) and durable(entries)
        self.started = False
        self._calls: set[anyio.CancelScope] = set()
        self.alarms: dict[str, Alarm] = {}
        """What sleeps, by the name of its timer."""
        self._answers: dict[Op, Message] = {}
        self._child: Child | None = None
        self._ctx: TaskContext | None = None

    def start(self) -> None:
        """Run it as a child of the runtime."""
        self._counted = True
        self.actor.system.began(self.actor.scope)
        self._child = self.actor.system.start(self.run, "handler")

    @property
    def written_first(self) -> bool:
        """Whether what it answers must be in the store before it begins: then no repeat of a send
        that nobody answered can start it again."""
        actor = self.actor
        return actor.agent.on_interrupt == "fail" or not actor.system.settings.birth_delay

    # --- the actor's side -----------------------------------------------------------------------

    def wake(self) -> None:
        """A message came."""
        if self.listeners:
            self._summon()
        self.signal.notify()

    async def stirred(self) -> None:
        """Wait until something may have come for the handler, or its end."""
        await self.signal.wait()
        if self.detached:
            await anyio.lowlevel.checkpoint()  # a cancellation that is not held off comes first

    def answered(self, op: Op, message: Message) -> None:
        """The answer came that is recorded at ``op``."""
        self._answers[op] = message
        self._summon()
        self.signal.notify()

    def _summon(self) -> None:
        if self._counted and self.asleep and not self.summoned:
            self.summoned = True
            self.actor.system.went_on(self.actor.scope)

    def take_answer(self, op: Op) -> Message | None:
        return self._answers.pop(op, None)

    @property
    def ending(self) -> bool:
        """Whether it was told to end the task."""
        return self.reason is not None and self.reason.ends

    @property
    def at_work(self) -> bool:
        """Whether it counts as at work."""
        return self._counted and (self.summoned or not self.asleep)

    @property
    def asleep(self) -> bool:
        """Whether it waits for messages and time only."""
        return self.active == 0

    def pause(self) -> None:
        """A line of the handler waits for the client, for time or for its branches."""
        self.active -= 1
        if not self.active:
            if self._counted:
                self.actor.system.paused(self.actor.scope)
            self.actor.moved()
            self.actor.quiet()
            self.actor.system.stir()

    def go(self) -> None:
        """A line of the handler goes on, or begins."""
        self.active += 1
        if self.active == 1:
            if self.summoned:
                self.summoned = False
            elif self._counted:
                self.actor.system.went_on(self.actor.scope)
            self.actor.parked = False
            self.actor.moved()

    def begins_durable(self) -> None:
        """A step or a stream begins: from now on the run is worth resuming, recorded or not."""
        if not self._durable:
            self._durable = True
            self.actor.record(ROOT, DURABLE)

    def cancel(self, reason: Reason) -> None:
        """Cancel the handler; it has ``cancel_grace`` seconds to clean up."""
        if self.reason is not None:
            if reason.ends and not self.reason.ends:
                self.reason = reason  # it stops already, and now the task does, too
            return
        self.reason = reason
        self.stopped_at_work = not self.asleep
        self.signal.notify()
        if not self.started:
            # It never ran, and on asyncio a child cancelled this early never will.
            self.abandon(reason.value)
            cancelled(self)
            self.actor.execution = None
            return
        self.actor.system.graces.add(self)
        # A thread cannot be cancelled: its call to the context is, or its next one, or it is left
        # behind.
        if self._child is not None and not self.handler.threaded:
            self._child.cancel()
        for call in self._calls:
            call.cancel()

    def abandon(self, why: str) -> None:
        """Stop it without waiting; nothing that it still does is written."""
        self.detached = True
        self.signal.notify()
        if self.reason is None:
            self.reason = Reason.LEASE_LOST
        for call in self._calls:
            call.cancel()
        if self._child is not None:
            self._child.cancel()
        if not self.started:
            self._leave()

    def _leave(self) -> None:
        """It does not count any more."""
        if not self._counted:
            return
        self._counted = False
        system, scope = self.actor.system, self.actor.scope
        if self.asleep and not self.summoned:
            system.went_on(scope)
        system.ended(scope)

    async def called(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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

    def overdue(self) -> None:
        """The grace is over: end the task without its handler."""
        if self.actor.execution is not self:
            return
        log.warning(
            "the handler %s of task %s ignored its cancellation (%s) for %g s and is left behind: "
            "let CancelledError pass, as `except Exception` does",
            self.handler.function.__qualname__,
            self.actor.id,
            None if self.reason is None else self.reason.value,
            self.actor.system.settings.cancel_grace,
        )
        self.detached = True
        self.signal.notify()
        if self._child is not None:
            self._child.cancel()
        cancelled(self)
        self.actor.execution = None
        self._leave()  # nobody waits for its end

    def _stumbled(self, cause: BaseException) -> ReplayMismatch | None:
        """A handler that fails before it has come as far as it came before is another one."""
        if self.reason is not None or self._ctx is None or not isinstance(cause, Exception):
            return None
        try:
            self._ctx.check_complete(cause)
        except ReplayMismatch as mismatch:
            log.warning(
                "task %s: the handler failed on replay", self.actor.id, exc_info=loggable(cause)
            )
            return mismatch.with_traceback(cause.__traceback__)
        return None

    def _unwind(self, error: BaseException) -> bool:
        """Write what an exception of the handler means for its task. Return whether it is a
        cancellation, which the child passes on to its event loop."""
        try:
            cause = cause_of(error)
            if not self.detached:
                unwound(self, self._stumbled(cause) or cause)
            return isinstance(cause, anyio.get_cancelled_exc_class())
        except LeaseLost:
            log.info("task %s has a new owner; its end here is not written", self.actor.id)
        except BaseException:
            if not self.detached:
                fail_anyway(self, error)
        return False

    # --- the child ------------------------------------------------------------------------------

    async def run(self) -> None:
        if self.detached:
            return
        actor = self.actor
        system = actor.system
        self.started = True
        current_actor.set(actor)
        try:
            await actor.claimed()
            if self.written_first:
                await actor.flushed()
            if system.tracing:
                with handler_span(actor):
                    value = await self._call()
            else:
                value = await self._call()
            if not self.detached:
                if self.ledger and self._ctx is not None:
                    self._ctx.check_complete()
                finish(self, value)
        except anyio.get_cancelled_exc_class() as cancelled:
            if not self.detached:
                unwound(self, cancelled)
            raise
        except BaseException as error:
            # Nothing that a handler raises may reach its neighbours, neither SystemExit nor
            # KeyboardInterrupt: servers and asyncio take Ctrl-C elsewhere (bare trio may raise it
            # here; then this handler is what it stops).
            if issubclass(type(error), GeneratorExit) and not in_task():
                raise  # nobody raised it: the coroutine is closed because its event loop is gone
            if self._unwind(error):
                raise
        finally:
            self._leave()
            system.graces.discard(self)
            if self._ctx is not None:
                self._ctx.leave()
                self._ctx = None
            self._child = None
            if actor.execution is self:
                actor.execution = None
                actor.quiet()

    async def _call(self) -> Any:
        from .context import TaskContext

        self._ctx = ctx = TaskContext(self)
        handler = self.handler
        if handler.threaded:
            from .blocking import BlockingContext

            return await anyio.to_thread.run_sync(
                partial(handler.function, BlockingContext(ctx)),
                abandon_on_cancel=True,
                limiter=self.actor.system.threads,
            )
        made = handler.function(ctx)
        if inspect.isasyncgen(made):
            return await ctx.pump(cast("AsyncGenerator[Any, None]", made))
        return await made
