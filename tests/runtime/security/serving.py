"""A server on real sockets, and one client for its three bindings."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import grpc
import grpc.aio
import msgspec
from msgspec import Struct

from greenroom import Agent, Artifact, Part, TaskContext, asgi
from greenroom.auth import Limits, Security
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.errors import ERRORS
from greenroom.protocol.protobuf import codec, v1
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.transports.client.http import request
from greenroom.transports.http.settings import HttpSettings
from greenroom.transports.server.entrypoint import ServerSettings, run

from . import older

BINDINGS = ("jsonrpc", "rest", "grpc")
OLD_BINDINGS = ("jsonrpc-0.3", "rest-0.3", "grpc-0.3")
"""Those of 0.3: other methods, paths below ``/v1``, the service ``a2a.v1``."""
_REASON = {error.code: error.reason for error in ERRORS if error.reason}


def desk() -> Agent:
    """Remembers a secret, asks, streams; has skills that need scopes."""
    agent = Agent("Desk", description="For tests.")

    @agent.handler
    async def handle(ctx: TaskContext) -> str | None:
        if ctx.text.startswith("ask"):
            answer = await ctx.ask("What?", str)
            return f"secret of the owner: {answer}"
        if ctx.text.startswith("whoami"):
            principal = ctx.principal
            return f"{principal.tenant}|{principal.owner}"
        return f"secret of the owner: {ctx.text}"

    @agent.skill("admin", scopes=["desk:admin"])
    async def admin(ctx: TaskContext) -> str:
        return "secret of the owner: done as admin"

    return agent


class Answer(Struct):
    """``outcome`` is ``ok`` or the reason of the error; ``status`` that of HTTP, or of gRPC."""

    outcome: str
    status: int | str
    body: Any
    headers: Mapping[str, str] = {}
    text: str = ""


class Server(Struct):
    """Where the server is."""

    port: int
    grpc_port: int
    app: Any
    scheme: str = "http"
    tls: ssl.SSLContext | None = None
    credentials: grpc.ChannelCredentials | None = None
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    async def call(
        self,
        binding: str,
        operation: ops.Operation,
        asked: Any,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        agent: str = "/a2a",
    ) -> Answer:
        """Carry out an operation; of a stream the first event is the answer."""
        if binding in OLD_BINDINGS:
            return await self._old(binding, operation, asked, headers or {})
        given = {"A2A-Version": "1.0", **(headers or {})}
        if binding == "grpc":
            return await self._grpc(operation, asked, given)
        body = msgspec.json.encode(asked)
        if binding == "jsonrpc":
            envelope: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": operation.name}
            envelope["params"] = msgspec.Raw(body)
            fields = {**given, "Content-Type": "application/json"}
            sent = msgspec.json.encode(envelope)
            return await self._http("POST", agent + query, fields, sent, operation)
        method, path = operation.rest[0]
        plain = msgspec.to_builtins(asked)
        for name in operation.request.__struct_fields__:
            if "{" + name + "}" in path:
                value = getattr(asked, name)
                path = path.replace("{" + name + "}", value)
                plain.pop(_camel(name), None)
        if operation.body:
            fields = {**given, "Content-Type": "application/json"}
            sent = msgspec.json.encode(plain)
            return await self._http(method, path + query, fields, sent, operation)
        pairs = "&".join(f"{name}={value}" for name, value in plain.items())
        joined = query or ("?" + pairs if pairs else "")
        return await self._http(method, path + joined, given, b"", operation)

    async def _old(
        self, binding: str, operation: ops.Operation, asked: Any, headers: Mapping[str, str]
    ) -> Answer:
        given = {"A2A-Version": "0.3", "Content-Type": "application/json", **headers}
        if binding == "grpc-0.3":
            path, body = older.grpc(operation, asked)
            return await self._invoke(operation, path, body, headers)
        if binding == "jsonrpc-0.3":
            return await self._http(
                "POST", "/a2a", given, older.jsonrpc(operation, asked), operation
            )
        method, path, body = older.rest(operation, asked)
        return await self._http(method, path, given, body, operation)

    async def _http(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        operation: ops.Operation,
    ) -> Answer:
        url = f"{self.url}{path}"
        async with request(method, url, headers=headers, body=body, tls=self.tls) as response:
            events = response.headers.get("content-type", "").startswith("text/event-stream")
            if events:
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

    async def _grpc(
        self, operation: ops.Operation, asked: Any, headers: Mapping[str, str]
    ) -> Answer:
        path = f"/lf.a2a.v1.A2AService/{operation.name}"
        answer = await self._invoke(operation, path, codec.write(v1.V1_0, asked), headers)
        if answer.outcome == "ok" and not operation.streaming and operation.response:
            body = codec.read(v1.V1_0, operation.response, answer.body)
            answer.body = body and msgspec.to_builtins(body)
        return answer

    async def _invoke(
        self, operation: ops.Operation, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        metadata = tuple((name.lower(), value) for name, value in headers.items())
        address = f"127.0.0.1:{self.grpc_port}"
        if self.credentials is None:
            opened = grpc.aio.insecure_channel(address)
        else:
            opened = grpc.aio.secure_channel(address, self.credentials)
        async with opened as channel:
            make: Any = channel.unary_stream if operation.streaming else channel.unary_unary
            call = make(path)(body, metadata=metadata)
            try:
                if operation.streaming:
                    found = await call.read()
                    call.cancel()
                    return Answer("ok", "OK", found, text=repr(found))
                found = await call
            except grpc.aio.AioRpcError as error:
                trailing = dict(error.trailing_metadata() or ())
                details = trailing.get("grpc-status-details-bin", b"")
                named = [e.reason for e in ERRORS if e.reason and e.reason.encode() in details]
                status = error.code().name
                text = repr(error.details()) + repr(details)
                told = {name: str(value) for name, value in trailing.items()}
                return Answer(named[0] if named else status, status, None, told, text)
        return Answer("ok", "OK", found, text=repr(found))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(one.title() for one in rest)


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


@asynccontextmanager
async def serving(
    security: Security,
    *agents: Agent,
    limits: Limits | None = None,
    http: HttpSettings | None = None,
    runtime: RuntimeSettings | None = None,
    listen: ServerSettings | None = None,
    with_grpc: bool = True,
    store: str = "memory://",
) -> AsyncGenerator[Server, None]:
    """Serve agents over HTTP and gRPC for as long as the block lasts."""
    app = asgi(
        *(agents or (desk(),)),
        store=store,
        http=http,
        security=security,
        limits=limits,
        runtime=runtime,
    )
    beside = None
    listen = listen or ServerSettings(port=0, tune_gc=False)
    if with_grpc:
        from greenroom.transports.grpc.server import GrpcServer
        from greenroom.transports.grpc.settings import GrpcSettings

        shared = GrpcSettings(
            port=0,
            public_url=(http or HttpSettings()).public_url,
            certfile=listen.certfile,
            keyfile=listen.keyfile,
            client_ca=listen.client_ca,
            client_certificate=listen.client_certificate,
            trusted_proxies=(http or HttpSettings()).trusted_proxies,
            forwarded_headers=(http or HttpSettings()).forwarded_headers,
        )
        beside = GrpcServer(app.runtime, shared)
        app.mount(beside)
    bound: list[str] = []
    ready = anyio.Event()

    def announce(url: str) -> None:
        bound.append(url)
        ready.set()

    async with anyio.create_task_group() as group:

        async def serve() -> None:
            await run(app, listen, announce=announce, beside=beside)

        group.start_soon(serve)
        with anyio.fail_after(10):
            await ready.wait()
        scheme, _, rest = bound[0].partition("://")
        port = int(rest.rpartition(":")[2])
        yield Server(port, beside.port if beside is not None else 0, app, scheme)
        group.cancel_scope.cancel()
    for _ in range(3):  # aborted connections close their sockets in the loop's next turns
        await anyio.lowlevel.checkpoint()


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


__all__ = ["BINDINGS", "Answer", "Artifact", "Part", "Server", "desk", "said", "send", "serving"]
