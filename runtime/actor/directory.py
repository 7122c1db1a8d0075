"""From the id of a task to its actor, which the directory wakes if it sleeps."""

from __future__ import annotations

from collections.abc import Mapping

from ...protocol.errors import TaskNotFoundError
from ..agent import Agent
from ..call import TaskScope
from ..journal.entries import Loaded
from ..journal.run_start import open_ask, start_of
from .actor import Actor
from .cancellation import Reason
from .recovery import recover
from .system import System


class Directory:
    """The actors of this node. A task that is not the scope's does not exist."""

    def __init__(self, system: System, agents: Mapping[str, Agent]) -> None:
        self._system = system
        self._journal = system.stored_journal
        self.agents = agents
        self._actors: dict[str, Actor] = {}
        system.forget = self._forget

    # --- who is awake -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._actors)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._actors

    def __getitem__(self, task_id: str) -> Actor:
        """Return the actor of a task that is awake. Raises ``KeyError``."""
        return self._actors[task_id]

    def get(self, task_id: str) -> Actor | None:
        """Return the actor of a task, ``None`` if it is not awake."""
        return self._actors.get(task_id)

    def running(self) -> list[str]:
        """Ids of the tasks whose handlers run."""
        return [actor.id for actor in self._actors.values() if actor.execution is not None]

    @property
    def writing(self) -> bool:
        """Whether anything is left to commit but what handlers still write."""
        return any(a.unwritten and a.execution is None for a in self._actors.values())

    def idle(self, task_id: str) -> bool:
        """Whether nothing will come of a task here: it is awake, no handler runs, and there is
        nothing to commit."""
        actor = self._actors.get(task_id)
        return actor is not None and actor.execution is None and not actor.unwritten

    def cancel(self, reason: Reason, *, asleep: bool = False) -> None:
        """Cancel all handlers; with ``asleep`` those that only wait."""
        for actor in list(self._actors.values()):
            if actor.execution is not None and (actor.execution.asleep or not asleep):
                actor.execution.cancel(reason)

    def rest(self) -> None:
        """Let all actors leave memory."""
        for actor in list(self._actors.values()):
            actor.rest()

    def reclaim(self) -> None:
        """Take all tasks again that are awake (``Actor.reclaim``)."""
        for actor in list(self._actors.values()):
            actor.reclaim()

    def adrift(self) -> list[Actor]:
        """Actors that nothing will move on: see ``Actor.adrift``."""
        return [actor for actor in self._actors.values() if actor.adrift]

    def _forget(self, actor: Actor) -> None:
        if self._actors.get(actor.id) is actor:
            del self._actors[actor.id]

    # --- waking -----------------------------------------------------------------------------------

    def awake(self, scope: TaskScope, task_id: str) -> Actor | None:
        """Return the actor if it is awake here, born and the scope's."""
        actor = self._actors.get(task_id)
        if actor is None or actor.scope != scope or actor.committed is None:
            return None
        return actor

    def create(self, agent: Agent, scope: TaskScope, context_id: str) -> Actor:
        """Make the actor of a new task."""
        actor = Actor(self._system, agent, scope, self._system.new_id(), context_id)
        self._actors[actor.id] = actor
        return actor

    async def activate(self, scope: TaskScope, task_id: str) -> Actor:
        """Return the actor of a task, awake. Raises ``TaskNotFoundError``."""
        actor = self.awake(scope, task_id)
        if actor is not None:
            return actor
        loaded = await self._journal.load(scope, task_id)
        actor = self.awake(scope, task_id)  # somebody else may have been quicker
        if actor is not None:
            return actor
        if loaded is None:
            raise TaskNotFoundError(taskId=task_id)
        return self.wake(loaded)

    def wake(self, loaded: Loaded, *, ends: bool = False) -> Actor:
        """Make the actor of a stored task and put it into the directory. One that ``ends`` is not
        started again: whatever it was at, it is to be no more."""
        header = loaded.header
        actor = Actor.wake(self._system, self.agents[header.scope.agent], loaded)
        if not header.state.terminal:
            if actor.agent.skill_ids:
                began = start_of(loaded.entries)
                actor.skill = actor.agent.skill_of(began.message, began.sender())
            self._actors[actor.id] = actor
            if ends:
                pass
            elif header.state.interrupted and not header.node:
                actor.open_ask = open_ask(loaded.entries)
                actor.entries = loaded.entries
                actor.quiet()
            else:
                recover(actor, loaded)
        return actor
