"""All time-outs of a runtime in one child.

A *lane* holds things that each wait the same time, so its order is that of arrival: adding and
removing cost a dict operation, and ten thousand waits cost no timer of the event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

import anyio

from .signal import Signal

T = TypeVar("T")
_NEVER = float("inf")
_LEAST = 0.01
"""The shortest delay: what is added again as soon as it is due must not spin."""


class Lane(Generic[T]):
    """Things that time out ``delay`` seconds after they were added."""

    __slots__ = ("_due", "_items", "_ticker", "delay")

    def __init__(self, ticker: Ticker, delay: float, due: Callable[[T], None]) -> None:
        self._ticker = ticker
        self.delay = max(delay, _LEAST)
        self._due = due
        # Not a dict: finding the first item of one whose front was emptied is a walk each time.
        self._items: OrderedDict[Any, float] = OrderedDict()

    def add(self, item: T) -> None:
        """Start the time-out of ``item``, anew if it runs already."""
        self._items.pop(item, None)
        at = self._ticker.time() + self.delay
        self._items[item] = at
        self._ticker.expect(at)

    def discard(self, item: object) -> None:
        """Forget ``item``; unknown ones are no error."""
        self._items.pop(item, None)

    def __len__(self) -> int:
        return len(self._items)

    def expire(self, now: float) -> float:
        """Hand out what is due; return when the next one is (infinity: none waits)."""
        while self._items:
            item, at = next(iter(self._items.items()))
            if at > now:
                return at
            del self._items[item]
            self._due(item)
        return _NEVER


class Agenda(Generic[T]):
    """Things that each time out after a while of their own."""

    __slots__ = ("_count", "_due", "_heap", "_items", "_ticker")

    def __init__(self, ticker: Ticker, due: Callable[[T], None]) -> None:
        self._ticker = ticker
        self._due = due
        self._heap: list[tuple[float, int, T]] = []
        self._items: dict[T, int] = {}
        self._count = 0

    def add(self, item: T, delay: float) -> None:
        """Time ``item`` out in ``delay`` seconds, and not when it was to be before."""
        at = self._ticker.time() + delay
        self._count += 1
        self._items[item] = self._count
        heappush(self._heap, (at, self._count, item))
        self._ticker.expect(at)

    def discard(self, item: T) -> None:
        """Forget ``item``; unknown ones are no error."""
        self._items.pop(item, None)
        if len(self._heap) > 2 * len(self._items) + 64:
            self._heap = [entry for entry in self._heap if self._items.get(entry[2]) == entry[1]]
            heapify(self._heap)

    def expire(self, now: float) -> float:
        """Hand out what is due, the earliest first; return when the next one is."""
        while self._heap:
            at, count, item = self._heap[0]
            known = self._items.get(item) == count
            if known and at > now:
                return at
            heappop(self._heap)
            if known:
                del self._items[item]
                self._due(item)
        return _NEVER


def loop_time() -> Callable[[], float]:
    """The running event loop's clock as a plain function, looked up once."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return anyio.current_time


class Ticker:
    """The child that lets lanes expire."""

    def __init__(self) -> None:
        self._lanes: list[Lane | Agenda] = []  # type: ignore[type-arg]
        self._until = -_NEVER
        self._signal = Signal()
        self.time: Callable[[], float] = anyio.current_time

    def lane(self, delay: float, due: Callable[[T], None]) -> Lane[T]:
        """Make a lane; ``due`` is called in the ticker's child and must neither block nor raise."""
        made = Lane(self, delay, due)
        self._lanes.append(made)
        return made

    def agenda(self, due: Callable[[T], None]) -> Agenda[T]:
        """Make an agenda; of ``due`` the same is asked as of that of a lane."""
        made = Agenda(self, due)
        self._lanes.append(made)
        return made

    def expect(self, at: float) -> None:
        """Wake no later than ``at``."""
        if at < self._until:
            self._until = -_NEVER
            self._signal.notify()

    async def run(self) -> None:
        """Run until cancelled."""
        self.time = loop_time()
        while True:
            now = self.time()
            self._until = min((lane.expire(now) for lane in self._lanes), default=_NEVER)
            if self._until == _NEVER:
                await self._signal.wait()
            else:
                with anyio.move_on_after(self._until - now):
                    await self._signal.wait()
