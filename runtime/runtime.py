"""The front door of the runtime: ``Runtime.dispatch`` is the only way in for transports."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from math import inf
from types import TracebackType
from typing import Any

import anyio

from ..protocol import operations as ops
from ..protocol.cards.signing import sign
from ..protocol.errors import (
    A2AError,
    ExtendedAgentCardNotConfiguredError,
    PushNotificationNotSupportedError,
    UnavailableError,
    UnsupportedOperationError,
)
from ..protocol.operations import EXTENDED_CARD, Operation
from ..protocol.types import AgentCard, AgentInterface
from ..protocol.version import V03
from .actor.directory import Directory
from .actor.system import System
from .actor.timers import CANCEL
from .agent import Agent
from .call import ANONYMOUS, Call, TaskScope
from .concurrency.supervisor import supervisor
from .contexts.contexts import Contexts
from .extensions import ExtensionContext, carried_out
from .handler.execution import Execution
from .handler.telemetry import current_actor
from .journal.entries import Append, Outcome
from .journal.store import Clock, Store, StoreError
from .node.drain import drain
from .node.housekeeping import Housekeeping
from .node.lease import Lease
from .node.pace import OnDemand, Pace, Polling
from .node.readiness import Readiness
from .operations.cards import ExtendedCards
from .operations.messages import MessageOperations
from .operations.open_streams import OpenStreams
from .operations.results import Results
from .operations.tasks import TaskOperations
from .push.notifications import PushNotifications
from .push.ports import Webhooks
from .security.audit import entry_of
from .security.gate import Gate
from .security.limits import Limits
from .security.policy import Security
from .settings.settings import RuntimeSettings
from .telemetry import operation_span, tracing

log = logging.getLogger("greenroom.runtime")

STORE_FAILED = "The store failed. Try again."
LATER = {"Retry-After": "5"}
Observer = Callable[[Sequence[Append], Sequence[Outcome]], None]


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        return time.time()


async def _shielded(function: Callable[[], Awaitable[None]]) -> None:
    """Clean up whatever happens around us, but not for ever."""
    with anyio.move_on_after(30, shield=True):
        await function()


def _all_of(observers: Sequence[Observer]) -> Observer:
    """One observer of the journal that tells several."""
    if len(observers) == 1:
        return observers[0]

    def committed(batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        for observer in observers:
            observer(batch, outcomes)

    return committed


class Runtime:
    """Agents at work: actors over a store. Use it as an async context manager.

    ``agents`` are known by their slugs; the first is the default. The runtime opens and closes the
    store. It runs on asyncio and on trio; a store may need one of them and says so.

    ``exclusive``: nobody else writes to the store, and ``clock`` goes as the event loop does. Then
    nothing runs at intervals: the runtime wakes when something is due. For tests in virtual time.
    """

    def __init__(
        self,
        agents: Agent | Sequence[Agent],
        *,
        store: Store,
        settings: RuntimeSettings | None = None,
        clock: Clock | None = None,
        security: Security | None = None,
        limits: Limits | None = None,
        exclusive: bool = False,
        push: Webhooks | None = None,
    ) -> None:
        listed = [agents] if isinstance(agents, Agent) else list(agents)
        if not listed:
            raise ValueError("there is no agent to serve: give at least one Agent")
        for agent in listed:
            if not isinstance(agent, Agent):
                raise TypeError(
                    f"{agent!r} is no Agent: make one (agent = Agent('Name')), decorate a function "
                    "with @agent.handler, and give the agent"
                )
        if isinstance(store, str):
            raise TypeError(f"store is a store, not a text: write open_store({store!r})")
        self.agents: Mapping[str, Agent] = {agent.slug: agent for agent in listed}
        if len(self.agents) != len(listed):
            raise ValueError("two agents have the same slug; give one of them slug='...'")
        for agent in listed:
            agent.check()
        self.default = listed[0]
        self.settings = (settings or RuntimeSettings()).checked()
        self.readiness = Readiness()
        self._clock = clock or SystemClock()
        self._exclusive = exclusive
        self.gate = Gate(security or Security(), limits or Limits(), self._clock, self.agents)
        self._store = store
        self._webhooks = push
        self._exit: AsyncExitStack | None = None
        self._counts: dict[str, int] = {}
        self._errors = 0
        self.contexts = Contexts(store, store, self.settings, self._clock)
        self._build()

    def _build(self) -> None:
        self.system = System(self._store, self.settings, self._clock, Execution)
        self.directory = Directory(self.system, self.agents)
        self.system.journal.wrote = self.readiness.wrote
        self.system.journal.failed = self.readiness.failed
        self.lease = Lease(self.system, self.directory, self.readiness, endless=self._exclusive)
        pace: Pace = Polling()
        observers = [self.contexts.committed]
        if self._exclusive:
            pace = on_demand = OnDemand(self.system, self.contexts, tuple(self.agents))
            observers.append(lambda batch, outcomes: on_demand.committed())
        self.push = self._push_notifications()
        if self.push is not None:
            observers.append(self.push.dispatcher.committed)
        self.system.journal.observer = _all_of(observers)
        self.housekeeping = Housekeeping(
            self.system, self.directory, self.contexts, self.readiness, pace
        )
        self.results = Results(self._store, self._store, self.directory, self.contexts)
        settings = self.settings
        self._streams = OpenStreams(
            self.gate,
            self._clock,
            most=settings.streams,
            every=inf if self._exclusive else settings.heartbeat,
        )
        messages = MessageOperations(
            self.system,
            self.directory,
            self.gate,
            self.agents,
            self._streams.add,
            None if self.push is None else self.push.inline,
        )
        tasks = TaskOperations(self.system, self.directory, self.gate, self._streams.add)
        cards = ExtendedCards(self.gate, self.card)
        self._doors: dict[str, Callable[..., Awaitable[Any]]] = {
            ops.SEND.name: messages.send,
            ops.STREAM.name: self._streams.door(messages.stream),
            ops.CANCEL.name: messages.cancel,
            ops.GET_TASK.name: tasks.get,
            ops.LIST_TASKS.name: tasks.list,
            ops.SUBSCRIBE.name: self._streams.door(tasks.subscribe),
            ops.EXTENDED_CARD.name: cards.get,
        }
        if self.push is not None:
            configurations = self.push.configurations
            self._doors |= {
                ops.CREATE_PUSH.name: configurations.create,
                ops.GET_PUSH.name: configurations.get,
                ops.LIST_PUSH.name: configurations.list,
                ops.DELETE_PUSH.name: configurations.delete,
            }

    def _push_notifications(self) -> PushNotifications | None:
        if self._webhooks is None:
            return None
        store = self._store
        return PushNotifications(
            self._webhooks,
            store,
            store,
            store,
            self._clock.now,
            agents=tuple(self.agents),
            sweep_every=self.settings.sweep_every,
        )

    # --- lifetime -------------------------------------------------------------------------------

    async def __aenter__(self) -> Runtime:
        if self._exit is not None:
            raise RuntimeError("this runtime is running already")
        self._build()
        async with AsyncExitStack() as stack:
            store = self.system.store
            if self.gate.audit is not None:
                stack.callback(self.gate.audit.close)
            await store.open(now=self._clock.now())
            stack.push_async_callback(_shielded, store.close)
            await self.lease.begin()
            stack.push_async_callback(_shielded, self.lease.retire)
            for agent in self.agents.values():
                deps = await stack.enter_async_context(agent.running())
                self.system.deps[agent.slug] = deps
            if self.push is not None:
                stack.push_async_callback(_shielded, self.push.close)
            root = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(root.cancel_scope.cancel)
            self.system.supervisor = supervisor(root, current_actor)
            root.start_soon(self.system.supervisor.run, name="supervisor")
            root.start_soon(self.system.journal.run, name="journal")
            root.start_soon(self.system.ticker.run, name="ticker")
            root.start_soon(self.lease.run, name="lease")
            root.start_soon(self._streams.beat, name="heartbeats")
            root.start_soon(self.housekeeping.run, name="housekeeping")
            root.start_soon(self._streams.run, name="credentials")
            if self.push is not None:
                root.start_soon(self.push.dispatcher.run, name="push")
            for background in self.gate.security.background:
                root.start_soon(background, name="security")
            self.system.tracing = tracing()
            await self.housekeeping.end(CANCEL)  # before a caller can wake what is to end
            self.readiness.run(True)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        exit_, self._exit = self._exit, None
        if exit_ is None:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self.drain(grace=0.0)
        finally:
            # The task group inside must be left in the scope in which it was entered: no shield
            # around this; the callbacks that talk to the store have their own.
            if error is None or isinstance(error, anyio.get_cancelled_exc_class()):
                await exit_.__aexit__(kind, error, traceback)
            else:  # the caller's own error, which our task group must not wrap in a group
                await exit_.__aexit__(None, None, None)

    async def drain(self, grace: float = 5.0) -> None:
        """Accept no more and end in order (``draining``); harmless when done twice."""
        self.system.draining = True
        self.readiness.run(False)
        await drain(self.system, self.directory, self._streams, grace)
        if self.push is not None:
            await self.push.drain(grace)

    @property
    def ready(self) -> bool:
        """Whether it is worth sending it something (``Readiness``)."""
        return bool(self.readiness)

    # --- the way in -----------------------------------------------------------------------------

    async def dispatch(self, call: Call, operation: Operation, request: Any) -> Any:
        """Carry out one operation for one caller.

        Returns the response Struct; a ``Subscription`` for a streaming operation; ``None`` for a
        deletion.
        Raises ``A2AError`` for every error that the caller may see.
        """
        counts = self._counts
        counts[operation.name] = counts.get(operation.name, 0) + 1
        audit = self.gate.audit
        slug = call.agent
        try:
            agent = self._agent_of(call)
            slug = agent.slug
            try:
                result = await self._pass(call, agent, operation, request)
            except StoreError as error:
                self.readiness.failed(error)
                raise UnavailableError(STORE_FAILED, headers=LATER) from error
        except BaseException as error:
            if isinstance(error, A2AError):
                self._errors += 1
            if audit is not None and call.principal is not None:
                now = self._clock.now()
                audit.record(entry_of(call, operation, slug, request, None, error, now))
            raise
        if audit is not None:
            now = self._clock.now()
            audit.record(entry_of(call, operation, slug, request, result, None, now))
        return result

    def _agent_of(self, call: Call) -> Agent:
        """Return the agent that is called. Raises A2AError while the runtime serves nobody."""
        if self._exit is None:
            raise UnavailableError(
                "The server has not been started: run its lifespan (`async with app.lifespan():`)"
            )
        if self.gate.open:
            call.principal = call.principal or ANONYMOUS
        if self.system.draining:
            raise UnavailableError(headers={"Retry-After": "1"})
        if self.readiness.damaged:  # what was acknowledged now could be lost
            raise UnavailableError(STORE_FAILED, headers=LATER)
        agent = self.agents.get(call.agent) if call.agent else self.default
        if agent is None:
            raise UnsupportedOperationError(f"There is no agent {call.agent!r} here")
        return agent

    async def agents_for(self, call: Call) -> list[Agent]:
        """Return the agents that the caller may use, the default agent first.

        Raises what ``Gate.admit`` does.
        """
        principal = call.principal or await self.gate.admit(call)
        return [agent for slug, agent in self.agents.items() if self.gate.reaches(principal, slug)]

    def check_capability(
        self, call: Call, operation: Operation, violations: Sequence[tuple[str, str]]
    ) -> None:
        """Raise the error for a capability that the agent does not declare (section 3.3.4).

        A transport asks where the parameters of a request have ``violations``: what the agent
        cannot do at all comes before what is wrong with a request for it.
        """
        agent = self.agents.get(call.agent) if call.agent else self.default
        if agent is None:
            return
        self._check_capability(call, agent, operation)
        if self.push is None and any(
            "ushNotificationConfig" in field  # of 1.0 and of 0.3
            for field, _ in violations
        ):
            raise PushNotificationNotSupportedError
        if agent.extensions:
            agent.negotiation.activate(call, operation)

    def _check_capability(self, call: Call, agent: Agent, operation: Operation) -> None:
        if operation.push and self.push is None:
            raise PushNotificationNotSupportedError
        if operation.streaming and not agent.streaming:
            raise UnsupportedOperationError("This agent does not stream (capabilities)")
        if operation is EXTENDED_CARD and (self.gate.open or not agent.extends):
            if call.version == V03:  # which has no other error for it
                raise ExtendedAgentCardNotConfiguredError
            raise UnsupportedOperationError("This agent has no extended card (capabilities)")

    async def _pass(self, call: Call, agent: Agent, operation: Operation, request: Any) -> Any:
        """Through the gate, then through the operation's door."""
        gate = self.gate
        principal = call.principal
        if principal is None:
            principal = await gate.admit(call)
        if not gate.open:
            await gate.authorize(call, agent, operation, request, principal)
        gate.measure(operation, request)
        if operation.push or operation.streaming or operation is EXTENDED_CARD:
            self._check_capability(call, agent, operation)
        scope = TaskScope(principal.tenant, agent.slug, principal.owner)
        if agent.extensions:
            agent.negotiation.activate(call, operation)
            hooks = agent.negotiation.hooks(call)
            if hooks:
                context = ExtensionContext(call, operation, agent.slug)
                return await carried_out(
                    hooks, context, request, partial(self._enter, operation, call, agent, scope)
                )
        if gate.open and not self.system.tracing:
            return await self._doors[operation.name](call, agent, scope, request)
        return await self._enter(operation, call, agent, scope, request)

    async def _enter(
        self, operation: Operation, call: Call, agent: Agent, scope: TaskScope, request: Any
    ) -> Any:
        door = self._doors[operation.name]
        if self.system.tracing:
            with operation_span(call, operation.name, agent.slug):
                return await door(call, agent, scope, request)
        return await door(call, agent, scope, request)

    def card(
        self, slug: str, interfaces: Sequence[AgentInterface], *, extended: bool = False
    ) -> AgentCard:
        """The public card of an agent served at ``interfaces``, with what the gate enforces and,
        where keys for it are configured, signed. ``extended`` shows every skill, unsigned."""
        agent = self.agents[slug] if slug else self.default
        card = agent.card(interfaces, extended=extended, push=self.push is not None)
        card = self.gate.card.secured(agent, card)
        keys = self.gate.security.signing
        return sign(card, keys) if keys and interfaces and not extended else card

    @property
    def push_keys(self) -> Sequence[Mapping[str, Any]]:
        """The public keys (JWK) of those that sign push notifications."""
        return () if self._webhooks is None else self._webhooks.public_keys

    def statistics(self) -> dict[str, int]:
        """Counters for metrics; names end in ``_total`` where they only grow."""
        system = self.system
        return {
            **{f"operations_{name}_total": count for name, count in self._counts.items()},
            "operation_errors_total": self._errors,
            "actors": len(self.directory),
            "handlers_running": system.running,
            "handlers_waiting": system.waiting,
            "streams_open": len(self._streams),
            "tasks_recovered_total": self.housekeeping.recovered,
            "tasks_pruned_total": self.housekeeping.pruned,
            "contexts_expired_total": self.contexts.expired,
            "contexts_pruned_total": self.contexts.pruned,
            "journal_commits_total": system.journal.commits,
            "journal_appends_total": system.journal.appends,
            "journal_failures_total": system.journal.failures,
            **self.gate.statistics(),
            **({} if self.push is None else self.push.statistics()),
        }

    def __repr__(self) -> str:
        return f"<Runtime agents={list(self.agents)} node={self.system.node} ready={self.ready}>"
