"""Operations whose results are journaled: steps, the clock, chance, sleep."""

from __future__ import annotations

import inspect
import logging
import random as stdlib_random
import uuid as stdlib_uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar, get_type_hints, overload

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec

from ...protocol.values import mend
from .. import content as parts
from ..actor.actor import Actor, Op
from ..actor.cancellation import StepFailed
from ..concurrency.supervisor import in_task
from ..exceptions import class_name, exception_text, is_failure
from ..journal.entries import Timer
from ..settings import bounds
from .branch import Asleep, Branch, Busy
from .replay import below, failure, record
from .run import Operations

log = logging.getLogger("greenroom.durable")

_REFUSED = "greenroom.refused"
"""Stands for the type of the error of a step whose result cannot be kept."""

P = ParamSpec("P")
T = TypeVar("T")


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """When a step that raised is tried again. Times in seconds.

    ``attempts`` in all, the second after ``delay``, each later one after ``backoff`` times as long
    as the one before, at most after ``max_delay``, and up to half of that sooner, by chance. ``on``
    are the exceptions after which there is another; what raises anything else has failed.
    """

    attempts: int = 3
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 60.0
    on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise TypeError(f"Retry(attempts=…) is a whole number, not {self.attempts!r}")
        if self.attempts < 1:
            raise ValueError(f"Retry(attempts=…) is 1 or more, not {self.attempts}")
        for name in ("delay", "backoff", "max_delay"):
            if bounds.seconds(getattr(self, name), f"Retry({name}=…)") < 0:
                raise ValueError(f"Retry({name}=…) is 0 or more, not {getattr(self, name)}")

    def wait(self, attempt: int) -> float:
        """How long to wait after the ``attempt``-th failure (from 1), with jitter."""
        try:
            full = min(self.max_delay, self.delay * self.backoff ** (attempt - 1))
        except OverflowError:
            full = self.max_delay
        return full * (0.5 + stdlib_random.random() / 2)


class StepInfo(msgspec.Struct, frozen=True):
    """Of the step or stream that runs: what its side effects should carry."""

    key: str
    """The same at every attempt and replay of this step: an idempotency key."""
    epoch: int
    """Grows with every change of owner: a receiver may refuse smaller ones (fencing)."""
    attempt: int


_step: ContextVar[StepInfo | None] = ContextVar("greenroom_step", default=None)


def step_info() -> StepInfo:
    """Return the key, epoch and attempt of the step that runs; raises ``LookupError`` outside."""
    info = _step.get()
    if info is None:
        raise LookupError(
            "step_info() is for functions that run as a step (ctx.step) or stream (ctx.stream)"
        )
    return info


@contextmanager
def running_step(actor: Actor, branch: Branch, op: Op, attempt: int = 1) -> Iterator[None]:
    """Let what is called within be the step at ``op`` of ``branch``.

    A block that is cut off may leave no trace of a step that was under way in it, and what follows
    the block has its number then: so the key says within which block it is.
    """
    key = f"{actor.id}:{actor.run}:{op.branch}:{op.ordinal}"
    if branch.blocks:
        key += f"@{branch.blocks[-1].ordinal}"
    token = _step.set(StepInfo(key, actor.epoch, attempt))
    try:
        yield
    finally:
        _step.reset(token)


