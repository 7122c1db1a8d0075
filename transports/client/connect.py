"""From the address of an agent to a connection: its card, and the interface to talk to."""

from __future__ import annotations

import ssl

from msgspec import Struct, field

from .credentials import Credentials
from .discovery import card_limits, choose, fetch_card
from .errors import PeerError
from .http import HttpClient, Limits
from .peer import Peer
from .remote import Remote
from .trust import Trust
from .urls import redacted


class Connecting(Struct, frozen=True, kw_only=True):
    """What a user says of an agent and of the way to it."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    origins: tuple[str, ...] = ()
    """URLs of other servers that get the credentials too."""
    version: str | None = None
    bindings: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    limits: Limits | None = None
    tls: ssl.SSLContext | None = None
    trust: Trust | None = None

    def __repr__(self) -> str:
        return f"<Connecting to {redacted(self.url)}>"  # headers may hold credentials


async def connect(asked: Connecting) -> Remote:
    """Fetch the card, choose an interface, and return what talks to it; nothing is open yet.

    Raises PeerError and HttpError.
    """
    if not asked.url.lower().startswith(("http://", "https://")):
        raise PeerError(f"{redacted(asked.url)!r} is not an http:// or https:// address")
    credentials = Credentials(asked.url, asked.headers, asked.origins)
    http = HttpClient(limits=card_limits(asked.limits), tls=asked.tls)
    shown = credentials if asked.trust is None else None
    card = await fetch_card(http, asked.url, shown, asked.trust, asked.tls)
    return Peer(
        card,
        choose(card, asked.version, asked.bindings),
        credentials=credentials,
        limits=asked.limits,
        tls=asked.tls,
        extensions=asked.extensions,
    )
