"""Protocol extensions (section 4.6): negotiated for each request, with hooks around operations."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from msgspec import Struct

from ..protocol.errors import A2AError, ExtensionSupportRequiredError
from ..protocol.frame import Frame
from ..protocol.operations import EXTENDED_CARD, Operation
from ..protocol.types import AgentExtension, StreamResponse, Wire
from .call import Call
from .journal.feed import Subscription

log = logging.getLogger("greenroom.extensions")
R = TypeVar("R")


class ExtensionContext(Struct):
    """One request, as the hooks of the extensions active in it share it."""

    call: Call
    operation: Operation
    agent: str
    state: dict[str, Any] = {}
    """Yours to use from ``on_request`` to ``on_response``; put keys under your URI."""


class Extension:
    """Subclass it and hand an instance to ``Agent(extensions=[…])``.

    Hooks run only in requests that activated the extension, in the order in which the agent lists
    its extensions, ``on_response`` too. What a hook returns takes the place of what it was given,
    unless it is ``None``. An ``A2AError`` from a hook refuses the request; another exception does
    so as an internal error, or is logged and passed over where ``on_error`` is ``"ignore"``.
    """

    uri: ClassVar[str]
    description: ClassVar[str | None] = None
    required: ClassVar[bool] = False
    on_error: ClassVar[Literal["fail", "ignore"]] = "fail"

    @property
    def params(self) -> dict[str, Any] | None:
        """What the card says beside the URI."""
        return None

    @property
    def declaration(self) -> AgentExtension:
        """The extension on the card (section 4.4.4)."""
        return AgentExtension(
            uri=self.uri,
            description=self.description,
            required=self.required,
            params=self.params,
        )

    async def on_request(self, context: ExtensionContext, request: Wire) -> Wire | None:
        """See the request (1.0 model) after it was authorised and before it is carried out."""
        return None

    async def on_response(self, context: ExtensionContext, response: Wire) -> Wire | None:
        """See the answer of an operation that is no stream, before it is encoded."""
        return None

    async def on_event(
        self, context: ExtensionContext, event: StreamResponse
    ) -> StreamResponse | None:
        """See each event of a stream on its way to this caller; others get their own."""
        return None


class Negotiation:
    """What one agent declares, ready to be held against requests."""

    def __init__(self, extensions: Sequence[AgentExtension | Extension]) -> None:
        self.declared = [
            one.declaration if isinstance(one, Extension) else one for one in extensions
        ]
        self.uris = [one.uri for one in self.declared]
        if not all(self.uris):
            raise ValueError("an extension is declared by its uri, and here is one without")
        if len(set(self.uris)) != len(self.uris):
            raise ValueError("an agent declares each extension once")
        self._required = [one.uri for one in self.declared if one.required]
        self._hooked = [one for one in extensions if isinstance(one, Extension)]

    def activate(self, call: Call, operation: Operation) -> None:
        """Set ``call.activated``. Raises ExtensionSupportRequiredError."""
        asked = call.extensions
        call.activated = tuple(uri for uri in asked if uri in self.uris)
        for uri in self._required:
            if uri not in asked and operation is not EXTENDED_CARD:
                raise ExtensionSupportRequiredError(
                    f"This agent requires the extension {uri}: name it in A2A-Extensions",
                    extension=uri,
                )

    def hooks(self, call: Call) -> list[Extension]:
        """Return the active extensions that have hooks, in the order of the agent."""
        return [one for one in self._hooked if one.uri in call.activated]


async def carried_out(
    hooks: Sequence[Extension],
    context: ExtensionContext,
    request: Wire,
    operate: Callable[[Any], Awaitable[Any]],
) -> Any:
    """Carry the operation out with the hooks around it."""
    for hook in hooks:
        request = await _asked(hook, hook.on_request(context, request)) or request
    response = await operate(request)
    if isinstance(response, Subscription):
        listening = [one for one in hooks if type(one).on_event is not Extension.on_event]
        return HookedSubscription(response, listening, context) if listening else response
    for hook in hooks:
        if response is not None:
            response = await _asked(hook, hook.on_response(context, response)) or response
    return response


async def _asked(hook: Extension, answer: Awaitable[R | None]) -> R | None:
    try:
        return await answer
    except A2AError:
        raise
    except Exception:
        if hook.on_error == "fail":
            raise
        log.exception("a hook of the extension %s failed", hook.uri)
        return None


class HookedSubscription:
    """A ``Subscription`` whose events pass the hooks."""

    def __init__(
        self, stream: Subscription, hooks: Sequence[Extension], context: ExtensionContext
    ) -> None:
        self._stream = stream
        self._hooks = hooks
        self._context = context
        self._taken: Sequence[Frame] | None = None

    async def next(self) -> Sequence[Frame] | None:
        """As ``Subscription.next``; a hook that was cancelled sees its events again."""
        if self._taken is None:
            self._taken = await self._stream.next()
        frames = self._taken
        if frames:
            frames = [await self._passed(frame) for frame in frames]
        self._taken = None
        return frames

    async def _passed(self, frame: Frame) -> Frame:
        event = frame.response
        for hook in self._hooks:
            event = await _asked(hook, hook.on_event(self._context, event)) or event
        return frame if event is frame.response else Frame(frame.generation, response=event)

    @property
    def task_id(self) -> str:
        return self._stream.task_id

    @property
    def reset(self) -> bool:
        return self._stream.reset

    @property
    def retry(self) -> bool:
        return self._stream.retry

    def close(self) -> None:
        self._stream.close()
