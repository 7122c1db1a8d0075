"""What the trailers of a call say: nothing wrong, or which error (section 10.6)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import unquote

from ....protocol.errors import (
    A2AError,
    InternalError,
    InvalidParamsError,
    MethodNotFoundError,
    PermissionDeniedError,
    RefusedError,
    ResourceExhaustedError,
    TaskNotFoundError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedOperationError,
)
from ....protocol.protobuf.wire import BYTES, WireError, read_tag, read_varint, skip
from ..answers import error_named
from ..errors import HttpError

_LONGEST = 2000
_BY_STATUS: dict[int, type[A2AError]] = {
    3: InvalidParamsError,
    5: TaskNotFoundError,
    7: PermissionDeniedError,
    8: ResourceExhaustedError,
    9: UnsupportedOperationError,
    12: MethodNotFoundError,
    14: UnavailableError,
    16: UnauthenticatedError,
}
_BROKEN = frozenset({1, 4})
"""CANCELLED and DEADLINE_EXCEEDED: the call broke off; the task may go on."""


def error_of(trailers: Mapping[str, str]) -> Exception | None:
    """Return the error that the trailers tell, ``None`` for success."""
    text = trailers.get("grpc-status", "")
    if text == "0":
        return None
    status = int(text) if text.isdecimal() and len(text) < 4 else 2
    told = unquote(trailers.get("grpc-message", ""))[:_LONGEST]
    kind = error_named(_reason(trailers.get("grpc-status-details-bin", "")))
    if kind is None and status in _BROKEN:
        return HttpError(f"the call broke off with the gRPC status {status}: {told}")
    error = (kind or _BY_STATUS.get(status, InternalError))(told)
    if isinstance(error, RefusedError):
        error.headers = dict(trailers)
    return error


def _reason(details: str) -> str:
    """Return the ``reason`` of the first ``google.rpc.ErrorInfo`` in a ``google.rpc.Status``."""
    try:
        status = b64decode(details.split(",")[0] + "==")
        for value in _fields(status, 3):
            name = b"".join(_fields(value, 1))
            if name.endswith(b"google.rpc.ErrorInfo"):
                info = b"".join(_fields(value, 2))
                return b"".join(_fields(info, 1)).decode(errors="replace")
    except (ValueError, IndexError, WireError):
        return ""
    return ""


def _fields(message: bytes, number: int) -> list[bytes]:
    """Return the values of a field of bytes."""
    values, position = [], 0
    while position < len(message):
        mark, position = read_tag(message, position)
        if mark != number << 3 | BYTES:
            position = skip(message, position, mark)
            continue
        size, position = read_varint(message, position)
        values.append(message[position : position + size])
        position += size
    return values
