"""TLS from certificate files, read again when they change."""

from __future__ import annotations

import os
import ssl

from ..settings import Tls


class TlsError(Exception):
    """The certificate files cannot be used; the message says which."""


def context(settings: Tls) -> ssl.SSLContext | None:
    """Return the TLS context that ``settings`` describe; ``None`` for plain text.

    Raises TlsError.
    """
    try:
        settings.check()
    except ValueError as error:
        raise TlsError(str(error)) from None
    if settings.certfile is None:
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
        raise TlsError(f"cannot use {', '.join(settings.files())}: {error}") from None
    return made


def stamp(settings: Tls) -> tuple[object, ...]:
    """Return a value that changes when one of the files changes, or a link to it."""
    stamps: list[object] = []
    for path in settings.files():
        try:
            status = os.stat(path)
        except OSError:
            stamps.append(None)  # another program replaces the file at this moment
        else:
            stamps += (status.st_mtime_ns, status.st_ino, status.st_size)
    return tuple(stamps)
