"""The limits, times and public addresses of the gRPC binding, each with its default."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ...runtime.settings.bounds import Count, NotNegative, Positive, Size
from ...runtime.settings.described import described

MIB = 1024 * 1024


@described
class GrpcSettings(Struct, frozen=True, kw_only=True):
    """Seconds and bytes throughout."""

    address: Annotated[
        str | None,
        Meta(
            description="``host:port`` where clients reach the server, as cards name it. "
            "``None``: where it listens."
        ),
    ] = None
    on_card: Annotated[
        bool,
        Meta(
            description="Whether the cards that HTTP clients read name the gRPC addresses. Turn "
            "it off for clients that cannot reach the port, or that refuse a card with an address "
            "of another origin (Google's ADK)."
        ),
    ] = True
    agent_ports: Annotated[
        tuple[str, ...],
        Meta(
            description="Further ports, each of one agent (``slug=50052``): clients of 0.3 know "
            "no tenant."
        ),
    ] = ()
    tls_reload: Annotated[
        Positive, Meta(description="How often the server looks at the certificate files.")
    ] = 10.0
    handshake_timeout: Annotated[
        Positive, Meta(description="How long a TLS handshake may take.")
    ] = 10.0
    max_receive: Annotated[
        Count,
        Meta(
            description="Longest message that the server takes, also after it is decompressed. A "
            "longer one gets RESOURCE_EXHAUSTED."
        ),
    ] = 4 * MIB
    max_send: Annotated[
        Count,
        Meta(
            description="Longest message that the server sends. A longer answer becomes "
            "RESOURCE_EXHAUSTED."
        ),
    ] = 64 * MIB
    max_buffered: Annotated[
        Count,
        Meta(
            description="Bytes of unfinished requests that the server holds for one connection. A "
            "request that exceeds it gets RESOURCE_EXHAUSTED."
        ),
    ] = 16 * MIB
    max_buffered_total: Annotated[
        Count, Meta(description="The same of all connections together.")
    ] = 256 * MIB
    max_unread: Annotated[
        Count,
        Meta(
            description="Bytes of answers that the client of one connection may leave unread. An "
            "answer that exceeds it becomes RESOURCE_EXHAUSTED, unless no other answer waits."
        ),
    ] = 64 * MIB
    max_unread_caller: Annotated[
        Count,
        Meta(
            description="The same of one caller, on all connections: a principal, or an address "
            "in anonymous mode."
        ),
    ] = 128 * MIB
    max_unread_total: Annotated[Count, Meta(description="The same of all callers together.")] = (
        512 * MIB
    )
    max_metadata: Annotated[Count, Meta(description="Longest list of header fields.")] = 32 * 1024
    max_streams: Annotated[
        Count,
        Meta(
            description="Calls that one connection may have open. The server refuses more, and "
            "the client may try them again."
        ),
    ] = 256
    max_connections: Annotated[
        Count,
        Meta(
            description="Open connections, also during their TLS handshake. The server closes "
            "more at once."
        ),
    ] = 10_000
    max_connections_per_address: Annotated[
        Count,
        Meta(
            description="Open connections of one address (of IPv6: of one /64). The server closes "
            "more at once. Trusted proxies have no such limit."
        ),
    ] = 1000
    request_timeout: Annotated[
        Positive,
        Meta(
            description="How long a request, or the next message of a stream of requests, may "
            "take to arrive."
        ),
    ] = 60.0
    write_timeout: Annotated[
        Positive,
        Meta(
            description="A client that takes nothing for this long loses its call, then its "
            "connection."
        ),
    ] = 60.0
    idle: Annotated[
        Positive,
        Meta(description="The server closes a connection that has had no call for this long."),
    ] = 600.0
    age: Annotated[
        Positive | None,
        Meta(
            description="The server sends the client of a connection elsewhere after this long. "
            "``None``: never."
        ),
    ] = None
    age_grace: Annotated[
        NotNegative,
        Meta(description="How long the calls of a connection that is too old may go on."),
    ] = 60.0
    keepalive: Annotated[
        Positive, Meta(description="The server pings a client that was silent for this long.")
    ] = 60.0
    keepalive_timeout: Annotated[
        Positive,
        Meta(
            description="The server closes a connection whose client does not answer the ping for "
            "this long."
        ),
    ] = 20.0
    ping_interval: Annotated[
        NotNegative,
        Meta(
            description="A client may ping this often while nothing is sent to it. A ping that "
            "comes earlier is a strike."
        ),
    ] = 5.0
    ping_strikes: Annotated[
        Size, Meta(description="Strikes that the server overlooks before it closes the connection.")
    ] = 3
    control_frames: Annotated[
        Count,
        Meta(
            description="Control frames (resets, settings, pings, empty data, refused calls, "
            "window updates that no answer asked for) that a connection may send at once. A tenth "
            "of this comes free a second. The server closes a connection that sends more."
        ),
    ] = 1000
