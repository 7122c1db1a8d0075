"""The limits, times and addresses of the HTTP bindings, each with its default."""

from __future__ import annotations

from msgspec import Struct

from ...runtime.settings.bounds import Count, NotNegative, Positive, Size
from ...runtime.settings.described import described
from ..caller.proxies import FORWARDED_HEADERS


@described
class HttpSettings(Struct, frozen=True, kw_only=True):
    """Seconds and bytes throughout."""

    public_url: str | None = None
    """Where clients reach this server, as written on cards. ``None``: from Host and root path."""
    max_body: Count = 10 * 1024 * 1024
    """Longest request body; a longer one is refused with 413 while it is read."""
    body_timeout: Positive = 60.0
    """How long a request body may take to arrive; then 408."""
    drain: Size = 1024 * 1024
    """How much of a refused body is still read, so that the client sees the answer."""
    write_timeout: Positive = 60.0
    """A client that takes nothing for this long (at most twice this) loses its connection; what
    it missed of a stream it gets by resuming."""
    max_unread: Count = 64 * 1024 * 1024
    """Bytes of answers that the client of one connection may leave unread. A stream that would
    exceed it ends, and another answer is refused with 429; this holds for the next two as well."""
    max_unread_caller: Count = 128 * 1024 * 1024
    """The same of one caller, on all connections: a principal, or an address in anonymous mode."""
    max_unread_total: Count = 512 * 1024 * 1024
    """The same of all callers together."""
    retry: NotNegative = 1.0
    """What clients are told to wait before they reconnect to a stream that this server ended."""
    drain_grace: NotNegative = 10.0
    """What running handlers get when the application's lifespan ends."""
    card_max_age: Size = 300
    """``Cache-Control: max-age`` of agent cards."""
    cors_origins: tuple[str, ...] = ()
    """Origins (``https://app.example``) that browsers may call from; ``*`` is any."""
    cors_max_age: Size = 600
    """How long a browser may keep the answer to a preflight."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (``10.0.0.0/8``) whose forwarding headers are believed; ``unix`` is
    the peer of a Unix socket, ``*`` anybody."""
    forwarded_headers: tuple[str, ...] = FORWARDED_HEADERS
    """Which of their headers are believed: those that they write themselves, whatever a client
    sent. ``forwarded`` is RFC 7239's."""
