"""The errors that HTTP alone has, and what an error adds to the header of its answer."""

from __future__ import annotations

from ...protocol.errors import A2AError, RefusedError
from .exchange import Exchange, Headers


class PathNotFoundError(A2AError):
    """Nothing is served at this path."""

    code, http, grpc = -32601, 404, "NOT_FOUND"
    default = "Nothing is served at this path"


class MethodNotAllowedError(RefusedError):
    """The path is served, but not for this method."""

    code, http, grpc = -32600, 405, "UNIMPLEMENTED"

    def __init__(self, message: str, allowed: frozenset[str] | set[str]) -> None:
        """``allowed`` are the methods of the path, for the field ``Allow``."""
        super().__init__(message, headers={"Allow": ", ".join(sorted({*allowed, "OPTIONS"}))})


class ContentEncodingError(RefusedError):
    """The body is compressed; this server reads plain bodies only (RFC 9110 section 15.5.16)."""

    code, http, grpc = -32005, 415, "INVALID_ARGUMENT"
    reason = "CONTENT_TYPE_NOT_SUPPORTED"
    default = "Send the body without Content-Encoding: this server does not inflate bodies"

    def __init__(self) -> None:
        super().__init__(self.default, headers={"Accept-Encoding": "identity"})


class BodyTimeoutError(RefusedError):
    """The body did not arrive in time."""

    code, http, grpc = -32025, 408, "DEADLINE_EXCEEDED"
    reason, default = "BODY_TIMEOUT", "The request body did not arrive in time"


def headers_of(error: A2AError, exchange: Exchange) -> Headers:
    """Return the header fields that tell ``error`` (WWW-Authenticate, Retry-After, Allow)."""
    if not isinstance(error, RefusedError):
        return []
    headers = error.headers
    challenges = headers.get("WWW-Authenticate")
    if challenges is not None and exchange.challenge is not None:
        headers = {**headers, "WWW-Authenticate": exchange.challenge(exchange, challenges)}
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
    ]
