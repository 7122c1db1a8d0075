"""Following one task to its end, over whatever cuts the way.

A send is repeated, with its ``messageId``, until something of its answer came. From then on the
task is known, and the client comes back to it in this order: a subscription with the id of the
last event, from which the server goes on; a subscription without one, which begins with the whole
task; ``GetTask`` again and again. What comes twice is told apart by ``Assembly``.

The end of a stream says nothing about the task. Only a terminal state ends it, or a state that
waits for the client. Where events may have been missed, the last word is that of ``GetTask``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import anyio
from msgspec import Struct, structs

from ....protocol import operations as ops
from ....protocol.cards.shapes import is_legacy
from ....protocol.errors import A2AError, MethodNotFoundError, UnsupportedOperationError
from ....protocol.types import (
    GetTaskRequest,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from ..errors import HttpError, PeerError
from ..remote import Received, Remote
from .assembly import Assembly
from .retries import Retries, advised, breaks_stream, is_transient

_GRACE = 2.0
"""Seconds for a server to end the stream of a task that is over: the connection can be kept."""
_CANNOT_STREAM = (UnsupportedOperationError, MethodNotFoundError)
_SUBSCRIPTIONS = 3
"""Subscriptions that may fail in a row before the client polls."""


class Receiver(Protocol):
    """Receives the webhooks of tasks. A webhook only wakes the client, which then asks itself."""

    def configuration(self) -> TaskPushNotificationConfig:
        """Return what the agent is told: where to call, and with which token."""
        ...

    async def wait(self, task_id: str, timeout: float) -> None:
        """Wait until a webhook of the task came, at most ``timeout`` seconds."""
        ...


class Updates(Struct, frozen=True, kw_only=True):
    """How a client hears of changes."""

    streaming: bool | None = None
    """``None``: if the card says that the agent streams. ``False``: the client polls."""
    interval: float = 0.5
    """Seconds between two polls; they grow while nothing changes."""
    longest: float = 15.0
    """Seconds between two polls at most."""
    receiver: Receiver | None = None
    """Receives webhooks, which end the wait between two polls. The client does not stream then,
    unless ``streaming`` is ``True``."""


class LostError(PeerError):
    """The connection was lost for good. ``task_id`` is ``None`` where no answer came at all."""

    def __init__(self, message: str, task_id: str | None, state: TaskState | None) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.state = state
        """The last state that is known; the task may have gone on since."""


class Following:
    """One message that is sent, or one task that is subscribed to; ``events`` runs it once."""

    def __init__(
        self,
        remote: Remote,
        asked: SendMessageRequest | str,
        *,
        updates: Updates | None = None,
        retries: Retries | None = None,
        until_over: bool = False,
        stop_at_auth: bool = False,
    ) -> None:
        """``asked`` is the message, or the id of a task to subscribe to.

        ``until_over``: a task that waits for input is followed on, as long as the server streams
        it. ``stop_at_auth``: a task that waits for an authorisation is not.
        """
        self._remote = remote
        self._updates = updates or Updates()
        self._retries = retries or Retries()
        self._send = asked if isinstance(asked, SendMessageRequest) else None
        task_id = asked if isinstance(asked, str) else asked.message.task_id
        self.assembly = Assembly(task_id)
        """What is known of the task."""
        self._until_over = until_over
        self._stop_at_auth = stop_at_auth
        streams = self._updates.streaming
        if streams is None:
            capable = remote.card.capabilities.streaming is True
            streams = capable and self._updates.receiver is None
        self._streaming = streams
        self._last_id = ""
        self._settled = False
        """The state is one that the server has after what was sent, not one from before."""
        self._doubtful = False
        """Events may have been missed: the end must be confirmed."""
        self._progress = False

    async def events(self) -> AsyncGenerator[StreamResponse, None]:
        """Yield what is new, each event once, until the task is over or waits for the client.

        Raises the agent's error as an ``A2AError``, LostError where the agent cannot be reached
        any more, and HttpError and PeerError where it cannot be asked.
        """
        failures = 0
        while True:
            self._progress, error = False, None
            try:
                async with aclosing(self._attempt()) as attempt:
                    async for event in attempt:
                        yield event
            except (A2AError, HttpError) as failure:
                if not self._survives(failure):
                    raise
                error = failure
            if self._finished(clean=error is None):
                return
            failures = 0 if self._progress else failures + 1
            if self._streaming and self._send is None and self._gives_up_streams(failures, error):
                self._streaming, failures = False, 0
                continue
            if failures > self._retries.attempts:
                raise self._lost(error) from error
            now = time.time()
            delay = self._retries.delay(failures, error, now) if failures else advised(error, now)
            await anyio.sleep(delay)

    def _attempt(self) -> AsyncGenerator[StreamResponse, None]:
        if self._send is None:
            return self._subscribed() if self._streaming else self._polled()
        return self._streamed(self._send) if self._streaming else self._sent(self._send)

    # --- the ways ---------------------------------------------------------------------------------

    async def _streamed(self, asked: SendMessageRequest) -> AsyncGenerator[StreamResponse, None]:
        async with aclosing(self._remote.stream(ops.STREAM, asked)) as events:
            while (received := await self._next(events)) is not None:
                self._send = None
                self._settled = received.update.task is None or asked.message.task_id is None
                for event in self._apply(received):
                    yield event
                if self._stops():
                    return

    async def _subscribed(self) -> AsyncGenerator[StreamResponse, None]:
        task_id, last_id = self.assembly.task_id or "", self._last_id
        if self.assembly.status is not None and not last_id and is_legacy(self._remote.interface):
            # The official server of 0.3 stores each event once more for every subscriber.
            self._streaming = False
            return
        self._doubtful = self._doubtful or not last_id
        asked = SubscribeToTaskRequest(id=task_id)
        first = True
        async with aclosing(self._remote.stream(ops.SUBSCRIBE, asked, last_id=last_id)) as events:
            while (received := await self._next(events)) is not None:
                if first and received.update.task is None and not _follows(received.id, last_id):
                    # The server tells what happens from now on, and not what happened before.
                    self._doubtful, self._streaming = True, False
                    return
                first, self._settled = False, True
                for event in self._apply(received):
                    yield event
                if self._stops():
                    return

    async def _sent(self, asked: SendMessageRequest) -> AsyncGenerator[StreamResponse, None]:
        configuration = asked.configuration or SendMessageConfiguration()
        receiver = self._updates.receiver
        configuration = structs.replace(
            configuration,
            return_immediately=True,
            task_push_notification_config=None if receiver is None else receiver.configuration(),
        )
        asked = structs.replace(asked, configuration=configuration)
        answer = await self._remote.call(ops.SEND, asked)
        self._send, self._settled = None, True
        update = StreamResponse(task=answer.task, message=answer.message)
        for event in self._apply(Received(update, "")):
            yield event

    async def _polled(self) -> AsyncGenerator[StreamResponse, None]:
        """Ask until the task waits or is over; what is missed between two polls is in the next."""
        task_id = self.assembly.task_id or ""
        wait = self._updates.interval
        while True:
            task = await self._remote.call(ops.GET_TASK, GetTaskRequest(id=task_id))
            self._settled, self._doubtful, self._progress = True, False, True
            news = self._apply(Received(StreamResponse(task=task), ""))
            for event in news:
                yield event
            if self._stops() or self.assembly.over:
                return
            wait = self._updates.interval if news else min(wait * 1.5, self._updates.longest)
            if self._updates.receiver is not None:
                await self._updates.receiver.wait(task_id, wait)
            else:
                await anyio.sleep(wait)

    async def _next(self, events: AsyncGenerator[Received, None]) -> Received | None:
        if not self._ends():
            return await anext(events, None)
        # All that matters came. The rest is read so that the connection can be used again.
        with anyio.move_on_after(_GRACE):
            try:
                return await anext(events, None)
            except (A2AError, HttpError):
                return None
        return None

    def _apply(self, received: Received) -> list[StreamResponse]:
        self._last_id = received.id or self._last_id
        news = self.assembly.apply(received.update)
        self._progress = self._progress or bool(news)
        return news

    # --- what is the end, and what is a failure ---------------------------------------------------

    def _ends(self) -> bool:
        """Whether the server is about to end the stream."""
        waits = self.assembly.state is TaskState.INPUT_REQUIRED and self._settled
        return self.assembly.over or (waits and not self._until_over)

    def _stops(self) -> bool:
        """Whether to leave, though the server may have more to say."""
        state = self.assembly.state
        if state is TaskState.AUTH_REQUIRED:
            return self._settled and self._stop_at_auth and not self._until_over
        waits = state is TaskState.INPUT_REQUIRED and not self._streaming
        return waits and not self._until_over

    def _finished(self, *, clean: bool) -> bool:
        """Whether this is the end; ``clean``: the last stream or poll was not cut off."""
        if self._send is not None:
            return False
        waits = self.assembly.state is not None and self.assembly.state.interrupted
        ended = self._ends() or self._stops() or (waits and clean and self._streaming)
        if ended and self._doubtful and self.assembly.message is None:
            self._streaming = False  # GetTask has the last word
            return False
        return ended

    def _survives(self, error: Exception) -> bool:
        """Return whether there is a way to go on after ``error``."""
        if self._send is not None:
            if self._streaming and isinstance(
                error, UnsupportedOperationError | MethodNotFoundError
            ):
                self._streaming = False
                return True
            return is_transient(error)
        # A task is known. What the server says of a subscription, GetTask may say otherwise.
        return self._streaming or breaks_stream(error)

    def _gives_up_streams(self, failures: int, error: Exception | None) -> bool:
        if error is None:
            return failures > 0  # it ended in good order and told nothing
        return failures >= _SUBSCRIPTIONS or not (breaks_stream(error) or self._progress)

    def _lost(self, error: Exception | None) -> LostError:
        task_id, state = self.assembly.task_id, self.assembly.state
        why = error or "the server ends each answer before it says anything"
        if task_id is None or self._send is not None:
            return LostError(f"no answer came: {why}", None, None)
        was = "not known" if state is None else state.name.lower().replace("_", "-")
        return LostError(
            f"the connection to the task {task_id} was lost, its last state was {was}: {why}",
            task_id,
            state,
        )


def _follows(event_id: str, last_id: str) -> bool:
    """Whether an event is the next one after ``last_id``, by ids that are counted."""
    both = event_id.isdecimal() and last_id.isdecimal() and len(event_id) < 19 > len(last_id)
    return both and int(event_id) == int(last_id) + 1
