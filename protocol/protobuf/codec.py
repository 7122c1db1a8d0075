"""The port between the 1.0 model and protobuf messages, and the codec of 1.0 and 1.1.

``codecs`` says which codec belongs to which version, as ``protocol.codecs`` does for JSON.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import structs

from .. import types as t
from ..errors import InvalidAgentResponseError, ParseError
from ..frame import Frame
from ..operations import Operation
from ..validation import check
from ..version import V11
from .schema import Schema
from .wire import WireError


class ProtobufCodec(Protocol):
    """Reads requests into, and writes answers from, the 1.0 model. Stateless; one per version."""

    @property
    def version(self) -> str:
        """0.3, 1.0 or 1.1."""
        ...

    def decode(self, operation: Operation, body: bytes) -> Any:
        """Return the validated request; raises ParseError and InvalidParamsError, nothing else."""
        ...

    def encode(self, operation: Operation, response: Any) -> bytes:
        """Return the message of a response; ``None`` is ``google.protobuf.Empty``.

        Raises InvalidAgentResponseError for what protobuf cannot hold.
        """
        ...

    def frame(self, frame: Frame) -> bytes:
        """Return the message of one stream event; encoded once however many listen."""
        ...


class V1Codec:
    """A2A 1.0 and 1.1: the tables are the model."""

    def __init__(self, version: str, schema: Schema) -> None:
        self.version = version
        self._schema = schema
        self._form = "pb" + version

    def decode(self, operation: Operation, body: bytes) -> Any:
        request = read(self._schema, operation.request, body)
        check(request)
        return request

    def encode(self, operation: Operation, response: Any) -> bytes:
        return b"" if response is None else write(self._schema, response)

    def frame(self, frame: Frame) -> bytes:
        return frame.wire(self._form, self._frame)

    def _frame(self, frame: Frame) -> bytes:
        response = frame.response
        if self.version == V11 and frame.generation:
            response = _numbered(response, frame.generation)
        return write(self._schema, response)


def _numbered(response: t.StreamResponse, generation: int) -> t.StreamResponse:
    """Frames hold events without their generation, for they are encoded once as JSON."""
    for name in ("task", "status_update", "artifact_update"):
        event = getattr(response, name)
        if event is not None:
            return t.StreamResponse(**{name: structs.replace(event, generation=generation)})
    return response


def read(schema: Schema, type_: type, body: bytes) -> Any:
    """Return the Struct in ``body``; raises ParseError and InvalidParamsError."""
    try:
        return schema.read(type_, body)
    except WireError as error:
        raise ParseError(f"Not a {type_.__name__} message: {error}") from None


def write(schema: Schema, message: Any) -> bytes:
    """Return the wire form; raises InvalidAgentResponseError."""
    try:
        return schema.write(message)
    except WireError as error:
        raise InvalidAgentResponseError(f"The answer cannot be sent over gRPC: {error}") from None
