"""What all connections of a gRPC server share: settings, the gate, proxies, counters and budgets.

The listener makes connections and the server ends them; a connection knows neither of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import anyio

from ...protocol.errors import A2AError, RefusedError
from ...runtime.runtime import Runtime
from ..auth.resource import WELL_KNOWN, ProtectedResource, pointed
from ..caller.proxies import Proxies
from ..errors import public_error
from ..settings import Forwarding
from .settings import GrpcSettings
from .status import RpcError, Status

AGENTS = "/a2a/agents/"
"""Where HTTP serves the agents below its address, and their metadata documents below theirs."""
MAX_DISCOVERY = 16
"""Calls of health and reflection that one connection may have open: nobody is admitted for them."""
MAX_DISCOVERY_PER_ADDRESS = 256
"""Such calls of all connections of one address."""


class OpenConnection(Protocol):
    """What the server does with a connection."""

    @property
    def goaway_sent(self) -> bool:
        """The client knows that no more calls are taken here."""
        ...

    def look(self, now: float) -> None:
        """Enforce the limits of time; ``now`` is the loop's."""

    def go_away(self, why: bytes) -> None:
        """Send the client elsewhere; its open calls may end."""

    def end_calls(self, error: RpcError) -> None:
        """Fail every open call and close when that is written."""

    def abort(self) -> None:
        """Close at once."""


class Shared:
    """One per server. Counters are read by its statistics and by tests."""

    def __init__(
        self,
        runtime: Runtime,
        settings: GrpcSettings,
        forwarding: Forwarding,
        public_url: str | None,
    ) -> None:
        self.settings = settings
        self.gate = runtime.gate
        self.proxies = Proxies(forwarding.proxies, forwarding.headers)
        self.connections: set[OpenConnection] = set()
        self.calls = 0
        """Open calls."""
        self.calls_dropped = 0
        """Calls whose client stopped reading."""
        self.closed_abusive = 0
        """Connections that the server closed for what the peer sent."""
        self.draining = False
        """The server stops: it waits for calls and connections to end."""
        self.buffered = 0
        """Bytes of unfinished requests."""
        self.unread = 0
        """Bytes of answers that wait for clients to read."""
        self.unread_of: Counter[str] = Counter()
        """The same bytes by caller."""
        self.discovery_of: Counter[str] = Counter()
        """Open calls of health and reflection by address."""
        self._changed = anyio.Event()
        self._default = runtime.default.slug
        self._metadata: str | None = None
        if public_url is not None and ProtectedResource(runtime):
            self._metadata = public_url.rstrip("/") + WELL_KNOWN

    # --- budgets --------------------------------------------------------------------------------

    def account_unread(self, caller: str, size: int) -> None:
        """Count bytes of answers that wait; raises RpcError for bytes beyond a budget.

        ``size`` is negative where bytes wait no more. What was refused is counted all the same:
        whoever counted it gives it back.
        """
        self.unread += size
        counts = self.unread_of
        of_caller = counts[caller] + size
        if of_caller:
            counts[caller] = of_caller
        else:
            del counts[caller]
        if size <= 0:
            return
        settings = self.settings
        if self.unread > settings.max_unread_total:
            raise _unread(settings.max_unread_total, "on this server")
        if of_caller > settings.max_unread_caller:
            raise _unread(settings.max_unread_caller, "on your connections")

    def account_buffered(self, size: int) -> None:
        """Count bytes of unfinished requests; raises RpcError for bytes beyond the budget."""
        self.buffered += size
        if size > 0 and self.buffered > (most := self.settings.max_buffered_total):
            raise RpcError(
                Status.RESOURCE_EXHAUSTED,
                f"This server holds more than {most} bytes of unfinished messages: try again later",
            )

    def take_discovery(self, address: str) -> None:
        """Count an open call of health or reflection; raises RpcError for one too many."""
        if self.discovery_of[address] >= MAX_DISCOVERY_PER_ADDRESS:
            raise too_many_discovery(MAX_DISCOVERY_PER_ADDRESS, "address")
        self.discovery_of[address] += 1

    def release_discovery(self, address: str) -> None:
        """Count a call of health or reflection no more."""
        self.discovery_of[address] -= 1
        if not self.discovery_of[address]:
            del self.discovery_of[address]

    # --- what callers are told ------------------------------------------------------------------

    def public_error(self, error: Exception, agent: str) -> A2AError:
        """Return what the caller of an agent may know of an error.

        A challenge names the metadata document of that agent, which leads to a token (RFC 9728).
        """
        public = public_error(error)
        if (
            self._metadata is not None
            and isinstance(public, RefusedError)
            and (challenges := public.headers.get("WWW-Authenticate")) is not None
        ):
            path = "" if agent in ("", self._default) else AGENTS + agent
            public.headers["WWW-Authenticate"] = pointed(challenges, self._metadata + path)
        return public

    # --- the end --------------------------------------------------------------------------------

    def notify_drain(self) -> None:
        """Say that a call or a connection is over, or that a client was sent away."""
        if self.draining:
            self._changed.set()

    async def until(self, over: Callable[[], bool], seconds: float) -> None:
        """Wait until ``over``, at most so many seconds; only while the server drains."""
        with anyio.move_on_after(seconds):
            while not over():
                self._changed = anyio.Event()
                await self._changed.wait()


def too_many_discovery(most: int, whose: str) -> RpcError:
    """Return the refusal of one call of health or reflection too many."""
    return RpcError(
        Status.RESOURCE_EXHAUSTED,
        f"This {whose} has {most} calls of health and reflection open: close one of them first",
    )


def _unread(most: int, where: str) -> RpcError:
    return RpcError(
        Status.RESOURCE_EXHAUSTED,
        f"More than {most} bytes of answers wait to be read {where}: read them first",
    )
