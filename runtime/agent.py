"""What users make: an agent with its card and its handlers."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, get_type_hints

import msgspec

from ..protocol.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentProvider,
    AgentSkill,
    Message,
)

F = TypeVar("F", bound=Callable[..., Any])

TEXT_AND_DATA = ("text/plain", "application/json")


class Handler(msgspec.Struct, frozen=True):
    """A user's function, and what its signature says about it."""

    function: Callable[..., Any]
    threaded: bool
    """A plain ``def``: runs in a worker thread."""
    direct: bool
    """Annotated ``-> Message``: never makes a task."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Handler:
        target: Any = function if inspect.isroutine(function) else type(function).__call__
        awaitable = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)
        try:
            returns = get_type_hints(target).get("return")
        except (NameError, TypeError):
            returns = None
        return cls(function, threaded=not awaitable, direct=returns is Message)


class Agent:
    """An agent: a name, a description, a handler. Everything else has a default.

    ``skills`` go to the card as they are; ``@agent.skill`` adds one and its handler. ``slug``
    names the agent in URLs and in the store: keep it when you change the name. ``input_modes`` are
    enforced: a part of another media type is refused (``ContentTypeNotSupportedError``).
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        *,
        version: str = "1.0.0",
        slug: str | None = None,
        skills: Sequence[AgentSkill] = (),
        provider: AgentProvider | None = None,
        documentation_url: str | None = None,
        icon_url: str | None = None,
        input_modes: Sequence[str] = TEXT_AND_DATA,
        output_modes: Sequence[str] = TEXT_AND_DATA,
        streaming: bool = True,
        extensions: Sequence[AgentExtension] = (),
        on_interrupt: str | None = None,
        on_mismatch: str = "block",
        deadline: float | None = None,
    ) -> None:
        if not name:
            raise ValueError("an agent needs a name")
        if on_interrupt not in (None, "resume", "rerun", "fail"):
            raise ValueError("on_interrupt is 'resume', 'rerun' or 'fail'")
        if on_mismatch not in ("block", "fail"):
            raise ValueError("on_mismatch is 'block' or 'fail'")
        self.name = name
        self.description = description or name
        self.version = version
        self.slug = slug_of(name) if slug is None else slug
        if self.slug != slug_of(self.slug):
            raise ValueError(
                f"the slug {self.slug!r} may hold lower-case letters, digits and '-' only"
            )
        self.provider = provider
        self.documentation_url = documentation_url
        self.icon_url = icon_url
        self.input_modes = list(input_modes)
        self.output_modes = list(output_modes)
        self.streaming = streaming
        self.extensions = list(extensions)
        self.on_interrupt = on_interrupt
        self.on_mismatch = on_mismatch
        self.deadline = deadline
        """Seconds from its creation after which a task is cancelled."""
        self.deps: Any = None
        self._skills: dict[str, AgentSkill] = {skill.id: skill for skill in skills}
        self._handler: Handler | None = None
        self._by_skill: dict[str, Handler] = {}
        self._lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None

    # --- decorators -----------------------------------------------------------------------------

    def handler(self, function: F) -> F:
        """Make ``function(ctx)`` the handler: async, an async generator, or a plain function."""
        if self._handler is not None:
            raise ValueError(f"agent {self.name!r} has a handler already")
        self._handler = Handler.of(function)
        return function

    def skill(
        self,
        id: str | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        examples: Sequence[str] = (),
        input_modes: Sequence[str] = (),
        output_modes: Sequence[str] = (),
    ) -> Callable[[F], F]:
        """Declare a skill on the card and make the function its handler.

        A message whose metadata has ``{"skill": id}`` goes to that skill; others go to the
        ``@agent.handler``, or to the first skill where there is none.
        """

        def declare(function: F) -> F:
            key = id or slug_of(getattr(function, "__name__", "skill").replace("_", " "))
            if key in self._by_skill:
                raise ValueError(f"agent {self.name!r} has a skill {key!r} already")
            lines = (inspect.getdoc(function) or "").splitlines()
            title = name or key.replace("-", " ").replace("_", " ").capitalize()
            self._skills[key] = AgentSkill(
                id=key,
                name=title,
                description=description or (lines[0] if lines else title),
                tags=list(tags) or [key],
                examples=list(examples) or None,
                input_modes=list(input_modes) or None,
                output_modes=list(output_modes) or None,
            )
            self._by_skill[key] = Handler.of(function)
            return function

        return declare

    def lifespan(self, function: Callable[[], AsyncGenerator[Any, None]]) -> Any:
        """Make what the async generator yields ``ctx.deps``, from start to shutdown."""
        self._lifespan = asynccontextmanager(function)
        return function

    # --- for the runtime ------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Hold the dependencies."""
        if self._lifespan is None:
            yield
            return
        async with self._lifespan() as deps:
            self.deps = deps
            try:
                yield
            finally:
                self.deps = None

    def check(self) -> None:
        """Raise ``ValueError`` if the agent cannot be served."""
        if self._handler is None and not self._by_skill:
            raise ValueError(
                f"agent {self.name!r} has no handler: decorate a function with @agent.handler"
            )

    def handler_for(self, message: Message, call: Any = None) -> Handler:
        """The handler of a message."""
        if self._by_skill:
            wanted = (message.metadata or {}).get("skill")
            if wanted is None and call is not None and call.metadata:
                wanted = call.metadata.get("skill")
            if isinstance(wanted, str) and wanted in self._by_skill:
                return self._by_skill[wanted]
        if self._handler is not None:
            return self._handler
        return next(iter(self._by_skill.values()))

    def card(self, interfaces: Sequence[AgentInterface]) -> AgentCard:
        """The public card (section 4.4.1) for an agent served at ``interfaces``."""
        skills = list(self._skills.values()) or [
            AgentSkill(id=self.slug, name=self.name, description=self.description, tags=[self.slug])
        ]
        return AgentCard(
            name=self.name,
            description=self.description,
            version=self.version,
            supported_interfaces=list(interfaces),
            provider=self.provider,
            documentation_url=self.documentation_url,
            icon_url=self.icon_url,
            capabilities=AgentCapabilities(
                streaming=self.streaming,
                push_notifications=False,
                extended_agent_card=False,
                extensions=self.extensions or None,
            ),
            default_input_modes=self.input_modes,
            default_output_modes=self.output_modes,
            skills=skills,
        )

    def __repr__(self) -> str:
        return f"<Agent {self.slug} {self.version} skills={len(self._skills)}>"


def slug_of(name: str) -> str:
    """A name for URLs: ASCII letters and digits in lower case joined by ``-``, or ``agent``."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    ascii_name = re.sub(r"['\"]", "", ascii_name).lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-") or "agent"
