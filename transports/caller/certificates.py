"""The client's certificate of a TLS connection, from the entrypoint to the application.

No server tells ASGI applications of it in a way that all share: our own entrypoint puts it into the
connection's ``state``, others may have the ASGI TLS extension. Either way the server has checked
the chain in the handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

STATE_KEY = "greenroom.certificate"


def state_of(connection: Any) -> dict[str, Any]:
    """Return the state of a connection; ``connection`` has ``getpeercert``, or is ``None``."""
    if connection is None:
        return {}
    certificate = connection.getpeercert(binary_form=True)
    return {} if certificate is None else {STATE_KEY: certificate}


def certificate_of(scope: Mapping[str, Any]) -> bytes | None:
    """Return the client's certificate (DER) of an ASGI request."""
    certificate: bytes | None = (scope.get("state") or {}).get(STATE_KEY)
    if certificate is None and "tls" in (extensions := scope.get("extensions") or {}):
        tls = extensions["tls"]
        chain = tls.get("client_cert_chain")
        if chain and not tls.get("client_cert_error"):
            return ssl.PEM_cert_to_DER_cert(chain[0])
    return certificate
