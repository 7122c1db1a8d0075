"""Clients of every binding and version: one call of the 1.0 model, one answer to look at."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import grpc
import grpc.aio
import msgspec
from msgspec import Struct

from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.errors import ERRORS
from tests.support.words import GrpcWords, JsonRpcWords, RestWords

BINDINGS = ("jsonrpc", "rest", "grpc")
OLD_BINDINGS = ("jsonrpc-0.3", "rest-0.3", "grpc-0.3")
"""Those of 0.3: other methods, paths below ``/v1``, the service ``a2a.v1``."""
_REASON = {error.code: error.reason for error in ERRORS if error.reason}


class Answer(Struct):
    """``outcome`` is ``ok`` or the reason of the error; ``status`` that of HTTP, or of gRPC."""

    outcome: str
    status: int | str
    body: Any
    headers: Mapping[str, str] = {}
    text: str = ""


class Response(Protocol):
    """An answer of HTTP whose body may still be on its way."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    async def read(self) -> bytes: ...
    def chunks(self) -> AsyncIterator[bytes]: ...


class Reachable(Protocol):
    """What a client needs of a server, however that one runs."""

    def open(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Response]:
        """Make one request of HTTP and stay with its answer."""
        ...

    def channel(self) -> grpc.aio.Channel: ...


class Client(Protocol):
    """One binding in one version."""

    async def call(
        self,
        server: Reachable,
        operation: ops.Operation,
        asked: Any,
        headers: Mapping[str, str],
        query: str,
        agent: str,
    ) -> Answer:
        """Carry out an operation; of a stream the first event is the answer."""
        ...


class JsonRpcClient:
    def __init__(self, version: str) -> None:
        self.version = version
        self._words = JsonRpcWords(version)

    async def call(
        self,
        server: Reachable,
        operation: ops.Operation,
        asked: Any,
        headers: Mapping[str, str],
        query: str,
        agent: str,
    ) -> Answer:
        fields = {"A2A-Version": self.version, "Content-Type": "application/json", **headers}
        body = self._words.request(operation, asked)
        return await over_http(server, "POST", agent + query, fields, body)


class RestClient:
    def __init__(self, version: str) -> None:
        self.version = version
        self._words = RestWords(version)

    async def call(
        self,
        server: Reachable,
        operation: ops.Operation,
        asked: Any,
        headers: Mapping[str, str],
        query: str,
        agent: str,
    ) -> Answer:
        """``query`` replaces the query of an operation that has one."""
        fields = {"A2A-Version": self.version, **headers}
        method, path, body = self._words.request(operation, asked)
        if body is not None:
            fields = {"Content-Type": "application/json", **fields}
        path = path.partition("?")[0] + query if query else path
        return await over_http(server, method, path, fields, body or b"")


class GrpcClient:
    def __init__(self, version: str) -> None:
        self.version = version
        self._words = GrpcWords(version)

    async def call(
        self,
        server: Reachable,
        operation: ops.Operation,
        asked: Any,
        headers: Mapping[str, str],
        query: str,
        agent: str,
    ) -> Answer:
        old = self.version == "0.3"
        fields = headers if old else {"A2A-Version": self.version, **headers}
        metadata = tuple((name.lower(), value) for name, value in fields.items())
        body = self._words.request(operation, asked)
        async with server.channel() as channel:
            make: Any = channel.unary_stream if operation.streaming else channel.unary_unary
            call = make(self._words.path(operation))(body, metadata=metadata)
            try:
                if operation.streaming:
                    found = await call.read()
                    call.cancel()
                    return Answer("ok", "OK", found, text=repr(found))
                found = await call
            except grpc.aio.AioRpcError as error:
                return _refused(error)
        text = repr(found)
        if not old and operation.response:
            model = self._words.response(operation, found)
            found = model and msgspec.to_builtins(model)
        return Answer("ok", "OK", found, text=text)


def _refused(error: grpc.aio.AioRpcError) -> Answer:
    trailing = dict(error.trailing_metadata() or ())
    details = trailing.get("grpc-status-details-bin", b"")
    named = [e.reason for e in ERRORS if e.reason and e.reason.encode() in details]
    status = error.code().name
    text = repr(error.details()) + repr(details)
    told = {name: str(value) for name, value in trailing.items()}
    return Answer(named[0] if named else status, status, None, told, text)


async def over_http(
    server: Reachable, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """Make one request of JSON-RPC or REST and read its answer, or its first event."""
    async with server.open(method, target, headers, body) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            text = ""
            async for chunk in response.chunks():
                text += chunk.decode()
                if "\n\n" in text:
                    break
            data = "".join(line[5:] for line in text.splitlines() if line.startswith("data:"))
            found = json.loads(data.splitlines()[0] if data else "{}")
        else:
            text = (await response.read()).decode()
            found = json.loads(text) if text else {}
    if isinstance(found, dict) and "jsonrpc" in found:
        error = found.get("error")
        outcome = "ok" if error is None else _reason_of_code(error)
        found = found.get("result", error)
    elif response.status >= 400:
        outcome = _reason(found)
    else:
        outcome = "ok"
    return Answer(outcome, response.status, found, response.headers, text)


def _reason_of_code(error: Any) -> str:
    for detail in error.get("data") or ():  # in 0.3 codes are not all the same
        if "reason" in detail:
            return str(detail["reason"])
    return _REASON.get(error["code"], str(error["code"]))


def _reason(found: Any) -> str:
    if "code" in found:  # of 0.3
        return _reason_of_code(found)
    for detail in found.get("error", {}).get("details", []):
        if "reason" in detail:
            return str(detail["reason"])
    return str(found)


CLIENTS: Mapping[str, Client] = {
    "jsonrpc": JsonRpcClient("1.0"),
    "rest": RestClient("1.0"),
    "grpc": GrpcClient("1.0"),
    "jsonrpc-0.3": JsonRpcClient("0.3"),
    "rest-0.3": RestClient("0.3"),
    "grpc-0.3": GrpcClient("0.3"),
}


def send(text: str, **more: Any) -> t.SendMessageRequest:
    """A message; ``skill`` goes to its metadata."""
    skill = more.pop("skill", None)
    message = t.Message(
        message_id=str(uuid.uuid4()),
        role=t.Role.USER,
        parts=[t.Part(text=text)],
        metadata={"skill": skill} if skill else None,
        **more,
    )
    return t.SendMessageRequest(message=message)


def said(answer: Answer) -> str:
    """The text of the artifact that a send was answered with."""
    assert answer.outcome == "ok", answer.text
    parts: Sequence[Any] = answer.body["task"]["artifacts"][0]["parts"]
    text: str = parts[0]["text"]
    return text
