"""``Client``: a remote agent as an object, for programs that have nothing else of Greenroom."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self, TypeVar, overload

import anyio

from ..protocol import operations as ops
from ..protocol.cards.shapes import is_legacy
from ..protocol.errors import A2AError
from ..protocol.types import (
    AgentCard,
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
)
from ..runtime.content import Content
from ..transports.client.connect import Connecting, connect
from ..transports.client.errors import HttpError, PeerError
from ..transports.client.http import Limits
from ..transports.client.remote import Remote
from ..transports.client.trust import Trust
from ..transports.client.updates.follow import Following, Updates
from ..transports.client.updates.retries import Retries
from .auth import Auth, credentials_of
from .messages import File, message_of, output_of
from .results import AuthRequired, InputRequired, Result, result_of

T = TypeVar("T")
_CANCEL_SECONDS = 5.0
"""Seconds for telling the agent that nobody waits any more."""


class Client:
    """A remote agent. Enter it as a context: it fetches the card and keeps connections."""

    def __init__(
        self,
        url: str,
        *,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        trust_origins: Iterable[str] = (),
        version: str | None = None,
        bindings: Iterable[str] = (),
        extensions: Iterable[str] = (),
        updates: Updates | None = None,
        retries: Retries | None = None,
        cancel_on_exit: bool = False,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        trust: Trust | None = None,
    ) -> None:
        """``url`` is the address of the agent or of its card.

        ``auth`` are credentials: one, a list, a mapping by the names of the card's schemes, or a
        function that returns a bearer token or header fields. Of the card's alternatives the
        client takes the first that it can meet. ``auth`` and ``headers`` go to the origin of
        ``url`` and to ``trust_origins`` (URLs), and to no other, whatever the card names.

        ``bindings`` are those to use, the best one first (``JSONRPC``, ``HTTP+JSON``, ``GRPC``);
        ``version`` is 1.0 or 0.3, and without it the newest that the card offers. ``extensions``
        are URIs that every request asks for. ``updates`` says how to hear of changes, ``retries``
        how often to try again. ``cancel_on_exit``: a ``run`` that is cancelled or takes too long
        cancels the task at the agent. ``tls`` replaces the default context. ``trust`` refuses a
        card that is not signed by somebody whom it names.
        """
        self._connecting = Connecting(
            url=url,
            headers=dict(headers or {}),
            auth=credentials_of(auth),
            origins=tuple(trust_origins),
            version=version,
            bindings=tuple(bindings),
            extensions=tuple(extensions),
            limits=limits,
            tls=tls,
            trust=trust,
        )
        self._updates = updates
        self._retries = retries
        self._cancel_on_exit = cancel_on_exit
        self._remote: Remote | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Fetch the card and choose an interface. Raises PeerError and HttpError."""
        remote = await connect(self._connecting)
        self._remote = await self._stack.enter_async_context(remote)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._remote = None
        await self._stack.aclose()

    @property
    def card(self) -> AgentCard:
        """The card of the agent."""
        return self._there.card

    @property
    def remote(self) -> Remote:
        """The connection, for operations that ``Client`` has no word for."""
        return self._there

    @property
    def _there(self) -> Remote:
        if self._remote is None:
            raise RuntimeError(
                "the client is not connected: write `async with Client(...) as agent`"
            )
        return self._remote

    # --- messages ---------------------------------------------------------------------------------

    @overload
    async def run(
        self,
        content: Content | Message,
        *,
        files: Iterable[File] = ...,
        task: Task | InputRequired | AuthRequired | str | None = ...,
        context_id: str | None = ...,
        metadata: Mapping[str, Any] | None = ...,
        configuration: SendMessageConfiguration | None = ...,
        on_event: Callable[[StreamResponse], object] | None = ...,
        deadline: float | None = ...,
    ) -> Result: ...

    @overload
    async def run(
        self,
        content: Content | Message,
        *,
        output: type[T],
        files: Iterable[File] = ...,
        task: Task | InputRequired | AuthRequired | str | None = ...,
        context_id: str | None = ...,
        metadata: Mapping[str, Any] | None = ...,
        configuration: SendMessageConfiguration | None = ...,
        on_event: Callable[[StreamResponse], object] | None = ...,
        deadline: float | None = ...,
    ) -> T | InputRequired | AuthRequired: ...

    async def run(
        self,
        content: Content | Message,
        *,
        output: Any = None,
        files: Iterable[File] = (),
        task: Task | InputRequired | AuthRequired | str | None = None,
        context_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        configuration: SendMessageConfiguration | None = None,
        on_event: Callable[[StreamResponse], object] | None = None,
        deadline: float | None = None,
    ) -> Any:
        """Send a message and wait until the task is over or waits for its client.

        Return the task, the message that was the whole answer, InputRequired or AuthRequired;
        with ``output`` (a type) what the agent made, as that type. ``task`` is the task that the
        message belongs to. ``on_event`` is called with each event as it comes. ``deadline``:
        seconds, then TimeoutError; without one the client waits as long as it takes.

        Raises TaskFailed, TaskRejected, TaskCanceled, InvalidOutputError, the agent's error as an
        ``A2AError``, LostError where the connection was lost for good, HttpError and PeerError.
        """
        message = message_of(
            content, files=files, output=output, task=task, context_id=context_id, metadata=metadata
        )
        asked = SendMessageRequest(message=message, configuration=configuration)
        following = self._following(asked, stop_at_auth=True)
        try:
            with anyio.fail_after(deadline):
                async with aclosing(following.events()) as events:
                    async for event in events:
                        if on_event is not None:
                            on_event(event)
        except BaseException as error:
            if self._cancel_on_exit and not isinstance(error, A2AError | HttpError | PeerError):
                await self._give_up(following)
            raise
        assembly = following.assembly
        if assembly.message is not None:
            result: Result = assembly.message
        else:
            assert assembly.task is not None
            result = result_of(assembly.task)
        if output is None or isinstance(result, InputRequired | AuthRequired):
            return result
        return output_of(result, output)

    async def stream(
        self,
        content: Content | Message,
        *,
        output: Any = None,
        files: Iterable[File] = (),
        task: Task | InputRequired | AuthRequired | str | None = None,
        context_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        configuration: SendMessageConfiguration | None = None,
    ) -> AsyncGenerator[StreamResponse, None]:
        """Send a message and yield each event once, whatever happens to the connection.

        The iteration ends when the task is over or waits for input. It raises as ``run`` does, but
        for the errors of tasks that ended: the last event tells how. ``contextlib.aclosing``
        closes the stream of who leaves early.
        """
        message = message_of(
            content, files=files, output=output, task=task, context_id=context_id, metadata=metadata
        )
        asked = SendMessageRequest(message=message, configuration=configuration)
        async with aclosing(self._following(asked).events()) as events:
            async for event in events:
                yield event

    async def send(
        self, content: Content | Message, *, task: Task | str | None = None, **more: Any
    ) -> Task | Message:
        """Send a message and return the first answer: a task that may still work, or a message.

        ``more`` are the other arguments of ``run`` that make the message.
        """
        configuration = SendMessageConfiguration(return_immediately=True)
        asked = SendMessageRequest(
            message=message_of(content, task=task, **more), configuration=configuration
        )
        answer = await self._there.call(ops.SEND, asked)
        first: Task | Message = answer.task if answer.task is not None else answer.message
        return first

    async def reply(
        self, waiting: InputRequired | AuthRequired | Task, content: Content | Message, **more: Any
    ) -> Any:
        """Answer a task that waits: ``run`` with the task and its context."""
        return await self.run(content, task=waiting, **more)

    # --- tasks ------------------------------------------------------------------------------------

    async def subscribe(
        self, task: Task | str, *, until_over: bool = True
    ) -> AsyncGenerator[StreamResponse, None]:
        """Follow a task that was begun before; the first event is the task as it is now.

        ``until_over=False`` ends the iteration also where the task waits for its client.
        """
        task_id = task if isinstance(task, str) else task.id
        following = self._following(task_id, until_over=until_over)
        async with aclosing(following.events()) as events:
            async for event in events:
                yield event

    async def wait(self, task: Task | str) -> Result:
        """Wait for a task that was begun before; return and raise as ``run`` does."""
        task_id = task if isinstance(task, str) else task.id
        following = self._following(task_id, stop_at_auth=True)
        async with aclosing(following.events()) as events:
            async for _ in events:
                pass
        assert following.assembly.task is not None
        return result_of(following.assembly.task)

    async def get(self, task: Task | str, *, history: int | None = None) -> Task:
        """Return the task as it is now; ``history`` limits the messages that come with it."""
        task_id = task if isinstance(task, str) else task.id
        asked = GetTaskRequest(id=task_id, history_length=history)
        there: Task = await self._there.call(ops.GET_TASK, asked)
        return there

    async def cancel(self, task: Task | str) -> Task:
        """Cancel the task; return it as the agent left it. Raises TaskNotCancelableError."""
        task_id = task if isinstance(task, str) else task.id
        there: Task = await self._there.call(ops.CANCEL, CancelTaskRequest(id=task_id))
        return there

    async def list(
        self,
        *,
        context_id: str | None = None,
        status: TaskState | None = None,
        page_size: int | None = None,
        artifacts: bool = False,
    ) -> AsyncGenerator[Task, None]:
        """Yield the caller's tasks, the newest first, page by page (not over JSON-RPC of 0.3)."""
        token: str | None = None
        if is_legacy(self._there.interface):
            page_size = None  # REST of 0.3 has no pages to go on with
        while True:
            asked = ListTasksRequest(
                context_id=context_id,
                status=status,
                page_size=page_size,
                page_token=token,
                include_artifacts=artifacts or None,
            )
            page = await self._there.call(ops.LIST_TASKS, asked)
            for task in page.tasks:
                yield task
            if not page.next_page_token or page.next_page_token == token:
                return
            token = page.next_page_token

    async def extended_card(self) -> AgentCard:
        """Return the card that the agent shows to callers whom it knows (section 3.1.11)."""
        card: AgentCard = await self._there.call(ops.EXTENDED_CARD, GetExtendedAgentCardRequest())
        return card

    # --- inside -----------------------------------------------------------------------------------

    def _following(self, asked: SendMessageRequest | str, **more: bool) -> Following:
        return Following(self._there, asked, updates=self._updates, retries=self._retries, **more)

    async def _give_up(self, following: Following) -> None:
        """Cancel the task of a ``run`` that nobody waits for any more, as far as it is known."""
        assembly = following.assembly
        if assembly.over or assembly.task_id is None:
            return
        with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
            try:
                await self._there.call(ops.CANCEL, CancelTaskRequest(id=assembly.task_id))
            except (A2AError, HttpError, PeerError):
                return
