"""Both A2A services, from the one table of operations: an adapter, and no business rule."""

from __future__ import annotations

from collections.abc import Iterable

from ...protocol import operations as ops
from ...protocol.errors import ExtendedAgentCardNotConfiguredError, UnsupportedOperationError
from ...protocol.operations import OPERATIONS, Operation
from ...protocol.protobuf.codec import ProtobufCodec, protobuf_codec
from ...protocol.v03.parts import puts_text_in_bytes
from ...protocol.version import V03, V10
from ...runtime.call import Call
from ...runtime.journal.feed import Stream
from ...runtime.runtime import Runtime
from .cards import Cards, legacy_message
from .metadata import answer
from .rpc import Method, Rpc
from .status import RpcError, Status

V1 = "lf.a2a.v1.A2AService"
LEGACY = "a2a.v1.A2AService"

# The methods of 0.3 are called otherwise in its proto than in 1.0; ListTasks it has not.
_LEGACY_NAMES = {
    ops.SUBSCRIBE.name: "TaskSubscription",
    ops.LIST_PUSH.name: "ListTaskPushNotificationConfig",
    ops.EXTENDED_CARD.name: "GetAgentCard",
}


class A2AService:
    """The methods of one version's service."""

    def __init__(self, runtime: Runtime, cards: Cards, *, served: str) -> None:
        self._runtime = runtime
        self._cards = cards
        self._served = served
        self._early = not runtime.gate.open

    def methods(self) -> Iterable[tuple[bytes, Method]]:
        """Return each path with what answers it."""
        legacy = self._served == V03
        for operation in OPERATIONS:
            name = operation.name
            if legacy:
                if operation is ops.LIST_TASKS:
                    continue
                name = _LEGACY_NAMES.get(name, name)
            make = self._stream if operation.streaming else self._unary
            if legacy and operation is ops.EXTENDED_CARD:
                make = self._legacy_card
            path = f"/{LEGACY if legacy else V1}/{name}"
            yield path.encode(), make(operation, legacy)

    def _unary(self, operation: Operation, legacy: bool) -> Method:
        runtime, served = self._runtime, self._served

        async def run(rpc: Rpc) -> None:
            version = rpc.metadata.version(served)
            call = await self._admitted(rpc, version)
            codec = _codec(version, call)
            request = codec.decode(operation, await rpc.message())
            self._route(call, request.tenant)
            if operation is ops.EXTENDED_CARD:
                host = rpc.metadata.host
                call.interfaces = tuple(self._cards.interfaces(call.agent, host))
            response = await runtime.dispatch(call, operation, request)
            await rpc.reply(codec.encode(operation, response), answer(version, call))

        return Method(run, early=self._early, legacy=legacy)

    def _stream(self, operation: Operation, legacy: bool) -> Method:
        runtime, served = self._runtime, self._served

        async def run(rpc: Rpc) -> None:
            version = rpc.metadata.version(served)
            call = await self._admitted(rpc, version)
            codec = _codec(version, call)
            request = codec.decode(operation, await rpc.message())
            self._route(call, request.tenant)
            stream: Stream = await runtime.dispatch(call, operation, request)
            del request  # a stream may live for hours: nothing of its request is kept
            try:
                rpc.send_header(answer(version, call))
                while (frames := await stream.next()) is not None:
                    if frames:
                        # The frames are let go of: a reader may take long to take their bytes.
                        messages = [codec.frame(frame) for frame in frames]
                        del frames
                        await rpc.send(messages)
            finally:
                stream.close()
            if stream.retry:
                raise RpcError(
                    Status.UNAVAILABLE,
                    "This server is stopping: subscribe to the task again",
                    [(b"retry-after", b"1")],
                )

        return Method(run, early=self._early, legacy=legacy)

    def _legacy_card(self, operation: Operation, legacy: bool) -> Method:
        """0.3 asks for *the* card: the extended one, or the public one where there is no other."""
        runtime, cards = self._runtime, self._cards

        async def run(rpc: Rpc) -> None:
            version = rpc.metadata.version(V03)
            call = await self._admitted(rpc, version)
            request = protobuf_codec(version).decode(operation, await rpc.message())
            call.interfaces = tuple(cards.interfaces(call.agent, rpc.metadata.host))
            try:
                card = await runtime.dispatch(call, operation, request)
            except (ExtendedAgentCardNotConfiguredError, UnsupportedOperationError):
                card = cards.public(call.agent, rpc.metadata.host)
            await rpc.reply(legacy_message(card), answer(version, call))

        return Method(run, early=self._early, legacy=legacy)

    async def _admitted(self, rpc: Rpc, version: str) -> Call:
        """Return who calls, before the message is let in: many large ones would fill the memory."""
        call = rpc.call = rpc.session.caller(rpc.metadata, version)
        gate = self._runtime.gate
        if not gate.open:
            await gate.admit(call)
        return call

    def _route(self, call: Call, tenant: str | None) -> None:
        if tenant:
            call.tenant = tenant
            # Clients of one port name the agent by the tenant that its card told them.
            if tenant in self._runtime.agents:
                call.agent = tenant


def _codec(version: str, call: Call) -> ProtobufCodec:
    if version != V03:
        return protobuf_codec(version)
    return protobuf_codec(version, puts_text_in_bytes(call.headers.get("user-agent", "")))


def a2a_methods(runtime: Runtime, cards: Cards) -> dict[bytes, Method]:
    """Return the methods of both services by their paths."""
    found: dict[bytes, Method] = {}
    for served in (V10, V03):
        found.update(A2AService(runtime, cards, served=served).methods())
    return found
