"""A peer agent over gRPC (section 10), of A2A 1.0."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self

from msgspec import structs

from ....protocol.errors import (
    InvalidAgentResponseError,
    InvalidParamsError,
    ParseError,
    PermissionDeniedError,
    RefusedError,
    UnauthenticatedError,
)
from ....protocol.operations import Operation
from ....protocol.protobuf.codec import read, write
from ....protocol.protobuf.v1 import V1_0
from ....protocol.types import AgentCard, AgentInterface
from ....protocol.version import HEADER, V10
from ..addresses import ANY, AddressPolicy
from ..exchange import STREAM_SILENCE, Authorizer
from ..failures import Limits
from ..network import CheckedNetwork
from ..remote import Received
from ..requests import Outgoing
from ..urls import parse
from .connection import GrpcConnection, headers_of

_SERVICE = "/lf.a2a.v1.A2AService/"
_KEPT = 8
"""Connections without a call that an entered peer keeps."""


class GrpcPeer:
    """An agent somewhere, over gRPC: see ``peer.Peer``. Proxies are not used."""

    def __init__(
        self,
        card: AgentCard,
        interface: AgentInterface,
        *,
        metadata: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        policy: AddressPolicy = ANY,
        auth: Authorizer | None = None,
        extensions: Iterable[str] = (),
    ) -> None:
        """The URL of ``interface`` is an http or https one: ``addresses.grpc_url`` makes it."""
        self.card = card
        self.interface = interface
        self._url = parse(interface.url)
        self._metadata = {**(metadata or {}), HEADER: V10}
        if asked := ", ".join(extensions):
            self._metadata["A2A-Extensions"] = asked
        self._limits = limits or Limits()
        self._tls = tls
        self._network = CheckedNetwork(policy)
        self._auth = auth
        self._entered = False
        self._idle: list[GrpcConnection] = []

    async def __aenter__(self) -> Self:
        self._entered = True
        return self

    async def __aexit__(self, *error: object) -> None:
        self._entered = False
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.aclose()

    async def call(self, operation: Operation, asked: Any) -> Any:
        """Return the answer of a unary operation. Raises A2AError and HttpError."""
        answers = self._call(operation, asked, "", self._limits.silence)
        async with aclosing(answers) as messages:
            found = [message async for message in messages]
        if operation.response is None:
            return None
        if len(found) != 1:
            raise InvalidAgentResponseError("The agent answered a call without one message")
        return _decoded(operation, found[0])

    async def stream(
        self, operation: Operation, asked: Any, *, last_id: str = ""
    ) -> AsyncGenerator[Received, None]:
        """Yield the events of a streaming operation: see ``Remote.stream``."""
        silence = min(STREAM_SILENCE, self._limits.silence)
        async with aclosing(self._call(operation, asked, last_id, silence)) as messages:
            async for message in messages:
                yield Received(_decoded(operation, message), "")

    async def _call(
        self, operation: Operation, asked: Any, last_id: str, silence: float
    ) -> AsyncGenerator[bytes, None]:
        if self.interface.tenant and not asked.tenant:
            asked = structs.replace(asked, tenant=self.interface.tenant)
        try:
            body = write(V1_0, asked)
        except InvalidAgentResponseError as error:
            raise InvalidParamsError(str(error)) from None
        path = _SERVICE + operation.name
        for last in (self._auth is None, True):
            request = Outgoing("POST", str(self._url), dict(self._metadata), body)
            if last_id:
                request.headers["Last-Event-ID"] = last_id
            if self._auth is not None:
                await self._auth.authorize(request)
            try:
                async with aclosing(self._messages(path, request, silence)) as messages:
                    async for message in messages:
                        yield message
                return
            except (UnauthenticatedError, PermissionDeniedError) as error:
                if last or self._auth is None or not await self._again(request, error):
                    raise

    async def _again(self, request: Outgoing, error: RefusedError) -> bool:
        assert self._auth is not None
        challenge = error.headers.get("www-authenticate", "")
        return await self._auth.refused(request, error.http, challenge)

    async def _messages(
        self, path: str, request: Outgoing, silence: float
    ) -> AsyncGenerator[bytes, None]:
        connection = await self._connection()
        try:
            headers = headers_of(self._url, path, request.headers)
            async with aclosing(connection.call(headers, request.body, silence)) as messages:
                async for message in messages:
                    yield message
        finally:
            if connection.usable and self._entered and len(self._idle) < _KEPT:
                self._idle.append(connection)
            else:
                await connection.aclose()

    async def _connection(self) -> GrpcConnection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.spoken_to:
                return connection
            await connection.aclose()
        return await GrpcConnection.connect(self._network, self._url, self._limits, self._tls)


def _decoded(operation: Operation, message: bytes) -> Any:
    assert operation.response is not None
    try:
        return read(V1_0, operation.response, message)
    except (ParseError, InvalidParamsError) as error:
        raise InvalidAgentResponseError(f"The agent's answer is not A2A 1.0: {error}") from error
