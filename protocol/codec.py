"""The port of codecs: what each of them does between the 1.0 model and what one peer writes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from msgspec import structs

from . import protojson
from .errors import A2AError, InvalidParamsError
from .frame import Frame
from .operations import Operation
from .types import Wire

T = TypeVar("T", bound=Wire)

JSONRPC = "JSONRPC"
HTTP_JSON = "HTTP+JSON"
NOTHING: Mapping[str, str] = MappingProxyType({})


class Codec(Protocol):
    """Reads requests into, and writes answers from, the 1.0 model. Stateless; one per version."""

    @property
    def version(self) -> str:
        """0.3, 1.0 or 1.1."""
        ...

    def decode(
        self, operation: Operation, body: protojson.Body, path: Mapping[str, str] = NOTHING
    ) -> Any:
        """Return the validated request (``operation.request``) that ``body`` holds.

        ``path`` are fields that came outside the body (snake_case names of the 1.0 model: the
        ids in a URL, the tenant); a body that says otherwise is refused.
        Raises ParseError and InvalidParamsError, nothing else.
        """
        ...

    def encode(self, operation: Operation, response: Any) -> bytes:
        """Return the JSON of a response: ``operation.response``, or ``None`` where it is empty."""
        ...

    def frame(self, frame: Frame) -> bytes:
        """Return the JSON of one stream event; encoded once per version however many listen."""
        ...

    def error(self, error: A2AError) -> dict[str, Any]:
        """Return the JSON-RPC error object, with the code this version has for the error."""
        ...

    def status(self, error: A2AError) -> bytes:
        """Return the HTTP+JSON error body; its status is ``error.http``."""
        ...


def with_path(request: T, path: Mapping[str, str]) -> T:
    """Return ``request`` with the fields of ``path`` set.

    Raises InvalidParamsError where it says otherwise itself.
    """
    changes = {}
    for name, value in path.items():
        there = getattr(request, name)
        if there and there != value:
            label = request.__struct_encode_fields__[request.__struct_fields__.index(name)]
            raise InvalidParamsError.of([(label, "in the body is not the one in the path")])
        if there != value:
            changes[name] = value
    return structs.replace(request, **changes) if changes else request
