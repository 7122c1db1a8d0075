"""Crashes without processes: stores that can be copied as they are at a moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from greenroom.runtime.journal.entries import Append, Outcome
from greenroom.stores.memory.rows import Owned, Task
from greenroom.testing import VirtualTimeLoop

from .drive import KeptStore


class RecordingStore(KeptStore):
    """Keeps a copy of itself after every batch: what a crash at that moment would leave."""

    def __init__(self, left: KeptStore | None = None) -> None:
        """Begin with what is ``left`` of another one."""
        super().__init__()
        if left is not None:
            vars(self).update(vars(copy_of(left)))
        self.copies: list[KeptStore] = []

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        outcomes = await super().append(batch, now=now)
        self.copies.append(copy_of(self))
        return outcomes


def copy_of(store: KeptStore) -> KeptStore:
    """What is left of a store when its process dies now."""
    left = KeptStore()
    for name in vars(left):
        setattr(left, name, _copied(getattr(store, name)))
    return left


def _copied(value: Any) -> Any:
    """A copy of the containers down to the rows, which are frozen and stay the same objects."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, Owned):
        copy = Owned(value.scope)
        for name in value.__slots__:
            setattr(copy, name, _copied(getattr(value, name)))
        return copy
    if isinstance(value, Task):
        return Task(*(_copied(getattr(value, name)) for name in value.__struct_fields__))
    return value.copy() if isinstance(value, list | set) else value


class ShufflingLoop(VirtualTimeLoop):
    """Runs the tasks that are ready in an order that nobody may rely upon."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        places = [n for n, handle in enumerate(ready) if _of_task(handle)]
        handles = [ready[n] for n in places]
        self._random.shuffle(handles)
        for place, handle in zip(places, handles, strict=True):
            ready[place] = handle
        super()._run_once()  # type: ignore[misc]


def _of_task(handle: asyncio.Handle) -> bool:
    callback = handle._callback  # type: ignore[attr-defined]
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)
