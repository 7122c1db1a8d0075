"""The one gate: who calls, what may they do, and how often. Every operation passes it.

Order: authenticate, rate of the caller, tenant, scopes, rate of the operation, size. The gate
gives the operation a ``TaskScope`` that names its owner, and no store is read without one: somebody
else's task does not exist for the caller (section 13.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any

import anyio

from ...protocol.errors import (
    A2AError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from ...protocol.operations import SEND, STREAM, Operation
from ...protocol.types import (
    SendMessageRequest,
)
from ..agent import Agent
from ..call import ANONYMOUS, Call, Principal
from ..journal.store import Clock
from ..settings.bounds import checked
from .audit import AggregatingSink
from .audit_failures import EntriesOfFailures
from .card import CardSecurity
from .checks import check
from .limits import Limits, measure
from .policy import Security
from .rate_limits import Buckets, GuessLimiter, StreamQuota, WaitingRoom
from .schemes.combination import insufficient
from .schemes.ports import InvalidCredential, unexpected

log = logging.getLogger("greenroom.security")

PAUSE = 0.25
"""Seconds that a refusal for a rate takes at least."""


class Gate:
    """Made by the runtime; transports only ask ``open`` and ``admit``."""

    def __init__(
        self, security: Security, limits: Limits, clock: Clock, agents: Mapping[str, Agent]
    ) -> None:
        self.security = security
        self.limits = limits = checked(limits)
        check(security, limits, agents)
        self.audit = None if security.audit is None else AggregatingSink(security.audit)
        """Where the gate and the runtime write down what callers do."""
        self._entries = EntriesOfFailures(security, clock.now)
        self.exposed = True
        """Whether others than this machine may reach the server, for the log of anonymous mode."""
        self.open = security.authenticator is None
        """Anonymous mode: there is nothing to check about the caller."""
        self._authenticator = security.authenticator
        self._now: Callable[[], float] = clock.now
        self._buckets = Buckets(limits.buckets)
        self._guesses = GuessLimiter(limits, self._now)
        self._throttled = WaitingRoom(limits.max_waiting)
        self._streams = StreamQuota(limits.streams)
        self._policy = {
            name: frozenset(scopes) for name, scopes in security.policy.operations.items()
        }
        self._agent_scopes = {
            slug: frozenset(scopes) for slug, scopes in security.policy.agents.items()
        }
        self.card = CardSecurity(security.authenticator, self._agent_scopes, self._policy)
        """What the agents' cards say of security."""
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
                principal: Principal | None = None
                try:
                    principal = await self._authenticate(call, self._now())
                    return principal
                except (UnauthenticatedError, PermissionDeniedError) as error:
                    self._refused(call, error)  # before the next of its address has its turn
                    raise
                finally:
                    for why in call.refused:
                        self.unauthenticated += 1
                        self._refused(
                            call, UnauthenticatedError(f"Beside others: {why}"), principal
                        )
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
            reason = error
            if not isinstance(error, InvalidCredential):
                reason = unexpected(error, "the authenticator")
            if isinstance(reason, UnavailableError):
                raise reason from None
            raise UnauthenticatedError(f"The credentials were refused: {reason}") from None

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
        if self.audit is not None:
            self.audit.record(self._entries.refusal(call, error, principal))

    def audit_request(
        self, call: Call, error: Exception, operation: Operation | None = None, outcome: str = ""
    ) -> None:
        """Audit a request that failed before the runtime had its operation and parameters.

        ``operation`` is the one that the request names, as far as that is known. ``outcome`` takes
        the place of the reason of ``error``.
        """
        if self.audit is not None:
            self.audit.record(self._entries.request(call, error, operation, outcome))

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

    def reaches(self, principal: Principal, slug: str) -> bool:
        """Whether a principal has the scopes that every operation of an agent needs."""
        return self._agent_scopes.get(slug, frozenset()) <= principal.scopes

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
        cached = self._authenticator.known(call, now)
        return cached is not None and _same(cached, principal)

    async def reauthenticate(self, call: Call) -> None:
        """Verify the credentials of an admitted caller again. Raises what ``admit`` raises."""
        principal, now = call.principal, self._now()
        assert principal is not None
        assert self._authenticator is not None
        try:
            if principal.expires is not None and principal.expires <= now:
                raise UnauthenticatedError("The credentials have expired")
            current = await self._authenticate(call, now)
            if not _same(current, principal):
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
        return self._streams.acquire((principal.tenant, principal.owner))

    # --- what others see -------------------------------------------------------------------------

    def announce(self) -> None:
        """Say in the log who may call."""
        if not self.open:
            log.info("security schemes: %s", ", ".join(self.card.schemes or ()))
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
