"""The limits and times of the HTTP bindings, each with its default."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ...runtime.settings.bounds import Count, NotNegative, Positive, Size
from ...runtime.settings.described import described
from ..settings import FORWARDED_HEADERS, Forwarding


@described
class HttpSettings(Struct, frozen=True, kw_only=True):
    """Seconds and bytes throughout."""

    max_body: Annotated[
        Count,
        Meta(
            description="Longest request body; a longer one is refused with 413 while it is read."
        ),
    ] = 10 * 1024 * 1024
    body_timeout: Annotated[
        Positive,
        Meta(description="How long a request body may take to arrive; then 408."),
    ] = 60.0
    drain: Annotated[
        Size,
        Meta(
            description="How much of a refused body is still read, so that the client sees the "
            "answer."
        ),
    ] = 1024 * 1024
    write_timeout: Annotated[
        Positive,
        Meta(
            description="A client that takes nothing for this long (at most twice this) loses its "
            "connection; what it missed of a stream it gets by resuming."
        ),
    ] = 60.0
    max_unread: Annotated[
        Count,
        Meta(
            description="Bytes of answers that the client of one connection may leave unread. A "
            "stream that would exceed it ends, and another answer is refused with 429; "
            "this holds for the next two as well."
        ),
    ] = 64 * 1024 * 1024
    max_unread_caller: Annotated[
        Count,
        Meta(
            description="The same of one caller, on all connections: a principal, or an address in "
            "anonymous mode."
        ),
    ] = 128 * 1024 * 1024
    max_unread_total: Annotated[
        Count,
        Meta(description="The same of all callers together."),
    ] = 512 * 1024 * 1024
    retry: Annotated[
        NotNegative,
        Meta(
            description="How long clients are asked to wait before they reconnect to a stream that "
            "this server ended."
        ),
    ] = 1.0
    card_max_age: Annotated[
        Size,
        Meta(description="``Cache-Control: max-age`` of agent cards."),
    ] = 300
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins (``https://app.example``) that browsers may call from; ``*`` is "
            "any."
        ),
    ] = ()
    cors_max_age: Annotated[
        Size,
        Meta(description="How long a browser may keep the answer to a preflight."),
    ] = 600
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks (``10.0.0.0/8``) whose forwarding headers are "
            "believed; ``unix`` is the peer of a Unix socket, ``*`` anybody."
        ),
    ] = ()
    forwarded_headers: Annotated[
        tuple[str, ...],
        Meta(
            description="Which of their headers are believed: those that they write themselves, "
            "whatever a client sent. ``forwarded`` is RFC 7239's."
        ),
    ] = FORWARDED_HEADERS

    @property
    def forwarding(self) -> Forwarding:
        """The proxies that every server of this process believes, gRPC included."""
        return Forwarding(proxies=self.trusted_proxies, headers=self.forwarded_headers)
