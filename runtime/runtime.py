"""The front door of the runtime: ``Runtime.dispatch`` is the only way in for transports."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import anyio

from ..protocol import operations as ops
from ..protocol.errors import (
    A2AError,
    PushNotificationNotSupportedError,
    ResourceExhaustedError,
    UnavailableError,
    UnsupportedOperationError,
)
from ..protocol.operations import Operation
from ..protocol.types import AgentCard, AgentInterface
from .agent import Agent
from .call import ANONYMOUS, Call, Principal, Scope
from .cancel import Reason
from .directory import Directory
from .feed import Stream
from .housekeeping import Housekeeping
from .messaging import Messaging
from .ports import Clock, Store
from .reading import Reading
from .settings import RuntimeSettings
from .supervisor import supervisor
from .system import System

log = logging.getLogger("greenroom.runtime")


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        return time.time()


async def _shielded(function: Callable[[], Awaitable[None]]) -> None:
    """Clean up whatever happens around us, but not for ever."""
    with anyio.move_on_after(30, shield=True):
        await function()


class Runtime:
    """Agents at work: actors over a store. Use it as an async context manager.

    ``agents`` are known by their slugs; the first is the default. The runtime opens and closes the
    store. It runs on asyncio and on trio; a store may need one of them and says so.
    """

    def __init__(
        self,
        agents: Agent | Sequence[Agent],
        *,
        store: Store,
        settings: RuntimeSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        listed = [agents] if isinstance(agents, Agent) else list(agents)
        if not listed:
            raise ValueError("a runtime needs at least one agent")
        self.agents: Mapping[str, Agent] = {agent.slug: agent for agent in listed}
        if len(self.agents) != len(listed):
            raise ValueError("two agents have the same slug; give one of them slug='...'")
        for agent in listed:
            agent.check()
        self.default = listed[0]
        self.settings = settings or RuntimeSettings()
        self.ready = False
        self._clock = clock or SystemClock()
        self._store = store
        self._exit: AsyncExitStack | None = None
        self._streams: set[Stream] = set()
        self._counts: dict[str, int] = {}
        self._errors = 0
        self._build()

    def _build(self) -> None:
        self.system = System(self._store, self.settings, self._clock)
        self.directory = Directory(self.system, self.agents)
        self.housekeeping = Housekeeping(self.system, self.directory)
        messaging = Messaging(self.system, self.directory, self._open_stream)
        reading = Reading(self.system, self.directory, self._open_stream)
        self._doors: dict[str, Callable[..., Awaitable[Any]]] = {
            ops.SEND.name: messaging.send,
            ops.STREAM.name: messaging.stream,
            ops.CANCEL.name: messaging.cancel,
            ops.GET_TASK.name: reading.get,
            ops.LIST_TASKS.name: reading.list,
            ops.SUBSCRIBE.name: reading.subscribe,
        }

    # --- lifetime -------------------------------------------------------------------------------

    async def __aenter__(self) -> Runtime:
        if self._exit is not None:
            raise RuntimeError("this runtime is running already")
        self._build()
        async with AsyncExitStack() as stack:
            store = self.system.store
            await store.open(now=self._clock.now())
            stack.push_async_callback(_shielded, store.close)
            await store.heartbeat(
                self.system.node, now=self._clock.now(), lease=self.settings.lease
            )
            stack.push_async_callback(_shielded, self._retire)
            for agent in self.agents.values():
                await stack.enter_async_context(agent.running())
            root = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(root.cancel_scope.cancel)
            self.system.supervisor = supervisor(root)
            root.start_soon(self.system.supervisor.run, name="supervisor")
            root.start_soon(self.system.journal.run, name="journal")
            root.start_soon(self.system.ticker.run, name="ticker")
            root.start_soon(self._heartbeats, name="heartbeats")
            root.start_soon(self.housekeeping.run, name="housekeeping")
            self.ready = True
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
            await exit_.__aexit__(kind, error, traceback)

    async def drain(self, grace: float = 5.0) -> None:
        """Accept no more, tell streams to come back elsewhere, give handlers ``grace`` seconds.

        What has not ended by then is cancelled with the reason *shutdown* and stays resumable in
        the store. Returns when everything accepted is committed. Calling it twice is harmless.
        """
        system = self.system
        system.draining = True
        self.ready = False
        for actor in list(system.actors.values()):
            execution = actor.execution
            if execution is not None and (execution.waiting or execution.sleeping > 0):
                execution.cancel(Reason.SHUTDOWN)  # what it waits for does not come any more
        with anyio.move_on_after(grace):
            await system.until_quiet()
        for stream in list(self._streams):
            stream.end(retry=True)
        for actor in list(system.actors.values()):
            if actor.execution is not None:
                actor.execution.cancel(Reason.SHUTDOWN)
        with anyio.move_on_after(max(1.0, grace)):
            await system.until_quiet()
            for actor in list(system.actors.values()):
                if actor.backlog:
                    await actor.settle()
        for actor in list(system.actors.values()):
            actor.rest()

    async def _heartbeats(self) -> None:
        """Say that this node lives; let idle streams send a sign of life."""
        settings = self.settings
        beat = min(settings.heartbeat / 2, settings.lease / 3)
        next_stream = anyio.current_time() + settings.heartbeat / 2
        while True:
            await anyio.sleep(beat)
            try:
                alive = await self.system.store.heartbeat(
                    self.system.node, now=self._clock.now(), lease=settings.lease
                )
            except Exception:
                log.exception("the heartbeat of this node failed; it is tried again")
            else:
                if not alive:
                    self._node_died()
            if anyio.current_time() >= next_stream:
                next_stream += settings.heartbeat / 2
                for stream in list(self._streams):
                    stream.tick()

    async def _retire(self) -> None:
        """What still belongs to this node is free for the next one at once."""
        await self.system.store.retire(self.system.node, now=self._clock.now())

    def _node_died(self) -> None:
        """Our lease ran out: whoever wants may have our tasks. Start anew under another name."""
        from .actor import LeaseLost

        log.error("this node's lease ran out; its tasks may be taken over by others")
        for actor in list(self.system.actors.values()):
            actor.lose(LeaseLost("the lease of this node ran out"))
        self.system.rename()

    # --- the way in -----------------------------------------------------------------------------

    async def dispatch(self, call: Call, operation: Operation, request: Any) -> Any:
        """Carry out one operation for one caller.

        Returns the response Struct, a ``Stream`` for streaming operations, ``None`` for deletions.
        Raises ``A2AError`` for everything the caller may be told.
        """
        counts = self._counts
        counts[operation.name] = counts.get(operation.name, 0) + 1
        if self._exit is None:
            raise UnavailableError(
                "The server has not been started: run its lifespan (`async with app.lifespan():`)"
            )
        if self.system.draining:
            raise UnavailableError(headers={"Retry-After": "1"})
        agent = self.agents.get(call.agent) if call.agent else self.default
        if agent is None:
            raise UnsupportedOperationError(f"There is no agent {call.agent!r} here")
        try:
            principal = call.principal or self._admit(call)
            if operation.push:
                raise PushNotificationNotSupportedError
            if operation.streaming and not agent.streaming:
                raise UnsupportedOperationError("This agent does not stream (capabilities)")
            if operation.streaming and len(self._streams) >= self.settings.streams:
                raise ResourceExhaustedError(  # before a send is accepted, not after
                    "This server has as many open streams as it allows",
                    headers={"Retry-After": "1"},
                )
            door = self._doors.get(operation.name)
            if door is None:
                raise UnsupportedOperationError("This agent has no extended card (capabilities)")
            scope = Scope(principal.tenant, agent.slug, principal.owner)
            return await door(call, agent, scope, request)
        except A2AError:
            self._errors += 1
            raise

    def _admit(self, call: Call) -> Principal:
        call.principal = ANONYMOUS
        return ANONYMOUS

    def card(self, slug: str, interfaces: Sequence[AgentInterface]) -> AgentCard:
        """The public card of an agent served at ``interfaces``."""
        agent = self.agents[slug] if slug else self.default
        return agent.card(interfaces)

    def _open_stream(self, stream: Stream) -> None:
        self._streams.add(stream)
        stream.on_close = self._streams.discard

    def statistics(self) -> dict[str, int]:
        """Counters for metrics; names end in ``_total`` where they only grow."""
        system = self.system
        return {
            **{f"operations_{name}_total": count for name, count in self._counts.items()},
            "operation_errors_total": self._errors,
            "actors": len(system.actors),
            "handlers_running": system.running,
            "handlers_waiting": system.waiting,
            "streams_open": len(self._streams),
            "tasks_recovered_total": self.housekeeping.recovered,
            "tasks_pruned_total": self.housekeeping.pruned,
            "journal_commits_total": system.journal.commits,
            "journal_appends_total": system.journal.appends,
            "journal_failures_total": system.journal.failures,
        }

    def __repr__(self) -> str:
        return f"<Runtime agents={list(self.agents)} node={self.system.node} ready={self.ready}>"
