"""The limits, times and addresses of the gRPC binding, each with its default."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ...runtime.settings.bounds import Count, NotNegative, Port, Positive, Size
from ...runtime.settings.described import described
from ..caller.proxies import FORWARDED_HEADERS

MIB = 1024 * 1024


@described
class GrpcSettings(Struct, frozen=True, kw_only=True):
    """Seconds and bytes throughout."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 50051
    """Port of all agents; 0 picks a free one. A request's ``tenant`` may name an agent."""
    address: str | None = None
    """``host:port`` where clients reach it, as written on cards. ``None``: where it listens."""
    public_url: str | None = None
    """Where HTTP is served: refusals name the metadata there that lead to a token (RFC 9728)."""
    agent_ports: tuple[str, ...] = ()
    """Further ports, each of one agent (``slug=50052``): clients of 0.3 know no tenant."""
    certfile: str | None = None
    """TLS certificate chain (PEM); read again when the file changes."""
    keyfile: str | None = None
    """TLS private key (PEM); read again when the file changes."""
    client_ca: str | None = None
    """Certificate authorities (PEM) of clients: with it clients are asked for a certificate."""
    client_certificate: Literal["optional", "required"] = "required"
    """Whether every client must have one."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose word on the caller is believed, as ``http.trusted_proxies``."""
    forwarded_headers: tuple[str, ...] = FORWARDED_HEADERS
    """Which of their headers, as ``http.forwarded_headers``."""
    tls_reload: Positive = 10.0
    """How often the certificate files are looked at."""
    handshake_timeout: Positive = 10.0
    """How long a TLS handshake may take."""
    max_receive: Count = 4 * MIB
    """Longest message taken, also after it is decompressed; a longer one is RESOURCE_EXHAUSTED."""
    max_send: Count = 64 * MIB
    """Longest message sent; a longer answer is RESOURCE_EXHAUSTED."""
    max_buffered: Count = 16 * MIB
    """Bytes of unfinished requests that one connection may have here; more are
    RESOURCE_EXHAUSTED."""
    max_buffered_total: Count = 256 * MIB
    """Bytes of unfinished requests of all connections; more are RESOURCE_EXHAUSTED."""
    max_unread: Count = 64 * MIB
    """Bytes of answers that one connection may leave waiting because its client does not read. The
    answer that makes it more is RESOURCE_EXHAUSTED, unless it is the only one that waits."""
    max_unread_caller: Count = 128 * MIB
    """Bytes of answers that all connections of one caller may leave waiting so. An anonymous caller
    is an address."""
    max_unread_total: Count = 512 * MIB
    """Bytes of answers that may wait so in all."""
    max_metadata: Count = 32 * 1024
    """Longest list of header fields."""
    max_streams: Count = 256
    """Calls that one connection may have open; more are refused and may be tried again."""
    max_connections: Count = 10_000
    """Open connections; more are closed at once."""
    max_connections_per_address: Count = 1000
    """Open connections of one address (of IPv6: of one /64); more are closed at once. Trusted
    proxies have no such limit."""
    request_timeout: Positive = 60.0
    """How long a request, or the next message of a stream of requests, may take to arrive."""
    write_timeout: Positive = 60.0
    """A client that takes nothing for this long loses its call, then its connection."""
    idle: Positive = 600.0
    """A connection without calls is closed after this long."""
    age: Positive | None = None
    """A connection is told to make way for a new one after this long; ``None``: never."""
    age_grace: NotNegative = 60.0
    """What the calls of a connection that is too old get to end."""
    keepalive: Positive = 60.0
    """A connection that was silent for this long is asked whether it is still there …"""
    keepalive_timeout: Positive = 20.0
    """… and closed when it does not answer for this long."""
    ping_interval: NotNegative = 5.0
    """Clients may ping this often while nothing is sent to them; more often is a strike."""
    ping_strikes: Size = 3
    """Strikes that are overlooked before the connection is closed."""
    control_frames: Count = 1000
    """Control frames (resets, settings, pings, empty data, refused calls, window updates that no
    answer asked for) that a connection may send at once; a tenth of this comes free a second. The
    server closes a connection that sends more."""
