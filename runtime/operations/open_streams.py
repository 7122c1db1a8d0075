"""The open streams of a runtime: how many there may be, and how long each may stay open."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from heapq import heappop, heappush
from math import inf
from typing import Any

import anyio
import anyio.lowlevel

from ...protocol.errors import A2AError, ResourceExhaustedError, UnavailableError
from ..call import Call
from ..concurrency.signal import Signal
from ..journal.feed import Subscription
from ..journal.store import Clock
from ..security.gate import Gate

log = logging.getLogger("greenroom.security")

_TURN = 500
"""Credentials that are looked at before others have their turn: some milliseconds."""
_AT_ONCE = 16
"""The most credentials that the runtime verifies again at the same time, beside new calls."""


@asynccontextmanager
async def held(gate: Gate, call: Call) -> AsyncGenerator[None, None]:
    """Hold a request open that sets nothing to work: it counts as a stream of its principal, and
    whether that may still have the answer is looked at before it gets it.

    Raises ResourceExhaustedError on the way in, on the way out what ``Gate.reauthenticate`` does.
    """
    give_back = gate.acquire_stream(call)
    try:
        yield
    finally:
        give_back()
    if not gate.open and not gate.still_valid(call):
        with suppress(UnavailableError):  # as for streams: nobody can tell
            await gate.reauthenticate(call)


class OpenStreams:
    """Counts streams from before their door is asked, so that no number of them at once is too many
    by one, and ends those whose credential is good no longer.
    """

    def __init__(self, gate: Gate, clock: Clock, *, most: int, every: float) -> None:
        """``every`` is how many seconds a credential is believed until it is looked at again, and
        twice how often a quiet stream shows that it lives; infinity: a credential is believed until
        it ends, and nothing runs at intervals."""
        self._added = Signal()
        self._gate = gate
        self._clock = clock
        self._most = most
        self._every = every
        self._open: set[Subscription] = set()
        self._opening = 0
        self._calls: dict[int, tuple[Subscription, Call]] = {}
        self._due: list[tuple[float, int]] = []  # a heap; of streams that are closed, too
        self._opened = 0

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, stream: Subscription) -> None:
        """Take a stream in, as the doors do that make them."""
        self._open.add(stream)
        stream.on_close = self._open.discard

    def door(
        self, door: Callable[..., Awaitable[Subscription]]
    ) -> Callable[..., Awaitable[Subscription]]:
        """Return the door of an operation that streams, watched over. It raises
        ResourceExhaustedError before anything is asked."""

        async def watched(call: Call, *arguments: Any) -> Subscription:
            if len(self._open) + self._opening >= self._most:
                raise ResourceExhaustedError(
                    "This server has as many open streams as it allows",
                    headers={"Retry-After": "1"},
                )
            give_back = self._gate.acquire_stream(call)
            self._opening += 1
            try:
                stream = await door(call, *arguments)
            except BaseException:
                give_back()
                raise
            finally:
                self._opening -= 1
            if not self._gate.open:
                self._watch(stream, call, give_back)
            return stream

        return watched

    def _watch(self, stream: Subscription, call: Call, give_back: Callable[[], None]) -> None:
        self._opened = number = self._opened + 1
        self._calls[number] = stream, call
        self._look_again(number, call)

        def closed(stream: Subscription) -> None:
            self._open.discard(stream)
            self._calls.pop(number, None)
            give_back()

        stream.on_close = closed

    async def beat(self) -> None:
        """Let idle streams send a sign of life, until cancelled."""
        while self._every < inf:
            await anyio.sleep(self._every / 2)
            for stream in list(self._open):
                stream.tick()

    # --- credentials ----------------------------------------------------------------------------

    def _look_again(self, number: int, call: Call) -> None:
        due = self._clock.now() + self._every
        assert call.principal is not None
        if call.principal.expires is not None:
            due = min(due, call.principal.expires)
        if due < inf:
            heappush(self._due, (due, number))
            self._added.notify()

    async def _rest(self) -> None:
        """Wait until a credential may have to be looked at."""
        if self._every < inf:
            await anyio.sleep(min(1.0, self._every / 2))
            return
        wait = max(0.0, self._due[0][0] - self._clock.now()) if self._due else inf
        with anyio.move_on_after(wait):
            await self._added.wait()

    async def run(self) -> None:
        """End streams whose credential has ended or was withdrawn, until cancelled."""
        if self._gate.open:
            return
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:

            async def verify(number: int, stream: Subscription, call: Call) -> None:
                async with limiter:
                    await self._verify(number, stream, call)

            while True:
                await self._rest()
                now, looked = self._clock.now(), 0
                while self._due and self._due[0][0] <= now:
                    looked += 1
                    if looked % _TURN == 0:
                        await anyio.lowlevel.checkpoint()
                    _, number = heappop(self._due)
                    stream, call = self._calls.get(number, (None, None))
                    if stream is None or call is None:
                        continue
                    if self._gate.still_valid(call):
                        self._look_again(number, call)
                    else:
                        group.start_soon(verify, number, stream, call)

    async def _verify(self, number: int, stream: Subscription, call: Call) -> None:
        try:
            await self._gate.reauthenticate(call)
        except UnavailableError:
            pass  # whoever would know is away: that is no reason to send anybody off
        except A2AError as error:
            log.info("a stream was ended: %s", error.message, extra={"event": "stream_ended"})
            stream.fail(error)
            return
        except Exception:
            log.exception(
                "the runtime cannot verify a credential again; it ends the stream of that caller"
            )
            stream.fail(UnavailableError())
            return
        if number in self._calls:
            self._look_again(number, call)
