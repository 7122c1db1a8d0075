"""Agent cards over HTTP: well-known addresses, caching, the shape each client reads (section 8)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime

from ...protocol.cards.shapes import card_json
from ...protocol.types import AgentCard, AgentInterface
from ...protocol.version import V03, V10
from .exchange import JSON, Exchange, Headers

_KEPT = 128  # encoded cards; where the address comes from Host, callers could ask for ever more


def interfaces(base: str, rpc: str) -> list[AgentInterface]:
    """Return what is served below ``base``: the first entry of each binding is the preferred one.

    ``rpc`` is the path of JSON-RPC. 0.3 clients put ``/v1`` behind the HTTP+JSON address
    themselves. 1.1 is a draft: spoken when asked for, not offered.
    """
    return [
        AgentInterface(url=url, protocol_binding=binding, protocol_version=version)
        for version in (V10, V03)
        for binding, url in (("JSONRPC", base + rpc), ("HTTP+JSON", base))
    ]


class Cards:
    """Encodes each card once per address and shape."""

    def __init__(
        self,
        make: Callable[[str, list[AgentInterface]], AgentCard],
        *,
        max_age: int,
        modified: float,
        vary: bytes = b"",
    ) -> None:
        """``make`` is ``Runtime.card``; ``modified`` when the agents last changed (epoch); ``vary``
        names the header fields that the agents' address is taken from."""
        self._make = make
        self.more: Callable[[str, str], list[AgentInterface]] = lambda agent, base: []
        """Interfaces beside those of this application, by agent and base URL."""
        self._modified = int(modified)
        self._cache: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}
        self._headers: Headers = [
            (b"cache-control", b"public, max-age=%d" % max_age),
            (b"last-modified", formatdate(self._modified, usegmt=True).encode()),
            (b"vary", b"A2A-Version" + (b", " + vary if vary else b"")),
        ]

    async def reply(self, exchange: Exchange, agent: str, base: str, rpc: str) -> None:
        """Answer with the card of ``agent`` as reached at ``base``, or 304 if the client has it.

        Every version's clients fetch the card without naming a version, so that answer carries
        both shapes; who names one gets that one alone.
        """
        asked = exchange.asked_version
        shape = "both" if not asked else V03 if exchange.version == V03 else V10
        body, etag = self._encoded(agent, shape, base, rpc)
        headers = [*self._headers, (b"etag", etag)]
        if asked:
            headers.append((b"a2a-version", exchange.version.encode()))
        if self._unchanged(exchange, etag):
            await exchange.reply(304, headers)
        else:
            await exchange.reply(200, [(b"content-type", JSON), *headers], body)

    def _encoded(self, agent: str, shape: str, base: str, rpc: str) -> tuple[bytes, bytes]:
        key = (agent, shape, base)
        encoded = self._cache.get(key)
        if encoded is None:
            body = card_json(self._make(agent, self.interfaces(agent, base, rpc)), shape)
            encoded = (body, b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode())
            if len(self._cache) >= _KEPT:
                self._cache.clear()
            self._cache[key] = encoded
        return encoded

    def interfaces(self, agent: str, base: str, rpc: str) -> list[AgentInterface]:
        """Return where ``agent`` is served, our neighbours included."""
        return [*interfaces(base, rpc), *self.more(agent, base)]

    def _unchanged(self, exchange: Exchange, etag: bytes) -> bool:
        """RFC 9110 section 13.2.2: the tag decides where there is one, else the date."""
        tags = exchange.fields.get(b"if-none-match")
        if tags is not None:
            known = {tag.strip().removeprefix(b"W/") for tag in tags.split(b",")}
            return etag in known or b"*" in known
        since = exchange.fields.get(b"if-modified-since")
        if since is None:
            return False
        try:
            return parsedate_to_datetime(since.decode("latin-1")).timestamp() >= self._modified
        except (ValueError, OverflowError, TypeError):  # no date: RFC 9110 section 13.1.3
            return False
