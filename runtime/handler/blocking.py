"""The face of a task's context for plain ``def`` handlers, which run in worker threads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import anyio.from_thread

from ...protocol.types import Artifact, Message, Part, TaskState
from ..actor.cancellation import Reason, TaskCancelled
from ..call import Principal
from ..content import Content
from ..durable.artifacts import ArtifactWriter
from ..durable.run import Run
from ..durable.steps import Retry, StepOptions, digest, run_step
from ..durable.stream_step import StreamStep, check_generator, check_made
from .context import TaskContext
from .history import History

_ASYNC_ONLY = {
    "gather": "a thread does one thing at a time",
    "race": "a thread does one thing at a time",
    "group": "a thread does one thing at a time",
    "timeout": "a thread cannot be stopped midway; to bound a step there is "
    "ctx.with_options(timeout=seconds).step(function)",
}


class BlockingContext:
    """What ``TaskContext`` offers, without ``await``.

    After a cancel the next call raises ``TaskCancelled``. ``gather``, ``race``, ``group`` and
    ``timeout`` are for ``async def`` handlers.
    """

    def __init__(self, context: TaskContext, run: Run) -> None:
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
            told = f"BlockingContext has no {name!r}"
            if name in _ASYNC_ONLY:
                told = (
                    f"ctx.{name} is for `async def` handlers: {_ASYNC_ONLY[name]}. Write the "
                    f"handler as `async def`; plain functions can be its steps"
                )
            raise AttributeError(told, name=name, obj=self)

    @property
    def message(self) -> Message:
        return self._context.message

    @property
    def text(self) -> str:
        return self._context.text

    @property
    def parts(self) -> Sequence[Part]:
        return self._context.parts

    @property
    def files(self) -> list[Part]:
        return self._context.files

    @property
    def data(self) -> Any:
        return self._context.data

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._context.metadata

    @property
    def task_id(self) -> str:
        return self._context.task_id

    @property
    def context_id(self) -> str:
        return self._context.context_id

    @property
    def state(self) -> TaskState:
        return self._context.state

    @property
    def deps(self) -> Any:
        return self._context.deps

    @property
    def principal(self) -> Principal:
        return self._context.principal

    @property
    def extensions(self) -> Sequence[str]:
        return self._context.extensions

    @property
    def cancelled(self) -> Reason | None:
        """Why the handler is being stopped, if it is: look at it in long computations."""
        return self._context.cancelled

    def history(self, limit: int | None = None) -> Iterator[Message]:
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
        self._run(self._context.status, content, state, metadata=metadata)

    def artifact(self, name: str, content: Content = None, **fields: Any) -> BlockingWriter:
        """Deliver an artifact whole, or enter it and write chunks."""
        writer = self._context.artifact(name, content, **fields)
        if content is not None:
            self._run(writer.deliver)
        return BlockingWriter(self._run, writer)

    def ask(self, question: Content, type: Any = str) -> Any:
        return self._run(self._context.ask, question, type)

    def require_auth(self, content: Content) -> Message:
        message: Message = self._run(self._context.require_auth, content)
        return message

    def receive(self) -> Message:
        message: Message = self._run(self._context.receive)
        return message

    def stream(
        self,
        name: str,
        generator: Callable[..., Any],
        *args: Any,
        on_restart: str = "again",
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

    def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self._run(self._context.step, function, *args, **kwargs)

    def with_options(
        self, *, name: str | None = None, retry: Retry | None = None, timeout: float | None = None
    ) -> BlockingSteps:
        """``ctx.with_options(timeout=5, retry=Retry()).step(fn, ...)``. Seconds."""
        return BlockingSteps(
            self._run, self._of, StepOptions(name=name, retry=retry, timeout=timeout)
        )

    def now(self) -> datetime:
        moment: datetime = self._do(self._context.now)
        return moment

    def uuid(self) -> UUID:
        drawn: UUID = self._do(self._context.uuid)
        return drawn

    def random(self) -> float:
        drawn: float = self._do(self._context.random)
        return drawn

    def patched(self, name: str) -> bool:
        is_patched: bool = self._do(self._context.patched, name)
        return is_patched

    def restart(self, state: Any = None) -> NoReturn:
        self._run(self._context.restart, state)
        raise AssertionError("a restart unwinds the handler")

    @property
    def restart_state(self) -> Any:
        return self._context.restart_state

    def sleep(self, seconds: float) -> None:
        self._run(self._context.sleep, seconds)

    def reject(self, why: Content = None) -> None:
        self._run(self._context.reject, why)

    def fail(self, why: Content = None) -> None:
        self._run(self._context.fail, why)

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
