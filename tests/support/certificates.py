"""Certificates of a test's own authority, for servers and clients of every binding."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import trustme

from greenroom.transports.server.settings import ServerSettings
from greenroom.transports.settings import Listen, Tls
from tests.support.servers import OnSockets


class Authority:
    """Vouches for the server, and for whoever it issued a certificate to."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authority = trustme.CA()
        self.ca = str(home / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.cert, self.key = self.files("127.0.0.1", "localhost")

    def leaf(self, name: str) -> trustme.LeafCert:
        return self.authority.issue_cert(name)

    def files(self, *names: str) -> tuple[str, str]:
        """Issue a certificate; return the paths of its chain and of its key."""
        leaf = self.authority.issue_cert(*names)
        cert, key = (str(self.home / f"{names[0]}.{kind}") for kind in ("pem", "key"))
        leaf.cert_chain_pems[0].write_to_path(cert)
        leaf.private_key_pem.write_to_path(key)
        return cert, key

    def listen(self, required: bool = True) -> ServerSettings:
        tls = Tls(
            certfile=self.cert,
            keyfile=self.key,
            client_ca=self.ca,
            client_certificate="required" if required else "optional",
        )
        return ServerSettings(listen=Listen(port=0, tls=tls), tune_gc=False)

    def show(self, server: OnSockets, leaf: trustme.LeafCert | None) -> None:
        """Let the clients of ``server`` show this certificate from now on, or none."""
        server.tls = ssl.create_default_context()
        self.authority.configure_trust(server.tls)
        pair: tuple[bytes, ...] = ()
        if leaf is not None:
            leaf.configure_cert(server.tls)
            pair = (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
        server.credentials = grpc.ssl_channel_credentials(self.authority.cert_pem.bytes(), *pair)
