"""The one gate: who is it, may they, and not too often. Every operation of every binding passes it.

Order: authenticate, rate of the caller, tenant, scopes, rate of the operation, size. After it an
operation has a ``Scope`` that names its owner, and no store is asked without one: what is not the
caller's does not exist (section 13.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from typing import Any

import anyio
from msgspec import structs

from ...protocol.errors import (
    A2AError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from ...protocol.operations import SEND, STREAM, Operation
from ...protocol.types import (
    AgentCard,
    SecurityRequirement,
    SecurityScheme,
    SendMessageRequest,
    StringList,
)
from ..agent import Agent
from ..call import ANONYMOUS, Call, Principal
from ..journal.store import Clock
from ..settings.bounds import checked
from .audit import (
    AUTHENTICATE,
    LONGEST,
    REQUEST,
    AggregatingSink,
    AuditEntry,
    outcome_of,
)
from .card import with_flows
from .checks import check
from .limits import Limits, measure
from .policy import Security
from .rate_limits import Buckets, GuessLimiter, WaitingRoom
from .schemes.combination import insufficient
from .schemes.ports import InvalidCredential, unexpected

log = logging.getLogger("greenroom.security")

PAUSE = 0.25
"""Seconds that a refusal for a rate takes at least."""
Key = tuple[str, str]
"""Tenant and owner."""


class Gate:
    """Made by the runtime; transports only ask ``open`` and ``admit``."""

    def __init__(
        self, security: Security, limits: Limits, clock: Clock, agents: Mapping[str, Agent]
    ) -> None:
        self.security = security
        self.limits = limits = checked(limits)
        check(security, limits, agents)
        self.audit = None if security.audit is None else AggregatingSink(security.audit)
        """Where what callers do is written down."""
        self.exposed = True
        """Whether others than this machine may reach the server, for the log of anonymous mode."""
        self.open = security.authenticator is None
        """Anonymous mode: there is nothing to check about the caller."""
        self._authenticator = security.authenticator
        self._now: Callable[[], float] = clock.now
        self._buckets = Buckets(limits.buckets)
        self._guesses = GuessLimiter(limits, self._now)
        self._throttled = WaitingRoom(limits.max_waiting)
        self._streams: dict[Key, int] = {}
        self._policy = {
            name: frozenset(scopes) for name, scopes in security.policy.operations.items()
        }
        self._agent_scopes = {
            slug: frozenset(scopes) for slug, scopes in security.policy.agents.items()
        }
        self.unauthenticated = 0
        self.denied = 0
        self.throttled = 0

    # --- the caller -----------------------------------------------------------------------------

    async def admit(self, call: Call) -> Principal:
        """Set and return ``call.principal``. Transports may ask before they read a body.

        Raises UnauthenticatedError (with its challenge), PermissionDeniedError,
        ResourceExhaustedError, UnavailableError.
        """
        authenticator = self._authenticator
        if authenticator is None:
            call.principal = ANONYMOUS
            return ANONYMOUS
        now = self._now()
        principal = authenticator.known(call, now)
        if principal is None:
            principal = await self._prove(call)
        limits = self.limits
        if limits.rate:
            key = (principal.tenant, principal.owner)
            wait = self._buckets.take(key, limits.rate, limits.burst, now)
            if wait:
                try:
                    await self._throttle(wait, "this server", principal)
                except ResourceExhaustedError as error:
                    self.audit_refusal(call, error, principal)
                    raise
        call.principal = principal
        return principal

    async def _prove(self, call: Call) -> Principal:
        """Verify credentials that were not seen before."""
        assert self._authenticator is not None
        try:
            held = self._authenticator.held(call, self._now())
            async with nullcontext() if held else self._guesses.turn(call.peer):
                found: Principal | None = None
                try:
                    found = await self._authenticate(call, self._now())
                    return found
                except (UnauthenticatedError, PermissionDeniedError) as error:
                    self._refused(call, error)  # before the next of its address has its turn
                    raise
                finally:
                    for why in call.refused:
                        self.unauthenticated += 1
                        self._refused(call, UnauthenticatedError(f"Beside others: {why}"), found)
        except UnauthenticatedError:
            self.unauthenticated += 1
            raise
        except PermissionDeniedError:
            self.denied += 1
            raise
        except ResourceExhaustedError as error:
            self.audit_refusal(call, error)
            raise

    async def _authenticate(self, call: Call, now: float) -> Principal:
        """Ask the authenticator; what it may not raise is a refusal."""
        assert self._authenticator is not None
        try:
            return await self._authenticator.authenticate(call, now)
        except A2AError:
            raise
        except Exception as error:
            told = error
            if not isinstance(error, InvalidCredential):
                told = unexpected(error, "the authenticator")
            if isinstance(told, UnavailableError):
                raise told from None
            raise UnauthenticatedError(f"The credentials were refused: {told}") from None

    def _refused(self, call: Call, error: A2AError, principal: Principal | None = None) -> None:
        count = self._guesses.failed(call.peer)
        # A flood shall not fill the log: the first few, then every doubling.
        if count <= self.limits.failures or count & (count - 1) == 0:
            log.warning(
                "refused %s over %s: %s (%d from there)",
                call.peer or "a caller", call.binding, error.message, count,
                extra={"event": "refused", "address": call.peer, "reason": error.reason},
            )  # fmt: skip
        self.audit_refusal(call, error, principal)

    def audit_refusal(
        self, call: Call, error: A2AError, principal: Principal | None = None
    ) -> None:
        """Audit a request that was refused before its operation was known."""
        if self.audit is None:
            return
        guess = isinstance(error, UnauthenticatedError) and self._shows_credential(call)
        entry = self._entry(call, AUTHENTICATE, error.reason, principal or call.principal)
        self.audit.record(structs.replace(entry, detail=error.message[:LONGEST], guess=guess))

    def audit_request(
        self, call: Call, error: Exception, operation: Operation | None = None, outcome: str = ""
    ) -> None:
        """Audit a request that failed before the runtime had its operation and parameters.

        ``operation`` is the one that the request names, as far as that is known. ``outcome`` takes
        the place of the reason of ``error``. The message of ``error`` is not written: it may quote
        the request.
        """
        if self.audit is None:
            return
        action = REQUEST if operation is None else operation.name
        principal = call.principal or (ANONYMOUS if self.open else None)
        self.audit.record(self._entry(call, action, outcome or outcome_of(error), principal))

    def _entry(
        self, call: Call, action: str, outcome: str, principal: Principal | None
    ) -> AuditEntry:
        return AuditEntry(
            time=self._now(), action=action, outcome=outcome,
            owner=principal.owner if principal else "",
            tenant=principal.tenant if principal else "",
            scheme=principal.scheme if principal else "",
            agent=call.agent[:LONGEST], address=call.peer[:LONGEST],
            binding=call.binding, version=call.version[:LONGEST],
        )  # fmt: skip

    def _shows_credential(self, call: Call) -> bool:
        """Whether a call has a credential of a scheme, be it good or not."""
        schemes = self.security.schemes
        if not schemes:  # an authenticator of the operator's own
            return bool(call.headers.get("authorization") or call.certificate)
        return any(scheme.credential(call) is not None for scheme in schemes)

    async def _throttle(self, wait: float, what: str, principal: Principal) -> None:
        """Refuse, but not at once: a caller who asks again immediately shall not keep the server
        busy. Raises ResourceExhaustedError."""
        self.throttled += 1
        pause = min(max(wait, PAUSE), 1.0)
        place = self._throttled.place((principal.tenant, principal.owner), pause)
        with suppress(ResourceExhaustedError), place:
            await anyio.sleep(pause)
        raise ResourceExhaustedError(
            f"Too many requests for {what}: slow down",
            headers={"Retry-After": str(max(1, round(wait)))},
        )

    # --- what it asks ---------------------------------------------------------------------------

    async def authorize(
        self, call: Call, agent: Agent, operation: Operation, request: Any, principal: Principal
    ) -> None:
        """Raise PermissionDeniedError or ResourceExhaustedError, or let it pass."""
        named = call.tenant
        # Clients may have been told an agent's slug as the tenant that routes to it.
        if named and principal.tenant and named not in (principal.tenant, agent.slug):
            self.denied += 1
            raise PermissionDeniedError("These credentials are not of the tenant that was named")
        held = principal.scopes
        needed = self._agent_scopes.get(agent.slug)
        if needed is not None and not needed <= held:
            raise self._insufficient(needed - held)
        needed = self._policy.get(_ruled(operation, self._policy))
        if needed is not None and not needed <= held:
            raise self._insufficient(needed - held)
        if isinstance(request, SendMessageRequest):
            skill = agent.named_skill(request.message, request.metadata)
            if skill is None and not request.message.task_id:
                skill = agent.default_skill
            self.check_skill(call, agent, skill)
        limits = self.limits
        if limits.operations:
            name = _ruled(operation, limits.operations)
            rate = limits.operations.get(name)
            if rate:
                key = (principal.tenant, principal.owner, name)
                wait = self._buckets.take(key, rate, limits.burst, self._now())
                if wait:
                    await self._throttle(wait, name, principal)

    def check_skill(self, call: Call, agent: Agent, skill: str | None) -> None:
        """Raise PermissionDeniedError unless the caller may use a skill (``None``: none in
        particular). Follow-ups are held against the skill of their task too, once it is found."""
        if skill is None or self.open:
            return
        principal = call.principal
        assert principal is not None
        needed = agent.skill_scopes.get(skill)
        if needed is not None and not needed <= principal.scopes:
            raise self._insufficient(needed - principal.scopes)
        declared = agent.skill_requirements(skill)
        if declared and not any(principal.meets(one) for one in declared):
            lacking = [s for one in declared[0].schemes.values() for s in one.list]
            raise self._insufficient(frozenset(lacking) - principal.scopes)

    def _insufficient(self, missing: frozenset[str]) -> PermissionDeniedError:
        self.denied += 1
        if not missing:
            return PermissionDeniedError("Another security scheme is required for this skill")
        return insufficient(missing)

    def measure(self, operation: Operation, request: Any) -> None:
        """Refuse what is too large, whoever asks."""
        if operation is SEND or operation is STREAM:
            measure(request, self.limits)

    # --- whether it still may ---------------------------------------------------------------------

    def still_valid(self, call: Call) -> bool:
        """Whether a caller who was admitted would be now, as far as can be told at once."""
        principal, now = call.principal, self._now()
        assert principal is not None
        assert self._authenticator is not None
        if principal.expires is not None and principal.expires <= now:
            return False
        found = self._authenticator.known(call, now)
        return found is not None and _same(found, principal)

    async def reauthenticate(self, call: Call) -> None:
        """Look at the credentials of an admitted caller anew. Raises what ``admit`` would."""
        principal, now = call.principal, self._now()
        assert principal is not None
        assert self._authenticator is not None
        try:
            if principal.expires is not None and principal.expires <= now:
                raise UnauthenticatedError("The credentials have expired")
            found = await self._authenticate(call, now)
            if not _same(found, principal):
                raise UnauthenticatedError("The credentials are not what they were")
        except (UnauthenticatedError, PermissionDeniedError) as error:
            self.audit_refusal(call, error)
            raise

    # --- what it keeps open ---------------------------------------------------------------------

    def check_running(self, call: Call, running: int) -> None:
        """Refuse another handler to a principal that has ``running`` at work."""
        if not self.open and running >= self.limits.tasks:
            raise ResourceExhaustedError(
                f"You have {running} tasks at work; wait for one of them to end",
                headers={"Retry-After": "1"},
            )

    def acquire_stream(self, call: Call) -> Callable[[], None]:
        """Count another stream of a principal, or refuse it; return what counts it no more."""
        if self.open:
            return _nothing
        principal = call.principal
        assert principal is not None
        key = (principal.tenant, principal.owner)
        streams = self._streams
        held = streams.get(key, 0)
        if held >= self.limits.streams:
            raise ResourceExhaustedError(
                f"You have {held} open streams; close one of them", headers={"Retry-After": "1"}
            )
        streams[key] = held + 1

        def give_back() -> None:
            left = streams[key] - 1
            if left:
                streams[key] = left
            else:
                del streams[key]

        return give_back

    # --- the card -------------------------------------------------------------------------------

    @property
    def schemes(self) -> dict[str, SecurityScheme] | None:
        """``securitySchemes`` of every agent's card."""
        found = self._authenticator
        return dict(found.schemes) if found is not None else None

    def requirements(self, agent: Agent, skill: str | None = None) -> list[SecurityRequirement]:
        """``securityRequirements`` of an agent's card, or of one of its skills."""
        if self._authenticator is None:
            return []
        extra = set(self._agent_scopes.get(agent.slug, ()))
        if skill is not None:
            extra |= agent.skill_scopes.get(skill, frozenset())
        return [_with(one, extra) for one in self._authenticator.requirements]

    def secured(self, agent: Agent, card: AgentCard) -> AgentCard:
        """Write onto a card what is enforced."""
        if self._authenticator is None:  # nobody can be told apart, so nobody gets an extended card
            capabilities = structs.replace(card.capabilities, extended_agent_card=False)
            return structs.replace(card, capabilities=capabilities)
        skills = [
            structs.replace(skill, security_requirements=self.requirements(agent, skill.id))
            if agent.skill_scopes.get(skill.id)
            else skill
            for skill in card.skills
        ]
        return self.with_flows(
            structs.replace(
                card,
                security_schemes=self.schemes,
                security_requirements=self.requirements(agent),
                skills=skills,
            )
        )

    def with_flows(self, card: AgentCard) -> AgentCard:
        """Let a card's OAuth flows list what the skills on it ask for, and the operations."""
        return with_flows(structs.replace(card, security_schemes=self.schemes), self._policy)

    def permits(self, agent: Agent, skill: str, principal: Principal) -> bool:
        """Whether a principal may use a skill."""
        if not agent.skill_scopes.get(skill, frozenset()) <= principal.scopes:
            return False
        declared = agent.skill_requirements(skill)
        return not declared or any(principal.meets(one) for one in declared)

    def announce(self) -> None:
        """Say in the log who may call."""
        if not self.open:
            log.info("security schemes: %s", ", ".join(self.schemes or ()))
            return
        log.log(
            logging.WARNING if self.exposed else logging.INFO,
            "anonymous mode: anybody who reaches this server may call its agents, and all callers "
            "share one owner; set up a security scheme, such as auth.keys_file or auth.token "
            "(auth.anonymous = false refuses to start without one)",
            extra={"event": "anonymous"},
        )

    def statistics(self) -> dict[str, int]:
        return {
            "unauthenticated_total": self.unauthenticated,
            "permission_denied_total": self.denied,
            "throttled_total": self.throttled,
            "refused_waiting": self._guesses.waiting + self._throttled.waiting,
            "audit_lost_total": self.audit.lost if self.audit is not None else 0,
        }


def _nothing() -> None:
    pass


def _same(one: Principal, other: Principal) -> bool:
    return one.owner == other.owner and one.tenant == other.tenant and one.scopes >= other.scopes


def _ruled(operation: Operation, rules: Mapping[str, object]) -> str:
    """Return whose rule holds: that of a send is for one that streams too, which has none."""
    return SEND.name if operation is STREAM and STREAM.name not in rules else operation.name


def _with(requirement: SecurityRequirement, extra: Iterable[str]) -> SecurityRequirement:
    """Add scopes to the scheme that says who the caller is: the first."""
    schemes = dict(requirement.schemes)
    first = next(iter(schemes))
    schemes[first] = StringList(list=list(dict.fromkeys([*schemes[first].list, *sorted(extra)])))
    return SecurityRequirement(schemes=schemes)
