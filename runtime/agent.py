"""What users make: an agent with its card and its handlers."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import UnionType
from typing import Any, Generic, Literal, Protocol, get_origin, get_type_hints, overload

import msgspec
from msgspec import structs
from typing_extensions import TypeVar

from ..protocol.errors import InvalidParamsError
from ..protocol.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentProvider,
    AgentSkill,
    Message,
    SecurityRequirement,
    SecurityScheme,
)
from . import modes
from .call import Principal, Sender
from .content import fit
from .extensions import Extension, Negotiation
from .settings.bounds import seconds

F = TypeVar("F", bound=Callable[..., Any])
D = TypeVar("D", default=Any)
"""What the lifespan of an agent yields."""
C = TypeVar("C", default=Any)
"""The context of its coroutine functions and async generators …"""
B = TypeVar("B", default=Any)
"""… and of its plain functions. This module knows neither: ``handler.agent`` names them."""
A = TypeVar("A", bound=Awaitable[Any] | AsyncIterator[Any])
R = TypeVar("R")
OnInterrupt = Literal["resume", "rerun", "fail"]
OnMismatch = Literal["block", "fail"]

TEXT_AND_DATA = ("text/plain", "application/json")
TARGET = "target_agent"
"""The key in metadata by which clients of CrewAI's servers name an agent, or a skill of a crew."""


