"""Both A2A services, from the one table of operations: an adapter, and no business rule."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any

from ...protocol import operations as ops
from ...protocol.errors import (
    A2AError,
    ExtendedAgentCardNotConfiguredError,
    UnsupportedOperationError,
)
from ...protocol.frame import Frame
from ...protocol.operations import OPERATIONS, Operation
from ...protocol.protobuf.codec import ProtobufCodec
from ...protocol.protobuf.codecs import protobuf_codec
from ...protocol.types import AgentInterface
from ...protocol.v03.parts import puts_text_in_bytes
from ...protocol.version import V03, V10
from ...runtime.call import Call
from ...runtime.runtime import Runtime
from ..binding import Answer, AnswerCodec, Binding, Decoded, EventStream
from ..metrics import Metrics
from .cards import BINDING, Cards, legacy_message
from .metadata import answer
from .rpc import Method, Rpc, Run
from .status import RpcError, Status

V1 = "lf.a2a.v1.A2AService"
LEGACY = "a2a.v1.A2AService"

# The proto of 0.3 has other names for some methods of 1.0, and no ListTasks.
_LEGACY_NAMES = {
    ops.SUBSCRIBE.name: "TaskSubscription",
    ops.LIST_PUSH.name: "ListTaskPushNotificationConfig",
    ops.EXTENDED_CARD.name: "GetAgentCard",
}


class _Request:
    """One call of a method (a ``binding.Request``)."""

    __slots__ = ("_service", "operation", "rpc")

    def __init__(self, service: A2AService, operation: Operation, rpc: Rpc) -> None:
        self._service = service
        self.operation: Operation | None = operation
        self.rpc = rpc

    def call(self) -> Call:
        rpc = self.rpc
        rpc.call = rpc.session.caller(rpc.metadata, self._service.version)
        return rpc.call

    def message(self) -> Coroutine[Any, Any, bytes]:
        return self.rpc.message()

    def decode(self, message: bytes) -> Decoded:
        operation, call = self.operation, self.rpc.call
        assert operation is not None
        assert call is not None
        call.version = self.rpc.metadata.version(self._service.version)
        codec = self._service.codec(call)
        params = codec.decode(operation, message)
        tenant = params.tenant or None
        # Clients of a port that all agents share name the agent by the tenant on its card.
        agent = tenant if tenant in self._service.agents else None
        return Decoded(operation, params, self._service.answering(operation, codec), tenant, agent)

    @property
    def version(self) -> str | None:
        return None if self.rpc.call is None else self.rpc.call.version

    def interfaces(self, agent: str) -> tuple[AgentInterface, ...]:
        return tuple(self._service.cards.interfaces(agent, self.rpc.metadata.host))


class _CardCodec:
    """Writes the answer of GetAgentCard in 0.3, which the tables of the codec do not have."""

    version = V03

    def encode(self, operation: Operation, response: Any) -> bytes:
        return legacy_message(response)

    def frame(self, frame: Frame) -> bytes:
        raise NotImplementedError


class A2AService:
    """The methods of one version's service."""

    def __init__(self, runtime: Runtime, cards: Cards, metrics: Metrics, *, version: str) -> None:
        """``version`` is what the service speaks where the caller names none."""
        self.version = version
        self.cards = cards
        self.agents = runtime.agents
        self._binding = Binding(BINDING, runtime, metrics)
        self._legacy = version == V03
        self._card_codec = _CardCodec()

    def methods(self) -> Iterable[tuple[bytes, Method]]:
        """Return each path with what answers it."""
        early, legacy = not self._binding.anonymous, self._legacy
        for operation in OPERATIONS:
            name = operation.name
            if legacy:
                if operation is ops.LIST_TASKS:
                    continue
                name = _LEGACY_NAMES.get(name, name)
            run = self._answering(operation)
            path = f"/{LEGACY if legacy else V1}/{name}"
            yield path.encode(), Method(run, early=early, legacy=legacy)

    def codec(self, call: Call) -> ProtobufCodec:
        """Return the codec of the version that a caller speaks."""
        if call.version != V03:
            return protobuf_codec(call.version)
        return protobuf_codec(V03, puts_text_in_bytes(call.headers.get("user-agent", "")))

    def answering(self, operation: Operation, codec: ProtobufCodec) -> AnswerCodec:
        """Return the codec that writes the answer of an operation."""
        return self._card_codec if self._legacy and operation is ops.EXTENDED_CARD else codec

    def _answering(self, operation: Operation) -> Run:
        binding = self._binding

        async def run(rpc: Rpc) -> None:
            request = _Request(self, operation, rpc)
            result = await binding.answer(request)
            if isinstance(result, A2AError):
                await self._refuse(rpc, operation, result)
            elif result.stream is None:
                await rpc.reply(result.payload, answer(result.codec.version, result.call))
            else:
                await _stream(rpc, result, result.stream)

        return run

    async def _refuse(self, rpc: Rpc, operation: Operation, error: A2AError) -> None:
        """0.3 asks for *the* card: the public one where there is no extended one."""
        absent = ExtendedAgentCardNotConfiguredError | UnsupportedOperationError
        if (
            self._legacy
            and operation is ops.EXTENDED_CARD
            and isinstance(error, absent)
            and (call := rpc.call) is not None
        ):
            card = self.cards.public(call.agent, rpc.metadata.host)
            await rpc.reply(legacy_message(card), answer(V03, call))
        else:
            rpc.refuse(error)


async def _stream(rpc: Rpc, result: Answer, stream: EventStream) -> None:
    """Send the events of a stream until its end, and close it."""
    codec = result.codec
    try:
        rpc.send_header(answer(codec.version, result.call))
        while (frames := await stream.next()) is not None:
            if frames:
                messages = [codec.frame(frame) for frame in frames]
                del frames  # a reader may take long to take their bytes
                await rpc.send(messages)
    finally:
        stream.close()
    if stream.retry:
        raise RpcError(
            Status.UNAVAILABLE,
            "This server is stopping: subscribe to the task again",
            [(b"retry-after", b"1")],
        )


def a2a_methods(runtime: Runtime, cards: Cards, metrics: Metrics) -> dict[bytes, Method]:
    """Return the methods of both services by their paths."""
    methods: dict[bytes, Method] = {}
    for version in (V10, V03):
        methods.update(A2AService(runtime, cards, metrics, version=version).methods())
    return methods
