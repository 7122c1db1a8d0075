"""The face of a task's context for plain ``def`` handlers, which run in worker threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.from_thread

from ..protocol.types import Message, Part, TaskState
from .call import Principal
from .cancel import Reason, TaskCancelled
from .history import History
from .parts import Content

if TYPE_CHECKING:
    from .context import TaskContext
    from .streaming import ArtifactWriter


class BlockingContext:
    """What ``TaskContext`` offers, without ``await``.

    After a cancel the next call raises ``TaskCancelled``.
    """

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = partial(self._context._execution.called, function, *args, **kwargs)
        return anyio.from_thread.run(call)

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
    def principal(self) -> Principal | None:
        return self._context.principal

    @property
    def extensions(self) -> Sequence[str]:
        return self._context.extensions

    @property
    def cancelled(self) -> Reason | None:
        """Why the handler is being stopped, if it is: look at it in long computations."""
        return self._context.cancelled

    def history(self, limit: int | None = None) -> Iterator[Message]:
        history = History(self._context._actor, limit)
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
            self._run(writer._whole)
        return BlockingWriter(self, writer)

    def ask(self, question: Content, type: Any = str) -> Any:
        return self._run(self._context.ask, question, type)

    def require_auth(self, content: Content) -> Message:
        message: Message = self._run(self._context.require_auth, content)
        return message

    def receive(self) -> Message:
        message: Message = self._run(self._context.receive)
        return message

    def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self._run(self._context.step, function, *args, **kwargs)

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


class BlockingWriter:
    """``with ctx.artifact("report") as report: report.write(...)``."""

    def __init__(self, context: BlockingContext, writer: ArtifactWriter) -> None:
        self._context = context
        self._writer = writer

    def __enter__(self) -> BlockingWriter:
        self._writer.entered()
        return self

    def write(self, content: Content) -> None:
        self._context._run(self._writer.write, content)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._context._run(self._writer.__aexit__, None, None, None)


__all__ = ["BlockingContext", "BlockingWriter"]