class Handler(msgspec.Struct, frozen=True):
    """A user's function, and what its signature says about it."""

    function: Callable[..., Any]
    threaded: bool
    """A plain ``def``: runs in a worker thread."""
    direct: bool
    """Annotated ``-> Message``: never makes a task."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Handler:
        if not callable(function):
            raise TypeError(
                f"a handler is a function, not {type(function).__name__}: put @agent.handler above "
                "`async def answer(ctx: TaskContext)`"
            )
        target: Any = function if inspect.isroutine(function) else type(function).__call__
        name = str(getattr(function, "__name__", type(function).__name__))
        if inspect.isgeneratorfunction(target):
            raise TypeError(f"{name} yields: make it `async def`, and what it yields is streamed")
        try:
            inspect.signature(function).bind(None)
        except TypeError as error:
            raise TypeError(
                f"{name} cannot be a handler: it is called with one argument, the context ({error})"
                f"; write `{_signature(name, target)}`"
            ) from None
        except ValueError:
            pass  # made in C: it does not tell
        _check_context(name, target)
        awaitable = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)
        try:
            returns = get_type_hints(target).get("return")
        except Exception:  # whatever a name of the user's means
            returns = None
        return cls(function, threaded=not awaitable, direct=returns is Message)


def _signature(name: str, target: Callable[..., Any]) -> str:
    """The first line of a handler as it should have been written."""
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        return f"async def {name}(ctx: TaskContext)"
    return f"def {name}(ctx: BlockingContext)"


def _check_context(name: str, target: Callable[..., Any]) -> None:
    """Raise TypeError where the annotation of the one argument says that it is no context."""
    try:
        [parameter, *_] = [
            one for one in inspect.signature(target).parameters.values() if one.name != "self"
        ]
        kind = get_type_hints(target).get(parameter.name, Any)
    except Exception:  # made in C, or of names that mean nothing here
        return
    kind = get_origin(kind) or kind
    if kind is UnionType:
        return
    if not isinstance(kind, type) or kind in (object, Any) or getattr(kind, "_is_protocol", False):
        return
    if any(base.__name__ in ("TaskContext", "BlockingContext") for base in kind.__mro__):
        return
    raise TypeError(
        f"{name} cannot be a handler: it takes {parameter.name}: {kind.__name__}, and a handler is "
        f"called with the context; write `{_signature(name, target)}` and read `ctx.text` or "
        "`ctx.message`"
    )


class Declares(Protocol[C, B]):
    """The decorator that ``@agent.handler()`` and ``@agent.skill(...)`` give."""

    @overload
    def __call__(self, function: Callable[[C], A], /) -> Callable[[C], A]: ...

    @overload
    def __call__(self, function: Callable[[B], R], /) -> Callable[[B], R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Any: ...


class Agent(Generic[D, C, B]):
    """An agent: a name, a description, a handler. Everything else has a default.

    ``skills`` go to the card as they are; ``@agent.skill`` adds one and its handler. ``slug``
    names the agent in URLs and in the store: keep it when you change the name. ``input_modes`` are
    enforced: a part of another media type is refused (``ContentTypeNotSupportedError``). ``text``,
    ``data`` and ``file``, as cards of 0.2 write them, stand for every text, every JSON, all else.

    ``on_interrupt`` says what becomes of a task whose handler was interrupted: "resume" its run, by
    replay; "rerun" it from nothing; "fail", and start no handler before its task is on disk.
    Without it a run that began a step, a question, a stream or a sleep is resumed, and another
    fails.
    ``on_mismatch`` is what a task does that a changed handler cannot go on with: "block" (until one
    is deployed that can) or "fail". ``deadline`` is how many seconds a task may take in all.
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
        extensions: Sequence[AgentExtension | Extension] = (),
        security_schemes: Mapping[str, SecurityScheme] | None = None,
        extended_skills: Sequence[AgentSkill] = (),
        extended_card: bool = False,
        on_interrupt: OnInterrupt | None = None,
        on_mismatch: OnMismatch = "block",
        deadline: float | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"an agent needs a name, a text, not {name!r}: Agent('Travel desk')")
        if on_interrupt not in (None, "resume", "rerun", "fail"):
            raise ValueError(f"on_interrupt is 'resume', 'rerun' or 'fail', not {on_interrupt!r}")
        if on_mismatch not in ("block", "fail"):
            raise ValueError(f"on_mismatch is 'block' or 'fail', not {on_mismatch!r}")
        _check_skills(skills, "skills")
        _check_skills(extended_skills, "extended_skills")
        self.name = name
        self.description = description or name
        self.version = version
        self.slug = slug_of(name) if slug is None else slug
        if self.slug != slug_of(self.slug):
            raise ValueError(
                f"the slug {self.slug!r} may hold lower-case letters, digits and '-' only: write "
                f"slug={slug_of(self.slug)!r}"
            )
        self.provider = provider
        self.documentation_url = documentation_url
        self.icon_url = icon_url
        self.input_modes = modes.checked(input_modes, "input_modes")
        self.output_modes = modes.checked(output_modes, "output_modes")
        self.streaming = streaming
        self.negotiation = Negotiation(extensions)
        self.extensions = self.negotiation.declared
        self.security_schemes = security_schemes
        """What the card must say; the server refuses to start if it enforces something else."""
        self.on_interrupt = on_interrupt
        self.on_mismatch = on_mismatch
        if deadline is not None and seconds(deadline, "deadline", "leave it out for none") <= 0:
            raise ValueError(f"deadline is more than 0 seconds, not {deadline}")
        self.deadline = deadline
        """Seconds from its creation after which a task is cancelled."""
        self._skills: dict[str, AgentSkill] = {
            skill.id: skill for skill in (*skills, *extended_skills)
        }
        for skill in self._skills.values():
            for listed in (skill.input_modes, skill.output_modes):
                if listed is not None:
                    modes.checked(listed, f"the modes of skill {skill.id!r}")
        self._extended = {skill.id for skill in extended_skills}
        self._extended_card = extended_card
        self._modifier: Callable[[AgentCard, Principal], Any] | None = None
        self.skill_scopes: dict[str, frozenset[str]] = {}
        """Scopes that the caller needs, by skill."""
        self._handler: Handler | None = None
        self._by_skill: dict[str, Handler] = {}
        self._lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None

    # --- decorators -----------------------------------------------------------------------------

    @overload
    def handler(self, /) -> Declares[C, B]: ...

    @overload
    def handler(self, function: Callable[[C], A], /) -> Callable[[C], A]: ...

    @overload
    def handler(self, function: Callable[[B], R], /) -> Callable[[B], R]: ...

    def handler(self, *functions: Callable[..., Any]) -> Any:
        """Make ``function(ctx)`` the handler: async, an async generator, or a plain function.

        Written ``@agent.handler`` or ``@agent.handler()``. Raises TypeError for a function that
        cannot be one, and ValueError if there is a handler already.
        """
        if not functions:
            return self.handler
        [function] = functions
        handler = Handler.of(function)
        if self._handler is not None:
            raise ValueError(
                f"agent {self.name!r} has a handler already: make the other one a skill "
                "(@agent.skill), or give it an Agent of its own"
            )
        self._handler = handler
        return function

    @overload
    def skill(self, function: Callable[[C], A], /) -> Callable[[C], A]: ...

    @overload
    def skill(self, function: Callable[[B], R], /) -> Callable[[B], R]: ...

    @overload
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
        scopes: Sequence[str] = (),
        extended: bool = False,
    ) -> Declares[C, B]: ...

    def skill(
        self,
        id: str | Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] = (),
        examples: Sequence[str] = (),
        input_modes: Sequence[str] = (),
        output_modes: Sequence[str] = (),
        scopes: Sequence[str] = (),
        extended: bool = False,
    ) -> Any:
        """Declare a skill on the card and make the function its handler.

        Written ``@agent.skill``, ``@agent.skill()`` or ``@agent.skill("translate", ...)``; without
        an id the skill has the name of its function.

        A message whose metadata has ``{"skill": id}`` goes to that skill; others go to the
        ``@agent.handler``, or to the first skill where there is none; a follow-up that names none
        goes to the skill of its task. ``scopes`` are what a caller needs for it, in follow-ups
        too; an ``extended`` one is shown on the extended card only, to who may use it.
        """

        if id is not None and not isinstance(id, str):
            return self.skill()(id)
        for texts, where in ((tags, "tags"), (examples, "examples"), (scopes, "scopes")):
            if isinstance(texts, str):
                raise TypeError(f"{where} is a list of texts, as in [{texts!r}], not one text")

        def declare(function: F) -> F:
            key = id or slug_of(getattr(function, "__name__", "skill").replace("_", " "))
            handler = Handler.of(function)
            if key in self._by_skill:
                raise ValueError(
                    f"agent {self.name!r} has a skill {key!r} already: give this one another id, "
                    'as in @agent.skill("other")'
                )
            lines = (inspect.getdoc(function) or "").splitlines()
            title = name or key.replace("-", " ").replace("_", " ").capitalize()
            self._skills[key] = AgentSkill(
                id=key,
                name=title,
                description=description or (lines[0] if lines else title),
                tags=list(tags) or [key],
                examples=list(examples) or None,
                input_modes=modes.checked(input_modes, "input_modes") if input_modes else None,
                output_modes=modes.checked(output_modes, "output_modes") if output_modes else None,
            )
            self._by_skill[key] = handler
            if scopes:
                self.skill_scopes[key] = frozenset(scopes)
            if extended:
                self._extended.add(key)
            return function

        return declare

    def extended_card(self, function: F) -> F:
        """Let ``function(card, principal)`` (plain or async) make each caller's extended card.

        It gets the card with the skills that the principal may use and returns the one to send.
        """
        self._modifier = function
        return function

    def lifespan(
        self, function: Callable[[], AsyncGenerator[D, None]]
    ) -> Callable[[], AsyncGenerator[D, None]]:
        """Make what the async generator yields ``ctx.deps``, from start to shutdown."""
        if not inspect.isasyncgenfunction(function):
            raise TypeError(
                "the lifespan of an agent is an async generator function: `async def resources():` "
                "that makes them, yields them once, and closes them"
            )
        self._lifespan = asynccontextmanager(function)
        return function

    # --- for the runtime ------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Any, None]:
        """Hold the dependencies of one runtime; gives what the lifespan yields."""
        if self._lifespan is None:
            yield None
            return
        async with self._lifespan() as deps:
            yield deps

    def check(self) -> None:
        """Raise ``ValueError`` if the agent cannot be served."""
        if self._handler is None and not self._by_skill:
            raise ValueError(
                f"agent {self.name!r} has no handler: decorate a function with @agent.handler, as "
                "in `@agent.handler` above `async def answer(ctx: TaskContext)`"
            )

    def handler_of(self, skill: str | None) -> Handler:
        """The handler of a skill; ``None``: of none in particular."""
        if skill in self._by_skill:
            return self._by_skill[skill]
        if self._handler is not None:
            return self._handler
        return next(iter(self._by_skill.values()))

    def named_skill(
        self, message: Message, metadata: Mapping[str, Any] | None = None
    ) -> str | None:
        """The skill that a message names, if any; ``metadata`` is that of the request.

        Clients of CrewAI's servers name one by ``target_agent``, which may also name an agent.
        Raises InvalidParamsError for one that there is not. What an agent without skills makes of
        the word is its own affair.
        """
        if not self._skills:
            return None
        wanted, where = (message.metadata or {}).get("skill"), "message.metadata.skill"
        if wanted is None and metadata:
            wanted, where = metadata.get("skill"), "metadata.skill"
        if wanted is None:
            wanted = (message.metadata or {}).get(TARGET, (metadata or {}).get(TARGET))
            return wanted if isinstance(wanted, str) and wanted in self._choice else None
        if isinstance(wanted, str) and wanted in self._choice:
            return wanted
        shown = ", ".join(skill for skill in self._choice if skill not in self._extended)
        raise InvalidParamsError(
            "skill names no skill of this agent" + (f"; it has: {shown}" if shown else ""),
            field=where,
        )

    def skill_of(self, message: Message, sender: Sender | None) -> str | None:
        """The skill that carries a message out: the one that it names, else the task's, else the
        agent's first; ``None``: the agent's handler, as no skill in particular."""
        if not self._skills:
            return None
        try:
            named = self.named_skill(message, sender.metadata if sender is not None else None)
        except InvalidParamsError:
            named = None  # it was there when the task began
        if named is None and sender is not None and sender.skill in self._choice:
            named = sender.skill
        return named or self.default_skill

    @property
    def default_skill(self) -> str | None:
        """The skill of a message that names none and continues nothing."""
        return None if self._handler is not None else next(iter(self._by_skill))

    @property
    def _choice(self) -> Mapping[str, Any]:
        """The skills that a message can name: those that somebody carries out."""
        return self._skills if self._handler is not None else self._by_skill

    @property
    def skill_ids(self) -> tuple[str, ...]:
        return tuple(self._skills)

    def skill_requirements(self, skill: str) -> Sequence[SecurityRequirement]:
        """The requirements that a declared ``AgentSkill`` brought with it."""
        # The card of an agent without skills shows the agent itself as one.
        known = self._skills.get(skill)
        return (known.security_requirements if known is not None else None) or ()

    def hides(self, skill: str) -> bool:
        """Whether a skill is on the extended card only."""
        return skill in self._extended

    @property
    def extends(self) -> bool:
        """Whether the card says that there is an extended one."""
        return self._extended_card or bool(self._extended) or self._modifier is not None

    @property
    def extension(self) -> Callable[[AgentCard, Principal], Any] | None:
        """What makes an extended card of it; ``None`` where nothing is configured."""
        if self._modifier is None and self._extended:
            return _unchanged
        return self._modifier

    def card(
        self, interfaces: Sequence[AgentInterface], *, extended: bool = False, push: bool = False
    ) -> AgentCard:
        """The public card (section 4.4.1) for an agent served at ``interfaces``; ``extended``: with
        every skill there is; ``push``: the server delivers push notifications."""
        skills = [
            skill for skill in self._skills.values() if extended or skill.id not in self._extended
        ]
        card = AgentCard(
            name=self.name,
            description=self.description,
            version=self.version,
            supported_interfaces=list(interfaces),
            provider=self.provider,
            documentation_url=self.documentation_url,
            icon_url=self.icon_url,
            capabilities=AgentCapabilities(
                streaming=self.streaming,
                push_notifications=push,
                extended_agent_card=self.extends,
                extensions=self.extensions or None,
            ),
            default_input_modes=[],
            default_output_modes=[],
            skills=skills,
        )
        return self.completed(card)

    def completed(self, card: AgentCard) -> AgentCard:
        """Return a card of this agent without an empty list where the specification requires
        entries, and with texts that UTF-8 can hold. Raises TypeError for what is no JSON."""
        own = AgentSkill(
            id=self.slug, name=self.name, description=self.description, tags=[self.slug]
        )
        whole = structs.replace(
            card,
            default_input_modes=card.default_input_modes or modes.written(self.input_modes),
            default_output_modes=card.default_output_modes or modes.written(self.output_modes),
            skills=[self._shown(skill) for skill in card.skills or [own]],
        )
        return fit(whole)[0]

    def _shown(self, skill: AgentSkill) -> AgentSkill:
        """Return a skill as cards have it: some clients need its modes, and all need tags."""
        return structs.replace(
            skill,
            tags=skill.tags or [skill.id],
            input_modes=modes.written(skill.input_modes or self.input_modes),
            output_modes=modes.written(skill.output_modes or self.output_modes),
        )

    def __repr__(self) -> str:
        return f"<Agent {self.slug} {self.version} skills={len(self._skills)}>"


def _check_skills(skills: object, where: str) -> None:
    if isinstance(skills, str | AgentSkill) or not isinstance(skills, Sequence):
        raise TypeError(
            f"{where} is a list: [Skill(id=..., name=..., description=..., tags=[...])]"
        )
    for skill in skills:
        if not isinstance(skill, AgentSkill):
            raise TypeError(
                f"{where} holds {skill!r}: write Skill(id=..., name=..., description=..., "
                "tags=[...]), or decorate the function that carries it out with @agent.skill"
            )


def _unchanged(card: AgentCard, principal: Principal) -> AgentCard:
    return card


def slug_of(name: str) -> str:
    """A name for URLs: ASCII letters and digits in lower case joined by ``-``, or ``agent``."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    ascii_name = re.sub(r"['\"]", "", ascii_name).lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-") or "agent"
