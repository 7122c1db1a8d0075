"""Contexts: the conversations of a scope, for programs that keep an eye on them (section 3.4.1).

A context is there from its first task on, until the last of them was deleted: nothing is written
for it unless a program touches or pins it. It is *idle* when nothing happened in it for
``context_idle``, which changes nothing: the next message finds it as it was. It *expires*
``context_retention`` after it was last active, unless a task of it is not over or it is pinned, and
is deleted with its tasks; who names it later begins it anew. All of that follows from what is in
the store: nothing waits in memory for a context to expire.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Sequence
from math import inf, nextafter

from ..call import TaskScope
from ..journal.entries import Append, Context, Gone, Header, Outcome, TaskPage, TaskQuery, Verdict
from ..journal.store import Clock, Tasks
from ..journal.store import Contexts as ContextRows
from ..settings.settings import RuntimeSettings
from .events import ContextEvent, ContextEventKind, Listener

log = logging.getLogger("greenroom.contexts")

_BATCH = 100
"""Contexts looked up in one sweep."""


class NotOverError(Exception):
    """What is to be deleted is still worked on, or waits for its client: cancel it first."""


class Contexts:
    """``runtime.contexts``. A scope is (tenant, slug of the agent, owner)."""

    def __init__(
        self, rows: ContextRows, tasks: Tasks, settings: RuntimeSettings, clock: Clock
    ) -> None:
        self._rows = rows
        self._tasks = tasks
        self._settings = settings
        self._clock = clock
        self._listeners: list[Listener] = []
        self._touched: dict[tuple[TaskScope, str], float] = {}
        """Contexts that began or completed a task, and when the task began (infinity: it did not
        begin now)."""
        self._idle_until = inf
        """The events have named every context as idle that was last active up to then."""
        self.expired = 0
        self.pruned = 0

    # --- looking --------------------------------------------------------------------------------

    async def list(
        self,
        scope: TaskScope,
        *,
        limit: int = 100,
        after: Context | None = None,
        idle: bool = False,
    ) -> Sequence[Context]:
        """Read contexts, those active last first; ``after``: the last one of the page before;
        ``idle``: only those that are."""
        place = None if after is None else (after.active_at, after.id)
        if place is None and idle:
            place = (nextafter(self._idle_since(), inf), "")
        return await self._rows.contexts(scope, limit=limit, after=place)

    async def get(self, scope: TaskScope, context_id: str) -> Context | None:
        """Read one; ``None``: the scope has no task in it."""
        return await self._rows.context(scope, context_id)

    async def tasks(
        self,
        scope: TaskScope,
        context_id: str,
        *,
        limit: int = 100,
        after: tuple[float, str] | None = None,
    ) -> TaskPage:
        """Read its tasks' headers, those changed last first; ``after``: (updated_at, id) of the
        last one of the page before."""
        return await self._tasks.tasks(TaskQuery(scope, limit, context_id, after=after))

    def is_idle(self, context: Context) -> bool:
        """Whether nothing happened in it for ``context_idle``."""
        return context.active_at <= self._idle_since()

    def _idle_since(self) -> float:
        return self._clock.now() - self._settings.context_idle

    # --- keeping and deleting -------------------------------------------------------------------

    async def touch(self, scope: TaskScope, context_id: str) -> bool:
        """Count it as active now, as if a task of it had changed; ``False``: there is none."""
        now = self._clock.now()
        return await self._rows.mark_context(scope, context_id, touched_at=now)

    async def pin(self, scope: TaskScope, context_id: str) -> bool:
        """Keep it with all its tasks until it is unpinned or deleted; ``False``: there is none."""
        return await self._rows.mark_context(scope, context_id, pinned=True)

    async def unpin(self, scope: TaskScope, context_id: str) -> bool:
        """Let it expire as others do, by when it was active; ``False``: there is none."""
        return await self._rows.mark_context(scope, context_id, pinned=False)

    async def delete(self, scope: TaskScope, context_id: str) -> bool:
        """Delete it with all its tasks, pinned or not; ``False``: there is none. Raises
        ``NotOverError``, and deletes nothing, while a task of it is not over."""
        context = await self._rows.delete_context(scope, context_id)
        if context is None:
            return False
        if context.live:
            raise NotOverError(
                f"{context.live} of the {context.tasks} tasks of context {context_id} are not "
                "over: cancel them first"
            )
        self.gone([Gone(scope, context, expired=False)])
        return True

    # --- telling --------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called with each ``ContextEvent`` that this process notices, within
        about ``sweep_every`` seconds. It must neither block nor raise. What happens while no
        process runs is told by none, and what a crash swallows is not repeated."""
        self._listeners.append(listener)

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens to the events of contexts."""
        return bool(self._listeners)

    def committed(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """A batch was committed: remember which contexts to look at, if anybody wants to know."""
        if not self._listeners:
            return
        for append, outcome in zip(batch, outcomes, strict=True):
            header = append.header
            if header is None or outcome.verdict is not Verdict.COMMITTED:
                continue
            if not append.expected or header.state.terminal:
                place = (header.scope, header.context_id)
                began = inf if append.expected else header.created_at
                self._touched[place] = min(began, self._touched.get(place, inf))

    async def sweep(self) -> bool:
        """Send the events that are due; return whether there are more."""
        since = self._idle_since()
        if not self._listeners:
            self._idle_until = since
            return False
        for place in builtins.list(self._touched)[:_BATCH]:
            began = self._touched.pop(place)
            context = await self._rows.context(*place)
            if context is not None:
                if context.created_at == began:
                    self._tell("created", place[0], context)
                if not context.live:
                    self._tell("completed", place[0], context)
        if self._idle_until < since:
            quiet = await self._rows.quiet_contexts(after=self._idle_until, until=since)
            for scope, context in quiet:
                self._tell("idle", scope, context)
        self._idle_until = since
        return bool(self._touched)

    def gone(self, contexts: Sequence[Gone]) -> None:
        """They were deleted."""
        for gone in contexts:
            self.pruned += 1
            if gone.expired:
                self.expired += 1
                self._tell("expired", gone.scope, gone.context)
            self._tell("pruned", gone.scope, gone.context)

    async def lost(self, header: Header) -> None:
        """A task of one was deleted by itself; it may have been the last."""
        if await self._rows.context(header.scope, header.context_id) is None:
            was = Context(header.context_id, header.created_at, header.updated_at, 1, 0)
            self.gone([Gone(header.scope, was, expired=False)])

    def _tell(
        self,
        kind: ContextEventKind,
        scope: TaskScope,
        context: Context,
    ) -> None:
        event = ContextEvent(kind, scope, context, self._clock.now())
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener of contexts failed at %s of %s", kind, context.id)
