"""One request's way through a transport, the same for every binding.

    admit -> read the message -> decode -> version, tenant, agent -> dispatch -> encode or stream

A binding brings two things: a ``Request``, which knows how its frames say all this, and the code
that writes an ``Answer`` or an error in the form of the binding. ``Binding`` brings the order:

- The gate admits the caller before the message is read: the server keeps and parses nothing of a
  caller that it does not know. In anonymous mode there is nothing to admit.
- One ``Call`` belongs to the request. The binding owns the call until it hands the call to
  ``Runtime.dispatch``; from then on the runtime owns the call, and the binding only reads it.
- ``answer`` returns errors and never raises them, except for ``ClientGone``. A returned error
  holds no frame of the request: its body is free as soon as the answer is written.
- Every request is counted once, by its operation and its outcome.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct

from ..protocol.errors import A2AError, InvalidParamsError, RefusedError
from ..protocol.frame import Frame
from ..protocol.operations import EXTENDED_CARD, Operation
from ..protocol.types import AgentInterface
from ..runtime.call import Call
from ..runtime.runtime import Runtime
from .errors import ClientGone, public_error
from .metrics import Metrics


class EventStream(Protocol):
    """The runtime's side of a stream. Its reader calls ``close`` at the end, always."""

    @property
    def reset(self) -> bool:
        """The events that the client asked for are no longer kept: a snapshot takes their place."""
        ...

    @property
    def retry(self) -> bool:
        """The server ended the stream, not the task: the client may subscribe again."""
        ...

    async def next(self) -> Sequence[Frame] | None:
        """Return the events that are ready (empty: a heartbeat), or ``None`` at the end."""
        ...

    def close(self) -> None: ...


class AnswerCodec(Protocol):
    """What the way of a request needs of a codec, be it of JSON or of protobuf."""

    @property
    def version(self) -> str:
        """The version of the protocol that the codec writes."""
        ...

    def encode(self, operation: Operation, response: Any) -> bytes:
        """Return the bytes of a response."""
        ...

    def frame(self, frame: Frame) -> bytes:
        """Return the bytes of one stream event."""
        ...


class Decoded(Struct):  # no NamedTuple: that is made by a function in Python
    """What a message says. ``params`` is of the type ``operation.request``."""

    operation: Operation
    params: Any
    codec: AnswerCodec
    """The codec of the negotiated version; it writes the answer too."""
    tenant: str | None = None
    """The tenant as written on the wire: it routes, it never owns."""
    agent: str | None = None
    """The slug of the agent, where the message names it; ``None``: the call names it."""


class Request(Protocol):
    """One request, as the frames of its binding say it. Made for one request and used once."""

    operation: Operation | None
    """The operation, as soon as ``decode`` knows it, also where the parameters are wrong."""

    @property
    def version(self) -> str | None:
        """The negotiated version, as soon as ``decode`` knows it."""
        ...

    def call(self) -> Call:
        """Return who calls, and what the header says. The message is not needed for it."""
        ...

    def message(self) -> Coroutine[Any, Any, bytes]:
        """Return the message once it is whole, when awaited.

        Raises RefusedError for a message that is too large or too late, and ClientGone.
        """
        ...

    def decode(self, message: bytes) -> Decoded:
        """Return what the message says. Raises A2AError."""
        ...

    def interfaces(self, agent: str) -> tuple[AgentInterface, ...]:
        """Return where the agent is served, as this caller reaches it, for the extended card."""
        ...


class Answer(Struct):
    """What the caller gets: ``payload``, or the events of ``stream`` of a streaming operation."""

    call: Call
    codec: AnswerCodec
    payload: bytes = b""
    stream: EventStream | None = None
    """Whoever takes the answer closes the stream."""


class Binding:
    """The way of one binding's requests. ``name`` is JSONRPC, HTTP+JSON or GRPC."""

    def __init__(self, name: str, runtime: Runtime, metrics: Metrics) -> None:
        self.name = name
        self.anonymous = runtime.gate.open
        """No caller is asked who it is."""
        self._gate = runtime.gate
        self.agents = runtime.agents
        """The agents by their slugs: the tenant of a request may name one."""
        self._dispatch = runtime.dispatch
        self._check_capability = runtime.check_capability
        self._counts = metrics.requests

    async def answer(self, request: Request) -> Answer | A2AError:
        """Carry ``request`` out; return its answer, or the error for the caller."""
        try:
            call = request.call()
            if not self.anonymous:
                await self._gate.admit(call)
            try:
                message = await request.message()
            except RefusedError as error:
                self._gate.audit_refusal(call, error)
                raise
            decoded = self._decode(request, call, message)
            del message  # or the bytes would stay for as long as the operation runs
            operation, params, codec = decoded.operation, decoded.params, decoded.codec
            call.version = codec.version
            call.tenant = decoded.tenant
            if decoded.agent is not None:
                call.agent = decoded.agent
            del decoded
            if operation is EXTENDED_CARD:
                call.interfaces = request.interfaces(call.agent)
            result = await self._dispatch(call, operation, params)
            if operation.streaming:
                answer = Answer(call, codec, stream=result)
            else:
                answer = Answer(call, codec, codec.encode(operation, result))
        except ClientGone:
            raise
        except Exception as error:
            return self.refuse(error, request.operation)
        self._counts[self.name, operation.name, "ok"] += 1
        return answer

    def refuse(
        self, error: Exception, operation: Operation | None = None, call: Call | None = None
    ) -> A2AError:
        """Count a request that fails with ``error``; return the error for the caller.

        ``call`` is the call of a request that leads to no operation: the gate audits it.
        """
        if call is not None:
            self._gate.audit_request(call, error, operation)
        public = public_error(error)
        name = "" if operation is None else operation.name
        self._counts[self.name, name, type(public).__name__] += 1
        return public

    def _decode(self, request: Request, call: Call, message: bytes) -> Decoded:
        try:
            return request.decode(message)
        except Exception as error:
            missing = self._missing(error, request, call)
            self._gate.audit_request(call, missing or error, request.operation)
            if missing is None:
                raise
            try:
                raise missing from None
            finally:
                del missing  # or the error would hold this frame, and the frame the error

    def _missing(self, error: Exception, request: Request, call: Call) -> A2AError | None:
        """Return the error for a capability that the agent lacks, which comes before wrong
        parameters (section 3.3.4); ``None`` where ``error`` stands."""
        if not isinstance(error, InvalidParamsError) or request.operation is None:
            return None
        if request.version is not None:
            call.version = request.version
        try:
            self._check_capability(call, request.operation, error.violations)
        except A2AError as missing:
            return missing.with_traceback(None)
        return None
