"""From settings to a listening socket, and how many connections it may have."""

from __future__ import annotations

import logging
import socket
import ssl

from hypercorn.config import Config

from ..errors import ServerError
from .settings import ServerSettings

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger("greenroom.server")

RESERVED = 64
"""Descriptors that connections leave to the store, its threads, outbound calls and logs."""


def capacity(settings: ServerSettings) -> tuple[int, int]:
    """Return how many connections there may be, in all and of one address."""
    most, most_of_one = settings.max_connections, settings.max_connections_per_address
    limit = None if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit is None or limit < 0 or limit - RESERVED >= most:  # below zero: there is no limit
        return most, most_of_one
    room = max(limit - RESERVED, limit // 2, 1)
    log.info(
        "at most %d connections at once: the limit of open files is %d", room, limit,
        extra={"event": "capacity"},
    )  # fmt: skip
    return room, min(most_of_one, max(room // 2, 1))


def raise_file_limit(connections: int) -> None:
    """Raise the limit of open files of this process as far as ``connections`` need and may have."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVED
    if hard >= 0:
        wanted = min(wanted, hard)
    if 0 <= soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            log.debug("the limit of open files stays at %d", soft)


def configure(settings: ServerSettings) -> Config:
    """Return what hypercorn's protocols read. Raises ServerError, also for a bad certificate."""
    tls = settings.listen.tls
    try:
        tls.check()
    except ValueError as error:
        raise ServerError(str(error)) from None
    if settings.http2 and tls.certfile is None:
        raise ServerError("HTTP/2 is offered over TLS only: name a certfile and a keyfile")
    config = Config()
    if tls.client_ca is not None:
        config.ca_certs = tls.client_ca
        required = tls.client_certificate == "required"
        config.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    config.certfile, config.keyfile = tls.certfile, tls.keyfile
    # HTTP/2 only where an operator asks for it and ALPN chose it: one connection more to bound.
    config.alpn_protocols = ["h2", "http/1.1"] if settings.http2 else ["http/1.1"]
    config.keep_alive_timeout = settings.keep_alive
    config.keep_alive_max_requests = 2**31
    config.ssl_handshake_timeout = 10.0
    config.websocket_ping_interval = 20.0
    config.websocket_max_message_size = 1024 * 1024
    config.include_server_header = False
    config.backlog = settings.backlog
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    try:
        config.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"cannot use certfile {tls.certfile} with keyfile {tls.keyfile}"
            f"{f' and client_ca {tls.client_ca}' if tls.client_ca else ''}: {error}"
        ) from None
    return config


def listen(settings: ServerSettings) -> socket.socket:
    """Return the listening socket. Raises ServerError."""
    host = settings.listen.host.strip("[]")
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, settings.listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # An event loop waits for ever for a peer that takes nothing; the kernel gives up.
            milliseconds = int(settings.write_timeout * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind(address)
        listener.setblocking(False)
        listener.listen(settings.backlog)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ServerError(
            f"cannot listen on {host} port {settings.listen.port}: {error.strerror}; "
            "choose another with --port (0 picks a free one)"
        ) from None
    return listener


def authority(listener: socket.socket) -> str:
    """Return host and port of a listening socket, as a URL has them."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
