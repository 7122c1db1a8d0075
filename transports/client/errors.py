"""What the client raises where no A2A answer came."""

from __future__ import annotations


class HttpError(Exception):
    """No usable answer: the server cannot be reached, is silent, or does not speak HTTP.

    The text names addresses without their user names and passwords.
    """


class UnusableAnswerError(HttpError):
    """An answer came that cannot be used: it is too long, leads elsewhere, or cannot be decoded."""


class StatusError(HttpError):
    """The server, or a proxy before it, answered with an HTTP error that is no A2A error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        """Header fields of the answer, with names in lower case."""


class NoAnswerError(HttpError):
    """The server accepted the connection and ended it before it answered."""


class AddressRefusedError(HttpError):
    """The policy of addresses does not allow a connection to this URL or address."""


class AuthError(HttpError):
    """A credential cannot be had: a token endpoint refused, or nobody signed in."""


class PeerError(Exception):
    """The address has no agent that this client can talk to; the text says what was there."""
