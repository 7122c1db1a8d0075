"""The seam between the 1.0 model and what one peer reads and writes: one codec per version."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol

from . import json
from .errors import A2AError, details
from .frame import Frame
from .operations import Operation
from .validation import check
from .version import V03, V10, V11

JSONRPC = "JSONRPC"
HTTP_JSON = "HTTP+JSON"
NOTHING: Mapping[str, str] = MappingProxyType({})


class Codec(Protocol):
    """Reads requests into, and writes answers from, the 1.0 model. Stateless; one per version."""

    @property
    def version(self) -> str:
        """0.3, 1.0 or 1.1."""

    def decode(
        self, operation: Operation, body: bytes | memoryview, path: Mapping[str, str] = NOTHING
    ) -> Any:
        """Return the validated request (``operation.request``) that ``body`` holds.

        ``path`` are fields that came outside the body (snake_case names of the 1.0 model: the
        ids in a URL, the tenant); a body that says otherwise is refused.
        Raises ParseError and InvalidParamsError, nothing else.
        """

    def encode(self, operation: Operation, response: Any) -> bytes:
        """Return the JSON of a response: ``operation.response``, or ``None`` where it is empty."""

    def frame(self, frame: Frame) -> bytes:
        """Return the JSON of one stream event; encoded once per version however many listen."""

    def error(self, error: A2AError) -> dict[str, Any]:
        """Return the JSON-RPC error object, with the code this version has for the error."""


class V1:
    """A2A 1.0 is the model itself; 1.1 adds the generations."""

    def __init__(self, version: str = V10) -> None:
        self.version = version

    def decode(
        self, operation: Operation, body: bytes | memoryview, path: Mapping[str, str] = NOTHING
    ) -> Any:
        request = json.decode(body, operation.request, path)
        check(request)
        return request

    def encode(self, operation: Operation, response: Any) -> bytes:
        return b"{}" if response is None else json.encode(response)

    def frame(self, frame: Frame) -> bytes:
        return frame.json

    def error(self, error: A2AError) -> dict[str, Any]:
        found: dict[str, Any] = {"code": error.code, "message": error.message}
        if data := details(error):
            found["data"] = data
        return found


_V1 = {V10: V1(V10), V11: V1(V11)}


@cache
def codec_for(version: str, binding: str = JSONRPC) -> Codec:
    """Return the codec of a negotiated version (see ``version.negotiate``).

    ``binding`` matters in 0.3 only, whose HTTP+JSON form is another JSON than its JSON-RPC form.
    """
    if version == V03:
        # Imported when first asked for: a server of 1.0 alone never loads it.
        legacy = import_module(".v03", __package__)
        found: Codec = legacy.V03_REST if binding == HTTP_JSON else legacy.V03
        return found
    return _V1[version]
