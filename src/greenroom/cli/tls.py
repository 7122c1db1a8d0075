"""Options of the command line for TLS: whom to trust, and which certificate to show."""

from __future__ import annotations

import argparse
import ssl

from ..transports.client.errors import NoAnswerError


def add(parser: argparse.ArgumentParser, *, key: str = "--key") -> None:
    """Add the options to a command; ``key`` is the flag for the certificate's private key."""
    parser.add_argument("--ca", metavar="FILE", help="certificate authorities to trust (PEM)")
    parser.add_argument(
        "--cert", metavar="FILE", help="client certificate to show, for mutual TLS (PEM)"
    )
    parser.add_argument(
        key, dest="cert_key", metavar="FILE", help="its private key, if it is in a file of its own"
    )


def context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return what the options ask for, ``None`` for the system's own. Raises ValueError."""
    if options.cert_key and not options.cert:
        raise ValueError("a private key for TLS needs its certificate: --cert FILE")
    if not options.ca and not options.cert:
        return None
    try:
        tls = ssl.create_default_context(cafile=options.ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"--ca {options.ca}: {error}") from None
    if options.cert:
        try:
            tls.load_cert_chain(options.cert, options.cert_key, _no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            named = " and ".join(filter(None, (options.cert, options.cert_key)))
            raise ValueError(f"--cert: {named} cannot be used: {error}") from None
    return tls


def _no_password() -> str:
    # Without it OpenSSL would ask on the terminal, also where nobody sits.
    raise ValueError("its key is encrypted")


def advice(error: BaseException, url: str, options: argparse.Namespace) -> str:
    """Return what would help against an error of TLS, to be put behind it; or nothing."""
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return "; if you trust it, name the authority that signed it: --ca FILE"
    # Servers do not all say why they end a handshake; in TLS 1.3 the client learns of it late.
    if isinstance(error, NoAnswerError) and url.startswith("https:") and not options.cert:
        return "; if it asks for a client certificate: --cert FILE"
    return ""
