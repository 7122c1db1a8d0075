"""Settings that several servers share: where to listen, TLS files, and which proxies to believe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from ..runtime.settings.bounds import Port

FORWARDED_HEADERS = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix",
)  # fmt: skip
"""The header fields that a server believes unless the operator names others."""


class Tls(Struct, frozen=True, kw_only=True):
    """The TLS files of a server, all PEM. Without ``certfile`` the server speaks plain text."""

    certfile: str | None = None
    """The certificate chain of the server."""
    keyfile: str | None = None
    """The private key of the server."""
    client_ca: str | None = None
    """Certificate authorities of clients: with it the server asks clients for a certificate."""
    client_certificate: Literal["optional", "required"] = "required"
    """Whether every client must have a certificate."""

    def check(self) -> None:
        """Raise ValueError for files that do not go together."""
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("TLS needs both certfile and keyfile")
        if self.client_ca is not None and self.certfile is None:
            raise ValueError(
                "client_ca asks for client certificates: name a certfile and a keyfile"
            )

    def files(self) -> Iterator[str]:
        """Yield the paths of the files that are set."""
        return filter(None, (self.certfile, self.keyfile, self.client_ca))


class Listen(Struct, frozen=True, kw_only=True):
    """Where a server listens, and how it proves who it is."""

    host: str = "127.0.0.1"
    """The address: a name, or an IP address with or without brackets."""
    port: Port = 8000
    """The port; 0 picks a free one."""
    tls: Tls = Tls()


class Forwarding(Struct, frozen=True, kw_only=True):
    """Which peers may say in header fields who really calls, and which fields they may use."""

    proxies: tuple[str, ...] = ()
    """Addresses or networks; ``unix`` is the peer of a Unix socket, ``*`` anybody."""
    headers: tuple[str, ...] = FORWARDED_HEADERS
    """Names of header fields, lower case."""
