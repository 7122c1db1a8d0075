"""How a call ends: gRPC status codes, and errors as ``google.rpc.Status`` (section 10.6)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from enum import IntEnum
from urllib.parse import quote

from ...protocol.errors import ERROR_DOMAIN, A2AError, RefusedError
from ...protocol.protobuf.wire import length, varint

Headers = list[tuple[bytes, bytes]]


class Status(IntEnum):
    """The codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(A2AError):
    """A call that gRPC itself refuses; ``status`` takes the place of the class field ``grpc``."""

    def __init__(self, status: Status, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Headers = headers or []


OK: Headers = [(b"grpc-status", b"0")]

_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_MAX_TEXT = 1024
"""Bytes of one text. Many clients take no more than 8 KiB of metadata; this keeps within them."""
_MAX_DETAILS = 2048
"""Bytes of the details beside the message: those that come after it are left out."""
_TYPE = "type.googleapis.com/google.rpc."


def trailers(error: A2AError, *, legacy: bool = False) -> Headers:
    """Return the trailing metadata that describe ``error``.

    ``legacy`` puts the name of the error before its text, which is where clients of 0.3 look.
    """
    if isinstance(error, RpcError):
        return [*_status(error.status, error.message), *error.headers]
    status = Status[error.grpc]
    text = f"{type(error).__name__}: {error.message}" if legacy else error.message
    fields = _status(status, text)
    if details := _details(status, error):
        fields.append((b"grpc-status-details-bin", b64encode(details).rstrip(b"=")))
    if isinstance(error, RefusedError):
        fields += [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in error.headers.items()
        ]
    return fields


def _status(status: Status, message: str) -> Headers:
    text = quote(_cut(message), safe=_PLAIN)
    return [(b"grpc-status", b"%d" % status), (b"grpc-message", text.encode("ascii"))]


def _details(status: Status, error: A2AError) -> bytes:
    """Return ``google.rpc.Status`` with ErrorInfo and BadRequest, or nothing without details."""
    details: list[bytes] = []
    room = _MAX_DETAILS
    if error.reason:
        entries = _fitting(3, error.metadata.items(), room)
        room -= len(entries)
        info = _field(1, error.reason) + _field(2, ERROR_DOMAIN) + entries
        details.append(_field(1, _TYPE + "ErrorInfo") + _field(2, info))
    if violations := getattr(error, "violations", None):
        broken = _fitting(1, violations, room)
        details.append(_field(1, _TYPE + "BadRequest") + _field(2, broken))
    if not details:
        return b""
    head = b"\x08" + varint(status) + _field(2, _cut(error.message))
    return head + b"".join(_field(3, detail) for detail in details)


def _fitting(number: int, pairs: Iterable[tuple[str, str]], room: int) -> bytes:
    """Return as many of ``pairs``, each the field ``number``, as ``room`` bytes hold."""
    fitting = b""
    for one, other in pairs:
        pair = _field(number, _field(1, one) + _field(2, other))
        if len(fitting) + len(pair) > room:
            break
        fitting += pair
    return fitting


def _cut(text: str) -> str:
    return text[:_MAX_TEXT].encode("utf-8", "replace")[:_MAX_TEXT].decode("utf-8", "ignore")


def _field(number: int, value: str | bytes) -> bytes:
    body = value.encode("utf-8", "replace") if isinstance(value, str) else value
    return varint(number << 3 | 2) + length(len(body)) + body
