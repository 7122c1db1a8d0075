"""One start of a handler: a supervised child that turns what the handler does into entries."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from ...protocol.types import Message
from ..actor.actor import Actor
from ..actor.cancellation import Reason
from ..actor.errors import LeaseLost
from ..call import Sender
from ..concurrency.supervisor import Child, in_task
from ..durable.activity import Activity
from ..durable.replay import NOTHING_RECORDED, Replay, ReplayMismatch
from ..durable.run import Run
from ..durable.standstill import Standstill
from ..exceptions import loggable
from ..journal.entries import Entry
from ..journal.places import Place
from ..journal.run_start import durable
from .blocking import BlockingContext
from .context import TaskContext
from .generator import pump
from .outcome import cancelled, cause_of, fail_anyway, finish, unwound
from .telemetry import current_actor, handler_span

log = logging.getLogger("greenroom.runtime")

_PACKAGE = os.path.dirname(os.path.dirname(__file__))


class Execution:
    """A handler at work for one run of one task."""

    __slots__ = (
        "_child", "_ctx", "_entries", "activity", "actor", "call", "commit_before_start", "handler",
        "message", "replay", "run_of", "started", "state", "stopped_at_work",
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
        self.replay = Replay(entries) if entries else NOTHING_RECORDED
        self.activity = Activity(actor, self.replay)
        if not self.replay.empty:
            self.activity.standstill = Standstill(self.activity, self._stalled)
        actor.skill = actor.agent.skill_of(message, call)
        self.handler = actor.agent.handler_of(actor.skill)
        self.commit_before_start = (
            actor.agent.on_interrupt == "fail" or not actor.system.settings.task_delay
        )
        """What it answers must be in the store before it begins: then no repeat of a send that
        nobody answered can start it again."""
        self.stopped_at_work = False
        """When it was told to stop it did not only wait."""
        self.state = state
        self.started = False
        self._entries = entries
        self._child: Child | None = None
        self._ctx: TaskContext | None = None
        self.run_of: Run | None = None

    def start(self) -> None:
        """Run it as a child of the runtime."""
        self.activity.begin()
        self._child = self.actor.system.start(self.run, "handler")

    # --- the actor's side -----------------------------------------------------------------------

    def wake(self) -> None:
        """A message came."""
        self.activity.wake()

    def answered(self, place: Place, message: Message) -> None:
        """The answer came that is recorded at ``place``."""
        self.activity.answered(place, message)

    def timer_due(self, name: str) -> bool:
        """A timer of the handler is due. Return whether the handler still waits for it, or may
        come to where it does."""
        activity = self.activity
        if name in activity.alarms:
            activity.expire(name)
            return True
        return not self.started or self.replay.unread or self.replay.pending

    @property
    def reason(self) -> Reason | None:
        """Why the handler is being stopped, if it is."""
        return self.activity.reason

    @property
    def detached(self) -> bool:
        """Left behind: the handler may not write any more."""
        return self.activity.detached

    @property
    def listeners(self) -> int:
        """How many lines wait for whatever message comes."""
        return self.activity.listeners

    @property
    def ending(self) -> bool:
        """Whether it was told to end the task."""
        return self.reason is not None and self.reason.ends

    @property
    def at_work(self) -> bool:
        """Whether it counts as at work."""
        return self.activity.at_work

    @property
    def asleep(self) -> bool:
        """Whether it waits for messages and time only."""
        return self.activity.asleep

    def cancel(self, reason: Reason) -> None:
        """Cancel the handler; it has ``cancel_grace`` seconds to clean up."""
        if self.reason is not None:
            if reason.ends and not self.reason.ends:
                self.activity.reason = reason  # it stops already, and now the task does, too
            return
        self.activity.reason = reason
        self.stopped_at_work = not self.asleep
        self.activity.signal.notify()
        if not self.started:
            # It never ran, and on asyncio a child cancelled this early never will.
            self.abandon(reason.value)
            cancelled(self)
            self.actor.execution = None
            return
        self.actor.system.cancel_deadlines.add(self)
        # A thread cannot be cancelled: its call to the context is, or its next one, or it is left
        # behind.
        if self._child is not None and not self.handler.threaded:
            self._child.cancel()
        self.activity.cancel_calls()

    def abandon(self, why: str) -> None:
        """Stop it without waiting; nothing that it still does is written."""
        self._detach()
        if self.reason is None:
            self.activity.reason = Reason.LEASE_LOST
        self.activity.cancel_calls()
        if self._child is not None:
            self._child.cancel()
        if not self.started:
            self.activity.leave()

    def passivate(self) -> None:
        """Leave memory: the handler waits, and goes on from its journal when somebody calls."""
        self.activity.reason = Reason.PASSIVATED
        self.abandon("passivated")

    def _detach(self) -> None:
        self.activity.detached = True
        self.activity.signal.notify()
        self.activity.cuts.notify()

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
        self._detach()
        if self._child is not None:
            self._child.cancel()
        cancelled(self)
        self.actor.execution = None
        self.activity.leave()  # nobody waits for its end

    def _stalled(self, mismatch: ReplayMismatch) -> None:
        """The replay comes no further: block the task without its handler, wherever that waits."""
        if self.actor.execution is not self or self.reason is not None:
            return
        unwound(self, mismatch)
        self.abandon("stalled")
        self.actor.execution = None
        self.activity.leave()
        self.actor.quiet()

    def _stumbled(self, cause: BaseException) -> ReplayMismatch | None:
        """A handler that fails before it has come as far as it came before is another one."""
        if self.reason is not None or self.run_of is None or not isinstance(cause, Exception):
            return None
        try:
            self.run_of.check_complete(cause)
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
            if self.commit_before_start:
                await actor.flushed()
            if system.tracing:
                with handler_span(actor):
                    value = await self._call()
            else:
                value = await self._call()
            if not self.detached:
                if self.run_of is not None and not self.replay.empty:
                    self.run_of.check_complete()
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
            self.activity.leave()
            system.cancel_deadlines.discard(self)
            if self.run_of is not None:
                self.run_of.leave()
                self.run_of = self._ctx = None
            self._child = None
            if actor.execution is self:
                actor.execution = None
                actor.quiet()

    async def _call(self) -> Any:
        handler = self.handler
        self.run_of = run = Run(
            self.actor, self.replay, self.activity, handler, message=self.message,
            sender=self.call, state=self.state,
            durable=bool(self._entries) and durable(self._entries),
        )  # fmt: skip
        self._entries = ()
        self._ctx = ctx = TaskContext(run)
        if handler.threaded:
            return await anyio.to_thread.run_sync(
                partial(handler.function, BlockingContext(ctx, run)),
                abandon_on_cancel=True,
                limiter=self.actor.system.threads,
            )
        made = handler.function(ctx)
        if inspect.isasyncgen(made):
            return await pump(ctx, run, cast("AsyncGenerator[Any, None]", made))
        return await made
