"""JSON-RPC 2.0 (section 9): the envelope around requests and answers.

The envelope is decoded once and its params are left as they came; answers are bytes joined around
a payload that is encoded already. Ids are echoed as they were written.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import suppress

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from . import operations, protojson
from .codec import Codec
from .errors import (
    A2AError,
    InvalidParamsError,
    InvalidRequestError,
    MethodNotFoundError,
    ParseError,
    VersionNotSupportedError,
)
from .operations import OPERATIONS, Operation
from .version import HEADER, V03, V10

NO_ID = b"null"
"""The id of an answer to a request whose id could not be told."""
MAX_ID = 1024
"""Bytes of an id: it is repeated in every event of a stream."""


class Request(Struct):
    """One request. ``fault`` is what is wrong with its envelope; ``operation`` raises it."""

    id: bytes
    """As it was written; ``null`` for a notification."""
    method: str
    params: bytes
    notification: bool
    """Whether it came without an id: it is carried out and not answered."""
    fault: A2AError | None = None


_VERSION = Raw(b'"2.0"')


class _Envelope(Struct):
    jsonrpc: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_string = msgspec.json.Decoder(str).decode

_METHODS_1 = {operation.name: operation for operation in OPERATIONS}
_METHODS_03 = {operation.method_03: operation for operation in OPERATIONS if operation.method_03}
_METHODS_03["agent/authenticatedExtendedCard"] = operations.EXTENDED_CARD  # its name in 0.2


def parse(body: protojson.Body) -> Request:
    """Return the request that ``body`` holds.

    Raises ParseError or InvalidRequestError, to be answered with ``NO_ID``. What is wrong beyond
    a readable id is told by ``operation``, so that the answer can carry the id.
    """
    try:
        envelope = _decode(body)
    except msgspec.ValidationError:
        _check_json(body)
        if bytes(body).lstrip()[:1] == b"[":
            raise InvalidRequestError("Batches are not supported: send one request") from None
        raise InvalidRequestError("A request must be a JSON object") from None
    except (ValueError, RecursionError):
        text = bytes(body)
        if text.startswith(BOM_UTF8) and not text.startswith(BOM_UTF8, len(BOM_UTF8)):
            return parse(text[len(BOM_UTF8) :])
        _check_json(body)
        raise ParseError from None
    notification = envelope.id is UNSET
    id_ = NO_ID if isinstance(envelope.id, UnsetType) else _id(bytes(envelope.id))
    try:
        method = _method(envelope)
        params = _params(envelope)
    except A2AError as fault:
        if notification:
            raise
        return Request(id_, "", b"{}", False, fault)
    return Request(id_, method, params, notification)


def operation(request: Request, version: str) -> Operation:
    """Return what ``request`` asks for in a negotiated version, or raise the A2AError to answer."""
    if request.fault is not None:
        raise request.fault
    legacy = version == V03
    known = (_METHODS_03 if legacy else _METHODS_1).get(request.method)
    if known is not None:
        return known
    if request.method in (_METHODS_1 if legacy else _METHODS_03):
        other = V10 if legacy else V03
        raise VersionNotSupportedError(
            f"{request.method} is a method of A2A {other}, and this request is one of {version}: "
            f"send the header {HEADER}: {other}",
            method=request.method,
        )
    raise MethodNotFoundError(f"Method not found: {request.method[:64]!r}")


def result(id_: bytes, payload: bytes) -> bytes:
    """Return the answer that carries ``payload``, which is JSON."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id_, payload)


def error(id_: bytes, codec: Codec, fault: A2AError) -> bytes:
    """Return the answer that tells ``fault`` in the codec's version."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_, protojson.encode(codec.error(fault)))


def _check_json(body: protojson.Body) -> None:
    """Raise the ParseError that says why ``body`` is no JSON, if it is none."""
    with suppress(InvalidParamsError):  # a number out of range is JSON still
        protojson.plain(body)


def _id(raw: bytes) -> bytes:
    if raw[:1] in b"{[tf":
        raise InvalidRequestError("The id must be a string, a number or null")
    if len(raw) > MAX_ID:
        raise InvalidRequestError(f"The id must have at most {MAX_ID} bytes")
    if not raw.isascii():
        protojson.guard(raw)
    return raw


def _method(envelope: _Envelope) -> str:
    version = envelope.jsonrpc
    if isinstance(version, UnsetType) or (version != _VERSION and _string(version) != "2.0"):
        raise InvalidRequestError('The member jsonrpc must be "2.0"')
    method = None if isinstance(envelope.method, UnsetType) else _string(envelope.method)
    if method is None:
        raise InvalidRequestError("The member method must be a string")
    return method


def _params(envelope: _Envelope) -> bytes:
    if isinstance(envelope.params, UnsetType):
        return b"{}"
    params = bytes(envelope.params)
    if params[:1] == b"{":
        return params
    if params == b"null":
        return b"{}"
    raise InvalidParamsError("Invalid parameters: params must be an object")


def _string(raw: Raw) -> str | None:
    try:
        return _decode_string(raw)
    except ValueError:
        return None
