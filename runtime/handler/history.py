"""A handler's look back at its conversation, a page at a time, however long that became."""

from __future__ import annotations

import msgspec

from ...protocol.types import Message
from ..actor.actor import Actor

PAGE = 100
"""Messages read at once."""

_decode = msgspec.json.Decoder(Message).decode


class History:
    """The newest ``limit`` messages of a task (all without) at the first look, oldest first."""

    def __init__(self, actor: Actor, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"history(limit) is how many messages to read, not {limit}")
        self._actor = actor
        self._limit = limit
        self._begun = False
        self._over = False
        self._after = 0
        self._before = 0
        """Read what lies between these sequences, both excluded."""

    async def page(self) -> list[Message]:
        """Return the messages that come next; none: that was all."""
        if self._over:
            return []
        if not self._begun:
            self._begun = True
            recent = await self._begin()
            if recent is not None:
                self._over = True
                return recent
        rows = await self._read(after=self._after)
        if len(rows) < PAGE:
            self._over = True
        else:
            self._after = rows[-1][0]
        return [_decode(body) for _, body in rows]

    async def _begin(self) -> list[Message] | None:
        """Find where to begin; return all that was asked for if it is no more than a page."""
        actor, limit = self._actor, self._limit
        if limit == 0:
            return []
        recent = actor.recent_messages()
        if recent is not None:
            return recent if limit is None else recent[-limit:]
        await actor.flushed()
        self._before = first = actor.sequence + 1
        if limit is None:
            return None
        if limit <= PAGE:
            rows = await self._read(before=first, limit=limit)
            return [_decode(body) for _, body in reversed(rows)]
        while limit > 0:
            rows = await self._read(before=first, limit=min(limit, PAGE))
            if not rows:
                break
            first = rows[-1][0]
            limit -= len(rows)
        self._after = first - 1
        return None

    async def _read(
        self, *, before: int | None = None, after: int | None = None, limit: int = PAGE
    ) -> list[tuple[int, bytes]]:
        actor = self._actor
        return list(
            await actor.system.stored_journal.messages(
                actor.scope,
                actor.id,
                before=self._before if before is None else before,
                after=after,
                limit=limit,
            )
        )


__all__ = ["PAGE", "History"]
