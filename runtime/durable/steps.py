"""``ctx.step``: functions whose results are recorded."""

from __future__ import annotations

import inspect
import logging
import random as stdlib_random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar, get_type_hints, overload

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec

from ...protocol.values import mend
from .. import content as parts
from ..actor.cancellation import StepFailed
from ..concurrency.supervisor import in_task
from ..exceptions import class_name, exception_text, is_failure
from ..journal.records import Record, RecordKind, failure, record
from ..settings import bounds
from .branch import Operation
from .run import Run

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
def running_step(run: Run, operation: Operation, attempt: int = 1) -> Generator[None, None, None]:
    """Let what is called within be the step or stream ``operation``."""
    actor, place = run.actor, operation.place
    key = f"{actor.id}:{actor.run}:{place.branch}:{place.ordinal}"
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


class StepOperations:
    """The part of ``TaskContext`` that replays results."""

    def __init__(self, run: Run) -> None:
        self._run = run

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
        return await run_step(self._run, function, StepOptions(), args, kwargs)

    def with_options(
        self, *, name: str | None = None, retry: Retry | None = None, timeout: float | None = None
    ) -> Steps:
        """``await ctx.with_options(timeout=5, retry=Retry()).step(fn, ...)``. Seconds."""
        return Steps(self._run, StepOptions(name=name, retry=retry, timeout=timeout))


async def run_step(
    run: Run,
    function: Callable[..., Any],
    options: StepOptions,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run a function as a step, or return or raise what is recorded of it."""
    check_function("ctx.step", function)
    step = _Step(run, function, options, args, kwargs)
    with step.operation:
        if step.record is not None:
            await run.found(step.operation, step.operation.place)
            return step.recorded(step.record)
        await run.new_ground(step.operation)
        # What happened before is durable before anything can happen outside.
        run.begins_durable()
        await run.actor.flushed()
        await run.actor.until_owned()
        return await step.result()


class _Step:
    """One call of ``ctx.step``."""

    def __init__(
        self,
        run: Run,
        function: Callable[..., Any],
        options: StepOptions,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._run = run
        self._function = function
        self._options = options
        self._args = args
        self._kwargs = kwargs
        self.operation = run.begin()
        name = options.name or getattr(function, "__name__", type(function).__name__)
        self._name = mend(str(name))
        self._annotation = _result_type(function)
        self._arguments = digest(args, kwargs)
        self.record = run.find(self.operation.place, RecordKind.STEP, self._name)

    def recorded(self, record: Record) -> Any:
        """Return or raise what the step did before."""
        check_arguments(self._run, self.operation, record, self._arguments)
        if record.error is not None:
            raise _failed(self._name, record.error)
        return parts.decode(bytes(record.value), self._annotation)

    async def result(self) -> Any:
        """Run the function and record what came of it."""
        actor, place = self._run.actor, self.operation.place
        try:
            value = await self._attempts()
        except BaseException as error:
            if not (is_failure(error) and in_task()):
                raise
            # What is stopped, or cancelled, is no failure.
            self._run.check()
            await anyio.lowlevel.checkpoint_if_cancelled()
            told = (class_name(error), exception_text(error))
            actor.record(place, failure(self._name, told, self._arguments))
            raise StepFailed(self._name, *told) from error
        await anyio.lowlevel.checkpoint_if_cancelled()
        try:
            body = parts.encode(value)
        except TypeError as error:
            actor.record(
                place, failure(self._name, (_REFUSED, exception_text(error)), self._arguments)
            )
            raise
        actor.record(place, record(RecordKind.STEP, self._name, body, self._arguments))
        return parts.decode(body, self._annotation)

    async def _attempts(self) -> Any:
        actor, options = self._run.actor, self._options
        attempt = 1
        while True:
            try:
                with running_step(self._run, self.operation, attempt):
                    if options.timeout is None:
                        return await self._once()
                    with anyio.fail_after(options.timeout):
                        return await self._once()
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

    async def _once(self) -> Any:
        run, function = self._run, self._function
        if inspect.iscoroutinefunction(function):
            return await function(*self._args, **self._kwargs)
        # The thread of a plain handler stands still meanwhile: the step takes its place. If both
        # had to be counted, as many handlers as there may be threads would wait for ever.
        limiter = anyio.CapacityLimiter(1) if run.handler.threaded else run.actor.system.threads
        value = await anyio.to_thread.run_sync(
            partial(function, *self._args, **self._kwargs), abandon_on_cancel=True, limiter=limiter
        )
        return await value if inspect.isawaitable(value) else value


def check_arguments(run: Run, operation: Operation, record: Record, arguments: str) -> None:
    """Compare the arguments of a recorded step or stream with those that the handler passes now.

    Another version of the handler may pass other arguments: a warning. The same version does not,
    so replay has gone another way: raise ``ReplayMismatch``, which blocks the task.
    """
    if record.arguments == arguments:
        return
    actor, place = run.actor, operation.place
    if actor.handler == actor.agent.version:
        raise run.replay.mismatch(place, record.words, f"a {record.kind} with other arguments")
    log.warning(
        "task %s: the arguments of %s %r (%s) are not those of its first run; its recorded result "
        "is used",
        actor.id, record.kind, record.name, place.where,
    )  # fmt: skip


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


def digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
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

    def __init__(self, run: Run, options: StepOptions) -> None:
        self._run = run
        self._options = options

    @overload
    async def step(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def step(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As ``TaskContext.step``, with the options."""
        return await run_step(self._run, function, self._options, args, kwargs)
