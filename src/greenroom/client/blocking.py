"""``BlockingClient``: the client for programs without an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from typing import Any, Self, TypeVar, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..protocol.types import AgentCard, Message, StreamResponse, Task
from ..runtime.content import Content
from .client import Client
from .results import AuthRequired, InputRequired, Result

T = TypeVar("T")


class BlockingClient:
    """``Client`` with plain functions: each waits until it is done. The event loop runs in a thread
    of its own from ``with`` to its end; threads may share the client."""

    def __init__(self, url: str, **options: Any) -> None:
        """The arguments are those of ``Client``."""
        self._client = Client(url, **options)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        """Fetch the card and choose an interface. Raises PeerError and HttpError."""
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._portal = None
        self._stack.close()

    @property
    def card(self) -> AgentCard:
        """The card of the agent."""
        return self._client.card

    @overload
    def run(self, content: Content | Message, *, output: None = None, **options: Any) -> Result: ...

    @overload
    def run(
        self, content: Content | Message, *, output: type[T], **options: Any
    ) -> T | InputRequired | AuthRequired: ...

    def run(self, content: Content | Message, **options: Any) -> Any:
        """See ``Client.run``."""
        return self._call(self._client.run, content, **options)

    def stream(self, content: Content | Message, **options: Any) -> Iterator[StreamResponse]:
        """See ``Client.stream``. The stream is closed when the iterator is."""
        return self._each(self._client.stream(content, **options))

    def send(self, content: Content | Message, **options: Any) -> Task | Message:
        """See ``Client.send``."""
        answer: Task | Message = self._call(self._client.send, content, **options)
        return answer

    def reply(
        self, waiting: InputRequired | AuthRequired | Task, content: Content | Message, **more: Any
    ) -> Any:
        """See ``Client.reply``."""
        return self._call(self._client.reply, waiting, content, **more)

    def subscribe(self, task: Task | str, **options: Any) -> Iterator[StreamResponse]:
        """See ``Client.subscribe``."""
        return self._each(self._client.subscribe(task, **options))

    def wait(self, task: Task | str) -> Result:
        """See ``Client.wait``."""
        result: Result = self._call(self._client.wait, task)
        return result

    def get(self, task: Task | str, *, history: int | None = None) -> Task:
        """See ``Client.get``."""
        there: Task = self._call(self._client.get, task, history=history)
        return there

    def cancel(self, task: Task | str) -> Task:
        """See ``Client.cancel``."""
        there: Task = self._call(self._client.cancel, task)
        return there

    def list(self, **options: Any) -> Iterator[Task]:
        """See ``Client.list``."""
        return self._each(self._client.list(**options))

    def extended_card(self) -> AgentCard:
        """See ``Client.extended_card``."""
        card: AgentCard = self._call(self._client.extended_card)
        return card

    def _call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        async def called() -> Any:
            return await function(*arguments, **options)

        return self._there.call(called)

    def _each(self, events: AsyncGenerator[T, None]) -> Iterator[T]:
        async def following() -> tuple[T] | None:
            async for event in events:
                return (event,)
            return None

        try:
            while (event := self._there.call(following)) is not None:
                yield event[0]
        finally:
            if self._portal is not None:
                self._portal.call(events.aclose)

    @property
    def _there(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the client is not connected: enter it with `with` first")
        return self._portal
