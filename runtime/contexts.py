"""Contexts: the conversations of a scope, for programs that keep an eye on them (section 3.4.1).

A context is there from its first task on, until the last of them was deleted: nothing is written
for it. It is *idle* when nothing happened in it for ``context_idle``, which changes nothing: the
next message finds it as it was. It *expires* ``context_retention`` after it was last active, unless
a task of it is not over, and is deleted with its tasks; who names it later begins it anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from .call import Scope
from .ports import Clock, Context, Store, TaskPage, TaskQuery
from .settings import RuntimeSettings


class Contexts:
    """``runtime.contexts``. A scope is (tenant, slug of the agent, owner)."""

    def __init__(self, store: Store, settings: RuntimeSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    async def list(
        self, scope: Scope, *, limit: int = 100, after: Context | None = None
    ) -> Sequence[Context]:
        """Read contexts, those active last first; ``after``: the last one of the page before."""
        place = None if after is None else (after.active_at, after.id)
        return await self._store.contexts(scope, limit=limit, after=place)

    async def get(self, scope: Scope, context_id: str) -> Context | None:
        """Read one; ``None``: the scope has no task in it."""
        return await self._store.context(scope, context_id)

    async def tasks(
        self,
        scope: Scope,
        context_id: str,
        *,
        limit: int = 100,
        after: tuple[float, str] | None = None,
    ) -> TaskPage:
        """Read its tasks' headers, those changed last first; ``after``: (updated_at, id) of the
        last one of the page before."""
        return await self._store.tasks(TaskQuery(scope, limit, context_id, after=after))

    def is_idle(self, context: Context) -> bool:
        """Whether nothing happened in it for ``context_idle``."""
        return self._clock.now() - context.active_at >= self._settings.context_idle
