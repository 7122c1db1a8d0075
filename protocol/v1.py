"""The codec of A2A 1.0 and 1.1, whose model is the one that everything inside works with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from . import protojson
from .codec import NOTHING, with_path
from .errors import A2AError, details
from .frame import Frame
from .operations import Operation
from .types import ListTasksResponse, SendMessageResponse, Task
from .validation import MAX_ITEMS, check, violations
from .version import V11


class V1:
    """A2A 1.0 is the model itself; 1.1 adds the generations.

    The inputs of 1.1 (``currentGeneration``, ``ifGenerationMatch``) are honoured under 1.0 too:
    the 1.1 draft (section 3.2.7) sends them so. ``generation`` is written under 1.1 only.
    """

    def __init__(self, version: str) -> None:
        self.version = version

    def decode(
        self, operation: Operation, body: protojson.Body, path: Mapping[str, str] = NOTHING
    ) -> Any:
        request: Any = protojson.strict(body, operation.request)
        if request is not None:
            if path:
                request = with_path(request, path)
            if not violations(request):
                return request
        # Whatever looks wrong gets a second, lenient look: it may be right, or be told better.
        request = with_path(protojson.lenient(body, operation.request, MAX_ITEMS), path)
        check(request)
        return request

    def encode(self, operation: Operation, response: Any) -> bytes:
        if response is None:
            return b"{}"  # google.protobuf.Empty
        return protojson.encode(response if self.version == V11 else _without_generation(response))

    def frame(self, frame: Frame) -> bytes:
        # The generation is spliced in, for the event is encoded once, without it. Every event but
        # a direct message (generation 0) is one object in the one member of StreamResponse.
        if self.version != V11 or not frame.generation:
            return frame.json
        return frame.wire(V11, _with_generation)

    def error(self, error: A2AError) -> dict[str, Any]:
        fault: dict[str, Any] = {"code": error.code, "message": error.message}
        if data := details(error):
            fault["data"] = data
        return fault

    def status(self, error: A2AError) -> bytes:
        # AIP-193 (section 11.6)
        fault: dict[str, Any] = {
            "code": error.http,
            "status": error.grpc,
            "message": error.message,
        }
        if data := details(error):
            fault["details"] = data
        return protojson.encode({"error": fault})


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
