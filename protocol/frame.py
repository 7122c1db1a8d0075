"""One event of a task on its way to many listeners: encoded once per wire form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from .types import StreamResponse, TaskState

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StreamResponse)


class Frame:
    """A ``StreamResponse`` with its generation; immutable but for its cache of encodings.

    Made from either form; the other is made when first asked for. ``generation`` is the number
    of the event, or of the snapshot; 0 for a direct Message, which has none.
    """

    __slots__ = ("_typed", "_wires", "generation", "json", "response")

    # Plain slots, and ``__getattr__`` for the form that is not there yet: every event is asked for
    # its forms ten times on its way, and as properties these calls took 2 % of a send.
    json: bytes
    """The A2A 1.0 JSON of the ``StreamResponse``: what journals hold and 1.0 streams send."""
    response: StreamResponse
    """The typed form."""

    def __init__(
        self,
        generation: int,
        *,
        response: StreamResponse | None = None,
        json: bytes | None = None,
    ) -> None:
        self.generation = generation
        self._typed = response is not None
        if response is not None:
            self.response = response
        if json is not None:
            self.json = json
        self._wires: dict[str, bytes] | None = None

    if not TYPE_CHECKING:  # or a checker would take every name for one of a Frame

        def __getattr__(self, name: str) -> Any:
            if name == "json":
                self.json = _encoder.encode(self.response)
                return self.json
            if name == "response":
                self.response = _decoder.decode(self.json)
                return self.response
            raise AttributeError(name=name, obj=self)

    @property
    def state(self) -> TaskState | None:
        """The task's state after this event; ``None`` where the event does not touch it."""
        if not self._typed and self.json.startswith(b'{"artifactUpdate"'):
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
