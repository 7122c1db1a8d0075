"""The errors that every transport shares, and what a caller may know of an error."""

from __future__ import annotations

import logging
import secrets

from ..protocol.errors import A2AError, InternalError

log = logging.getLogger("greenroom.transports")


class ServerError(Exception):
    """The server cannot start; the message says what to change."""


class ClientGone(Exception):
    """The client closed its connection: nobody waits for the answer."""


def public_error(error: Exception) -> A2AError:
    """Return the error that the caller sees.

    The caller sees an A2AError as it is. Any other error becomes an InternalError with an error id;
    the log has the traceback under that id.

    The returned error has no traceback and no cause: those refer to the frames of the request, and
    the frames hold its body. The body is free as soon as the request has been answered.
    """
    if not isinstance(error, A2AError):
        error_id = secrets.token_hex(8)
        log.error("unexpected error %s", error_id, exc_info=error, extra={"error_id": error_id})
        return InternalError(f"Internal error (id {error_id})", errorId=error_id)
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
