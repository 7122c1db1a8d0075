"""The face of a task's context for plain ``def`` handlers, which run in worker threads."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, overload
from uuid import UUID

import anyio.from_thread
from typing_extensions import TypeForm

from ...protocol.types import Artifact, Message, Part, TaskState
from ..actor.cancellation import Reason, TaskCancelled
from ..call import Principal
from ..content import Content
from ..durable.artifacts import ArtifactWriter
from ..durable.run import Run
from ..durable.steps import Retry, StepOptions, digest, run_step
from ..durable.stream_step import OnRestart, StreamStep, check_generator, check_made
from .context import Deps_co, TaskContext
from .history import History

P = ParamSpec("P")
T = TypeVar("T")

_ASYNC_ONLY = {
    "gather": "a thread does one thing at a time",
    "race": "a thread does one thing at a time",
    "group": "a thread does one thing at a time",
    "timeout": "a thread cannot be stopped midway; to bound a step there is "
    "ctx.with_options(timeout=seconds).step(function)",
}


class BlockingContext(Generic[Deps_co]):
    """What ``TaskContext`` offers, without ``await``.

    After a cancel the next call raises ``TaskCancelled``. ``gather``, ``race``, ``group`` and
    ``timeout`` are for ``async def`` handlers.
    """

    def __init__(self, context: TaskContext[Deps_co], run: Run) -> None:
        self._context = context
        self._of = run

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = partial(self._of.activity.call, function, *args, **kwargs)
        return anyio.from_thread.run(call)

    def _do(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that does not wait, where the actor lives."""

        async def call() -> Any:
            return function(*args)

        return self._run(call)

    if not TYPE_CHECKING:  # or every misspelling would type-check

        def __getattr__(self, name: str) -> NoReturn:
            problem = f"BlockingContext has no {name!r}"
            if name in _ASYNC_ONLY:
                problem = (
                    f"ctx.{name} is for `async def` handlers: {_ASYNC_ONLY[name]}. Write the "
                    f"handler as `async def`; plain functions can be its steps"
                )
            raise AttributeError(problem, name=name, obj=self)

    @property
    def message(self) -> Message:
        """As ``TaskContext.message``."""
        return self._context.message

    @property
    def text(self) -> str:
        """As ``TaskContext.text``."""
        return self._context.text

    @property
    def parts(self) -> Sequence[Part]:
        """As ``TaskContext.parts``."""
        return self._context.parts

    @property
    def files(self) -> list[Part]:
        """As ``TaskContext.files``."""
        return self._context.files

    @property
    def data(self) -> Any:
        """As ``TaskContext.data``."""
        return self._context.data

    @property
    def metadata(self) -> Mapping[str, Any]:
        """As ``TaskContext.metadata``."""
        return self._context.metadata

    @property
    def task_id(self) -> str:
        """As ``TaskContext.task_id``."""
        return self._context.task_id

    @property
    def context_id(self) -> str:
        """As ``TaskContext.context_id``."""
        return self._context.context_id

    @property
    def state(self) -> TaskState:
        """As ``TaskContext.state``."""
        return self._context.state

    @property
    def deps(self) -> Deps_co:
        """As ``TaskContext.deps``."""
        return self._context.deps

    @property
    def principal(self) -> Principal:
        """As ``TaskContext.principal``."""
        return self._context.principal

    @property
    def extensions(self) -> Sequence[str]:
        """As ``TaskContext.extensions``."""
        return self._context.extensions

    @property
    def cancelled(self) -> Reason | None:
        """Why the handler is being stopped, if it is: look at it in long computations."""
        return self._context.cancelled

    def history(self, limit: int | None = None) -> Iterator[Message]:
        """As ``TaskContext.history``."""
        history = History(self._of.actor, limit)
        while page := self._run(history.page):
            yield from page

    def status(
        self,
        content: Content = None,
        state: TaskState = TaskState.WORKING,
        *,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """As ``TaskContext.status``."""
        self._run(self._context.status, content, state, metadata=metadata)

    def artifact(self, name: str, content: Content = None, **fields: Any) -> BlockingWriter:
        """Deliver an artifact whole, or enter it and write chunks."""
        writer = self._context.artifact(name, content, **fields)
        if content is not None:
            self._run(writer.deliver)
        return BlockingWriter(self._run, writer)

    @overload
    def ask(self, question: Content) -> str: ...

    @overload
    def ask(self, question: Content, type: TypeForm[T]) -> T: ...

    def ask(self, question: Content, type: Any = str) -> Any:
        """As ``TaskContext.ask``; this thread waits for the answer."""
        return self._run(self._context.ask, question, type)

    def require_auth(self, content: Content) -> Message:
        """As ``TaskContext.require_auth``."""
        message: Message = self._run(self._context.require_auth, content)
        return message

    def receive(self) -> Message:
        """As ``TaskContext.receive``."""
        message: Message = self._run(self._context.receive)
        return message

    @overload
    def stream(
        self,
        name: str,
        generator: Callable[..., Iterator[Any] | AsyncIterator[Any]],
        /,
        *args: Any,
        on_restart: OnRestart,
        **kwargs: Any,
    ) -> Artifact: ...

    @overload
    def stream(
        self,
        name: str,
        generator: Callable[P, Iterator[Any] | AsyncIterator[Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Artifact: ...

    def stream(
        self,
        name: str,
        generator: Callable[..., Any],
        /,
        *args: Any,
        on_restart: Any = "again",
        **kwargs: Any,
    ) -> Artifact:
        """Run a generator as a step whose chunks are streamed, in this thread."""
        if inspect.isasyncgenfunction(generator):
            artifact: Artifact = self._run(
                self._context.stream, name, generator, *args, on_restart=on_restart, **kwargs
            )
            return artifact
        check_generator(generator)
        step = StreamStep(self._of, name, on_restart, digest(args, kwargs))
        self._do(step.begin)
        with step.operation:
            if not step.done:
                self._run(step.ready)
                made = generator(*args, **kwargs, **step.keywords)
                check_made(generator, made, Generator)
                with step.running(), closing(made) as produced:
                    for content in produced:
                        self._run(step.write, content)
                self._run(step.end)
        return step.artifact

    @overload
    def step(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    def step(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As ``TaskContext.step``; this thread waits for the result."""
        return self._run(self._context.step, function, *args, **kwargs)

    def with_options(
        self, *, name: str | None = None, retry: Retry | None = None, timeout: float | None = None
    ) -> BlockingSteps:
        """``ctx.with_options(timeout=5, retry=Retry()).step(fn, ...)``. Seconds."""
        return BlockingSteps(
            self._run, self._of, StepOptions(name=name, retry=retry, timeout=timeout)
        )

    def now(self) -> datetime:
        """As ``TaskContext.now``."""
        moment: datetime = self._do(self._context.now)
        return moment

    def uuid(self) -> UUID:
        """As ``TaskContext.uuid``."""
        drawn: UUID = self._do(self._context.uuid)
        return drawn

    def random(self) -> float:
        """As ``TaskContext.random``."""
        drawn: float = self._do(self._context.random)
        return drawn

    def patched(self, name: str) -> bool:
        """As ``TaskContext.patched``."""
        is_patched: bool = self._do(self._context.patched, name)
        return is_patched

    def restart(self, state: Any = None) -> NoReturn:
        """As ``TaskContext.restart``."""
        self._run(self._context.restart, state)
        raise AssertionError("a restart unwinds the handler")

    @property
    def restart_state(self) -> Any:
        """As ``TaskContext.restart_state``."""
        return self._context.restart_state

    def sleep(self, seconds: float) -> None:
        """As ``TaskContext.sleep``."""
        self._run(self._context.sleep, seconds)

    def reject(self, why: Content = None) -> NoReturn:
        """As ``TaskContext.reject``."""
        self._run(self._context.reject, why)
        raise AssertionError("a rejection unwinds the handler")

    def fail(self, why: Content = None) -> NoReturn:
        """As ``TaskContext.fail``."""
        self._run(self._context.fail, why)
        raise AssertionError("a failure unwinds the handler")

    def check(self) -> None:
        """Raise ``TaskCancelled`` if the handler is being stopped."""
        reason: Reason | None = self._context.cancelled
        if reason is not None:
            raise TaskCancelled(reason)

    def __repr__(self) -> str:
        return f"<BlockingContext {self.task_id}>"


class BlockingSteps:
    """``BlockingContext.with_options``."""

    def __init__(self, call: Callable[..., Any], run: Run, options: StepOptions) -> None:
        self._call = call
        self._of = run
        self._options = options

    @overload
    def step(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    def step(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As ``BlockingContext.step``, with the options."""
        return self._call(run_step, self._of, function, self._options, args, kwargs)


class BlockingWriter:
    """``with ctx.artifact("report") as report: report.write(...)``."""

    def __init__(self, call: Callable[..., Any], writer: ArtifactWriter) -> None:
        self._call = call
        self._writer = writer

    def __enter__(self) -> BlockingWriter:
        self._call(self._writer.__aenter__)
        return self

    def write(self, content: Content) -> None:
        self._call(self._writer.write, content)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._call(self._writer.__aexit__, None, None, None)


__all__ = ["BlockingContext", "BlockingSteps", "BlockingWriter"]
