"""What went wrong, as far as the caller may know it."""

from __future__ import annotations

import logging
import secrets

from ...protocol.errors import A2AError, InternalError, RefusedError
from .exchange import Exchange, Headers

log = logging.getLogger("greenroom.transports")


class PathNotFoundError(A2AError):
    """Nothing is served at this path."""

    code, http, grpc = -32601, 404, "NOT_FOUND"
    default = "Nothing is served at this path"


class MethodNotAllowedError(RefusedError):
    """The path is served, by other methods."""

    code, http, grpc = -32600, 405, "UNIMPLEMENTED"

    def __init__(self, message: str, allowed: frozenset[str] | set[str]) -> None:
        super().__init__(message, headers={"Allow": ", ".join(sorted({*allowed, "OPTIONS"}))})


def told(error: Exception) -> A2AError:
    """Return the error to tell: itself if it is one of the protocol's, else an internal error
    whose id stands in the log beside the traceback."""
    if isinstance(error, A2AError):
        return error
    error_id = secrets.token_hex(8)
    log.error("unexpected error %s", error_id, exc_info=error, extra={"error_id": error_id})
    return InternalError(f"Internal error (id {error_id})", errorId=error_id)


def headers_of(error: A2AError, exchange: Exchange) -> Headers:
    """Return what an error adds to the response's header (WWW-Authenticate, Retry-After, Allow)."""
    if not isinstance(error, RefusedError):
        return []
    headers = error.headers
    challenges = headers.get("WWW-Authenticate")
    if challenges is not None and exchange.challenged is not None:
        headers = {**headers, "WWW-Authenticate": exchange.challenged(exchange, challenges)}
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]
