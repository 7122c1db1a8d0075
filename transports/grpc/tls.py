"""TLS from certificate files, read again when they change."""

from __future__ import annotations

import os
import ssl

from .settings import GrpcSettings


class TlsError(Exception):
    """The certificate files cannot be used; the message says which."""


def context(settings: GrpcSettings) -> ssl.SSLContext | None:
    """Return the TLS context that the settings describe; ``None``: plain text.

    Raises TlsError.
    """
    if (settings.certfile is None) != (settings.keyfile is None):
        raise TlsError("TLS needs both certfile and keyfile")
    if settings.certfile is None:
        if settings.client_ca is not None:
            raise TlsError("client_ca asks for client certificates: that needs a certfile")
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2"])
    try:
        made.load_cert_chain(settings.certfile, settings.keyfile)
        if settings.client_ca is not None:
            made.load_verify_locations(settings.client_ca)
            required = settings.client_certificate == "required"
            made.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        named = [settings.certfile, settings.keyfile, settings.client_ca]
        raise TlsError(f"cannot use {', '.join(filter(None, named))}: {error}") from None
    return made


def stamp(settings: GrpcSettings) -> tuple[object, ...]:
    """Return what changes when one of the files does, links to them included."""
    stamps: list[object] = []
    for path in (settings.certfile, settings.keyfile, settings.client_ca):
        if path is not None:
            try:
                status = os.stat(path)
            except OSError:
                stamps.append(None)  # being replaced at this moment
            else:
                stamps += (status.st_mtime_ns, status.st_ino, status.st_size)
    return tuple(stamps)
