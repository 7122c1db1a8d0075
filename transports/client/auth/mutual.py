"""Mutual TLS: the client proves who it is with a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from ....protocol.types import SecurityScheme
from ..requests import Outgoing
from .credential import Binding, Hidden, Prover


class MutualTls(Hidden):
    """A certificate and its key, shown to the agent's own origins and to no other server."""

    def __init__(
        self,
        certificate: Path | str,
        key: Path | str | None = None,
        *,
        ca: Path | str | None = None,
        password: str | None = None,
    ) -> None:
        """PEM files; ``ca`` are the authorities to trust instead of those of the system.

        Raises OSError and ``ssl.SSLError`` where they cannot be read.
        """
        self._context = ssl.create_default_context(cafile=ca)
        self._context.load_cert_chain(certificate, key, password)

    @property
    def context(self) -> ssl.SSLContext:
        """What TLS connections are made with."""
        return self._context

    def fits(self, scheme: SecurityScheme) -> bool:
        return scheme.mtls_security_scheme is not None

    def bind(self, binding: Binding) -> Prover:
        return self

    async def apply(self, request: Outgoing) -> None:
        """TLS does it."""

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        return False
