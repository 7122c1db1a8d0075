"""One event of a task on its way to many listeners: encoded once per wire form."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .types import StreamResponse, TaskState

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StreamResponse)


class Frame:
    """A ``StreamResponse`` with its generation; immutable but for its cache of encodings.

    Made from either form; the other is made when first asked for. ``generation`` is the number
    of the event, or of the snapshot; 0 for a direct Message, which has none.
    """

    __slots__ = ("_json", "_response", "_wires", "generation")

    def __init__(
        self,
        generation: int,
        *,
        response: StreamResponse | None = None,
        json: bytes | None = None,
    ) -> None:
        self.generation = generation
        self._response = response
        self._json = json
        self._wires: dict[str, bytes] | None = None

    @property
    def response(self) -> StreamResponse:
        """The typed form."""
        if self._response is None:
            assert self._json is not None
            self._response = _decoder.decode(self._json)
        return self._response

    @property
    def json(self) -> bytes:
        """The A2A 1.0 JSON of the ``StreamResponse``: what journals hold and 1.0 streams send."""
        if self._json is None:
            self._json = _encoder.encode(self._response)
        return self._json

    @property
    def state(self) -> TaskState | None:
        """The task's state after this event; ``None`` where the event does not touch it."""
        if self._response is None and self.json.startswith(b'{"artifactUpdate"'):
            return None
        response = self.response
        if response.status_update is not None:
            return response.status_update.status.state
        return response.task.status.state if response.task is not None else None

    def wire(self, form: str, encode: Callable[[Frame], bytes]) -> bytes:
        """Return this frame in the wire form called ``form``, encoding it the first time only."""
        if self._wires is None:
            self._wires = {}
        encoded = self._wires.get(form)
        if encoded is None:
            encoded = self._wires[form] = encode(self)
        return encoded

    def __repr__(self) -> str:
        return f"<Frame generation={self.generation}>"
