"""The limits, times and addresses of the gRPC binding, each with its default."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...runtime.settings.bounds import Count, NotNegative, Port, Positive, Size
from ...runtime.settings.described import described
from ..caller.proxies import FORWARDED_HEADERS

MIB = 1024 * 1024


@described
class GrpcSettings(Struct, frozen=True, kw_only=True):
    """Seconds and bytes throughout."""

    host: Annotated[
        str,
        Meta(description="Address to listen on."),
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        Meta(
            description="Port of all agents; 0 picks a free one. A request's ``tenant`` may name "
            "an "
            "agent."
        ),
    ] = 50051
    address: Annotated[
        str | None,
        Meta(
            description="``host:port`` where clients reach it, as written on cards. ``None``: "
            "where "
            "it listens."
        ),
    ] = None
    public_url: Annotated[
        str | None,
        Meta(
            description="Where HTTP is served: refusals name the metadata there that lead to a "
            "token "
            "(RFC 9728)."
        ),
    ] = None
    agent_ports: Annotated[
        tuple[str, ...],
        Meta(
            description="Further ports, each of one agent (``slug=50052``): clients of 0.3 know no "
            "tenant."
        ),
    ] = ()
    certfile: Annotated[
        str | None,
        Meta(description="TLS certificate chain (PEM); read again when the file changes."),
    ] = None
    keyfile: Annotated[
        str | None,
        Meta(description="TLS private key (PEM); read again when the file changes."),
    ] = None
    client_ca: Annotated[
        str | None,
        Meta(
            description="Certificate authorities (PEM) of clients: with it clients are asked for a "
            "certificate."
        ),
    ] = None
    client_certificate: Annotated[
        Literal["optional", "required"],
        Meta(description="Whether every client must have one."),
    ] = "required"
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks whose word on the caller is believed, as "
            "``http.trusted_proxies``."
        ),
    ] = ()
    forwarded_headers: Annotated[
        tuple[str, ...],
        Meta(description="Which of their headers, as ``http.forwarded_headers``."),
    ] = FORWARDED_HEADERS
    tls_reload: Annotated[
        Positive,
        Meta(description="How often the certificate files are looked at."),
    ] = 10.0
    handshake_timeout: Annotated[
        Positive,
        Meta(description="How long a TLS handshake may take."),
    ] = 10.0
    max_receive: Annotated[
        Count,
        Meta(
            description="Longest message taken, also after it is decompressed; a longer one is "
            "RESOURCE_EXHAUSTED."
        ),
    ] = 4 * MIB
    max_send: Annotated[
        Count,
        Meta(description="Longest message sent; a longer answer is RESOURCE_EXHAUSTED."),
    ] = 64 * MIB
    max_buffered: Annotated[
        Count,
        Meta(
            description="Bytes of unfinished requests that one connection may have here; more are "
            "RESOURCE_EXHAUSTED."
        ),
    ] = 16 * MIB
    max_buffered_total: Annotated[
        Count,
        Meta(
            description="Bytes of unfinished requests of all connections; more are "
            "RESOURCE_EXHAUSTED."
        ),
    ] = 256 * MIB
    max_unread: Annotated[
        Count,
        Meta(
            description="Bytes of answers that one connection may leave waiting because its client "
            "does not read. The answer that makes it more is RESOURCE_EXHAUSTED, unless "
            "it is the only one that waits."
        ),
    ] = 64 * MIB
    max_unread_caller: Annotated[
        Count,
        Meta(
            description="Bytes of answers that all connections of one caller may leave waiting so. "
            "An anonymous caller is an address."
        ),
    ] = 128 * MIB
    max_unread_total: Annotated[
        Count,
        Meta(description="Bytes of answers that may wait so in all."),
    ] = 512 * MIB
    max_metadata: Annotated[
        Count,
        Meta(description="Longest list of header fields."),
    ] = 32 * 1024
    max_streams: Annotated[
        Count,
        Meta(
            description="Calls that one connection may have open; more are refused and may be "
            "tried "
            "again."
        ),
    ] = 256
    max_connections: Annotated[
        Count,
        Meta(description="Open connections; more are closed at once."),
    ] = 10_000
    max_connections_per_address: Annotated[
        Count,
        Meta(
            description="Open connections of one address (of IPv6: of one /64); more are closed at "
            "once. Trusted proxies have no such limit."
        ),
    ] = 1000
    request_timeout: Annotated[
        Positive,
        Meta(
            description="How long a request, or the next message of a stream of requests, may take "
            "to arrive."
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
        Meta(description="A connection without calls is closed after this long."),
    ] = 600.0
    age: Annotated[
        Positive | None,
        Meta(
            description="A connection is told to make way for a new one after this long; ``None``: "
            "never."
        ),
    ] = None
    age_grace: Annotated[
        NotNegative,
        Meta(description="What the calls of a connection that is too old get to end."),
    ] = 60.0
    keepalive: Annotated[
        Positive,
        Meta(
            description="A connection that was silent for this long is asked whether it is still "
            "there …"
        ),
    ] = 60.0
    keepalive_timeout: Annotated[
        Positive,
        Meta(description="… and closed when it does not answer for this long."),
    ] = 20.0
    ping_interval: Annotated[
        NotNegative,
        Meta(
            description="Clients may ping this often while nothing is sent to them; more often "
            "is a "
            "strike."
        ),
    ] = 5.0
    ping_strikes: Annotated[
        Size,
        Meta(description="Strikes that are overlooked before the connection is closed."),
    ] = 3
    control_frames: Annotated[
        Count,
        Meta(
            description="Control frames (resets, settings, pings, empty data, refused calls, "
            "window "
            "updates that no answer asked for) that a connection may send at once; a "
            "tenth of this comes free a second. The server closes a connection that "
            "sends more."
        ),
    ] = 1000
