"""The seam between the 1.0 model and what one peer reads and writes: one codec per version."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from msgspec import structs

from . import json
from .errors import A2AError, InvalidParamsError, details
from .frame import Frame
from .operations import Operation
from .types import ListTasksResponse, SendMessageResponse, Task, Wire
from .validation import MAX_ITEMS, check, violations
from .version import V03, V10, V11

T = TypeVar("T", bound=Wire)

JSONRPC = "JSONRPC"
HTTP_JSON = "HTTP+JSON"
NOTHING: Mapping[str, str] = MappingProxyType({})


class Codec(Protocol):
    """Reads requests into, and writes answers from, the 1.0 model. Stateless; one per version."""

    @property
    def version(self) -> str:
        """0.3, 1.0 or 1.1."""

    def decode(
        self, operation: Operation, body: json.Body, path: Mapping[str, str] = NOTHING
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

    def status(self, error: A2AError) -> bytes:
        """Return the HTTP+JSON error body; its status is ``error.http``."""


class V1:
    """A2A 1.0 is the model itself; 1.1 adds the generations.

    The inputs of 1.1 (``currentGeneration``, ``ifGenerationMatch``) are honoured under 1.0 too:
    the 1.1 draft (section 3.2.7) sends them so. ``generation`` is written under 1.1 only.
    """

    def __init__(self, version: str) -> None:
        self.version = version

    def decode(
        self, operation: Operation, body: json.Body, path: Mapping[str, str] = NOTHING
    ) -> Any:
        request: Any = json.strict(body, operation.request)
        if request is not None:
            if path:
                request = with_path(request, path)
            if not violations(request):
                return request
        # Whatever looks wrong gets a second, lenient look: it may be right, or be told better.
        request = with_path(json.lenient(body, operation.request, MAX_ITEMS), path)
        check(request)
        return request

    def encode(self, operation: Operation, response: Any) -> bytes:
        if response is None:
            return b"{}"  # google.protobuf.Empty
        return json.encode(response if self.version == V11 else _without_generation(response))

    def frame(self, frame: Frame) -> bytes:
        # The generation is spliced in, for the event is encoded once, without it. Every event but
        # a direct message (generation 0) is one object in the one member of StreamResponse.
        if self.version != V11 or not frame.generation:
            return frame.json
        return frame.wire(V11, _with_generation)

    def error(self, error: A2AError) -> dict[str, Any]:
        found: dict[str, Any] = {"code": error.code, "message": error.message}
        if data := details(error):
            found["data"] = data
        return found

    def status(self, error: A2AError) -> bytes:
        # AIP-193 (section 11.6)
        found: dict[str, Any] = {
            "code": error.http,
            "status": error.grpc,
            "message": error.message,
        }
        if data := details(error):
            found["details"] = data
        return json.encode({"error": found})


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


def _with_generation(frame: Frame) -> bytes:
    return b'%b,"generation":%d}}' % (frame.json[:-2], frame.generation)


def _without_generation(response: Any) -> Any:
    """Return ``response`` as 1.0 knows it; the very object where there is nothing to leave out."""
    if isinstance(response, Task):
        return structs.replace(response, generation=0) if response.generation else response
    if isinstance(response, SendMessageResponse):
        task = response.task
        if task is not None and task.generation:
            return SendMessageResponse(task=structs.replace(task, generation=0))
    elif isinstance(response, ListTasksResponse) and any(t.generation for t in response.tasks):
        tasks = [_without_generation(task) for task in response.tasks]
        return structs.replace(response, tasks=tasks)
    return response


_V1: dict[str, Codec] = {V10: V1(V10), V11: V1(V11)}


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