@lru_cache(maxsize=1024)
def _result_type(function: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(inspect.unwrap(function)).get("return")
    except (NameError, TypeError):
        return None


class DurableOperations(Operations):
    """The part of ``TaskContext`` that replays results."""

    @overload
    async def step(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def step(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once and journal its result; replay gives the result without running it.

        The result is what decoding its JSON by the function's return annotation gives, now as on
        replay. An exception becomes ``StepFailed``. The function runs at least once; what it does
        outside happens once where the receiver honours ``step_info().key``. Plain functions run in
        a worker thread. For a retry policy, a time-out or a name use ``with_options``.
        """
        return await self._run_step(function, StepOptions(), args, kwargs)

    def with_options(
        self, *, name: str | None = None, retry: Retry | None = None, timeout: float | None = None
    ) -> Steps:
        """``await ctx.with_options(timeout=5, retry=Retry()).step(fn, ...)``. Seconds."""
        return Steps(self, StepOptions(name=name, retry=retry, timeout=timeout))

    async def _run_step(
        self,
        function: Callable[..., Any],
        options: StepOptions,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        check_function("ctx.step", function)
        branch = self._branch()
        op = await self._begin()
        name = mend(str(options.name or getattr(function, "__name__", type(function).__name__)))
        annotation = _result_type(function)
        arguments = _digest(args, kwargs)
        found = self._ledger.record(op, "step", name)
        with Busy(branch):
            if found is not None:
                if found.arguments != arguments:
                    self._arguments_differ(op, name)
                if found.error is not None:
                    raise _failed(name, found.error)
                return parts.decode(bytes(found.value), annotation)
            # What happened before is durable before anything can happen outside.
            self._execution.begins_durable()
            await self._actor.flushed()
            await self._actor.until_owned()
            body = await self._result(function, options, branch, op, name, arguments, args, kwargs)
            return parts.decode(body, annotation)

    def _arguments_differ(self, op: Op, name: str) -> None:
        """The arguments of a recorded step are not those that the handler passes now.

        Another version of the handler may pass other arguments: a warning. The same version does
        not, so replay has gone another way: raise ``ReplayMismatch``, which blocks the task.
        """
        actor = self._actor
        if actor.handler == actor.agent.version:
            raise self._ledger.mismatch(
                op, f"step {name!r}", "a step of that name with other arguments"
            )
        log.warning(
            "task %s: the arguments of step %r (operation %d of branch %s) are not those of its "
            "first run; its recorded result is used",
            actor.id, name, op.ordinal, op.branch or "root",
        )  # fmt: skip

    async def _result(
        self,
        function: Callable[..., Any],
        options: StepOptions,
        branch: Branch,
        op: Op,
        name: str,
        arguments: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> bytes:
        """Run the function and record what came of it."""
        actor = self._actor
        try:
            value = await self._attempts(function, options, branch, op, args, kwargs)
        except BaseException as error:
            if not (is_failure(error) and in_task()):
                raise
            self._check()  # what is stopped is no failure
            told = (class_name(error), exception_text(error))
            actor.record(op, failure(name, told, arguments))
            raise StepFailed(name, *told) from error
        try:
            body = parts.encode(value)
        except TypeError as error:
            actor.record(op, failure(name, (_REFUSED, exception_text(error)), arguments))
            raise
        actor.record(op, record("step", name, body, arguments))
        return body

    async def _attempts(
        self,
        function: Callable[..., Any],
        options: StepOptions,
        branch: Branch,
        op: Op,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        actor = self._actor
        attempt = 1
        while True:
            try:
                with running_step(actor, branch, op, attempt):
                    if options.timeout is None:
                        return await self._once(function, args, kwargs)
                    with anyio.fail_after(options.timeout):
                        return await self._once(function, args, kwargs)
            except Exception as error:
                retry = options.retry
                if retry is None or attempt >= retry.attempts or not isinstance(error, retry.on):
                    raise
                wait = retry.wait(attempt)
            attempt += 1
            await anyio.sleep(wait)
            # Meanwhile the task may have gone to another node, which does this step itself.
            await actor.until_owned()
            actor.check()

    async def _once(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        # The thread of a plain handler stands still meanwhile: the step takes its place. If both
        # had to be counted, as many handlers as there may be threads would wait for ever.
        limiter = (
            anyio.CapacityLimiter(1)
            if self._execution.handler.threaded
            else self._actor.system.threads
        )
        value = await anyio.to_thread.run_sync(
            partial(function, *args, **kwargs), abandon_on_cancel=True, limiter=limiter
        )
        return await value if inspect.isawaitable(value) else value

    # --- the clock and chance -------------------------------------------------------------------

    def _fact(self, kind: str, make: Callable[[], Any]) -> Any:
        op = self._place()
        found = self._ledger.record(op, kind)
        if found is not None:
            return msgspec.json.decode(found.value)
        value = make()
        self._actor.record(op, record(kind, value=msgspec.json.encode(value)))
        return value

    def now(self) -> datetime:
        """The time (UTC) at which this was first asked."""
        system = self._actor.system
        return datetime.fromtimestamp(self._fact("now", system.now), UTC)

    def uuid(self) -> stdlib_uuid.UUID:
        """A random UUID, the same on replay."""
        return stdlib_uuid.UUID(self._fact("uuid", self._actor.system.new_id))

    def random(self) -> float:
        """A number in [0, 1), the same on replay."""
        value: float = self._fact("random", self._actor.system.random.random)
        return value

    async def sleep(self, seconds: float) -> None:
        """Sleep until ``seconds`` after this was first asked, through restarts; not at all if they
        are fewer than 0."""
        seconds = bounds.seconds(seconds, "ctx.sleep", "to wait for the client, use ctx.receive")
        branch = self._branch()
        op = await self._begin()
        actor = self._actor
        found = self._ledger.record(op, "sleep")
        timer = f"sleep{below(op)}"
        with Busy(branch):
            if found is not None:
                due: float = msgspec.json.decode(found.value)
            else:
                due = actor.system.now() + seconds
                actor.record(op, record("sleep", value=msgspec.json.encode(due)))
                actor.set_timer(Timer(timer, due))
            left = due - actor.system.now()
            if found is not None:
                behind = self._ledger.last(branch.name) > op.ordinal or not branch.new_ground
                if left <= 0 or behind:  # whatever the clock says now, it was over
                    await anyio.lowlevel.checkpoint_if_cancelled()  # … or cut off at once
                    return
                actor.set_timer(Timer(timer, due))  # if the clock went back it is gone
            alarms = self._execution.alarms
            line = Asleep(self._execution)
            alarm = alarms[timer] = _Sleeper(due, line)
            try:
                # The loop's clock may stand still while the machine does; the timer wakes us then.
                with line, anyio.move_on_after(max(0.0, left)):
                    await alarm.over.wait()
            finally:
                del alarms[timer]
                if not alarm.over.is_set():
                    self._withdraw(timer)


class _Sleeper:
    """A line in ``ctx.sleep`` (see ``execution.Alarm``)."""

    __slots__ = ("due", "line", "over")

    def __init__(self, due: float, line: Asleep) -> None:
        self.due = due
        self.line = line
        self.over = anyio.Event()

    def ring(self) -> None:
        self.line.end()
        self.over.set()


def check_function(operation: str, function: Any) -> None:
    """Raise TypeError for what cannot be called, most of all for what was called already."""
    if callable(function):
        return
    called = getattr(function, "__name__", None)
    if isinstance(function, Coroutine):
        function.close()  # or Python would warn that nobody awaited it
    elif not isinstance(function, Generator | AsyncGenerator):
        raise TypeError(f"{operation} takes a function and its arguments, not {function!r}")
    raise TypeError(
        f"{operation} takes the function and its arguments and calls it itself: "
        f"{called}, … and not {called}(…)"
    )


def _digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A digest of arguments; empty if they have no stable form."""
    try:
        told = msgspec.json.encode((args, kwargs), order="deterministic")
    except Exception:
        return ""
    return blake2b(told, digest_size=6).hexdigest()


def _failed(name: str, error: tuple[str, str]) -> Exception:
    type_, message = error
    return TypeError(message) if type_ == _REFUSED else StepFailed(name, type_, message)


class StepOptions(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    retry: Retry | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        what = "ctx.with_options(timeout=…)"
        if self.timeout is not None and (
            bounds.seconds(self.timeout, what, "leave it out for none") <= 0
        ):
            raise ValueError(f"{what} is more than 0 seconds, not {self.timeout}")


class Steps:
    """``TaskContext.with_options``."""

    def __init__(self, context: DurableOperations, options: StepOptions) -> None:
        self._context = context
        self._options = options

    async def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As ``TaskContext.step``, with the options."""
        return await self._context._run_step(function, self._options, args, kwargs)
