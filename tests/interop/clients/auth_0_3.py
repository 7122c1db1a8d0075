# mypy: ignore-errors
"""Programs with credentials, written with the official SDK 0.3.x.

Its interceptor is asked over JSON-RPC only; REST and gRPC take no notice of it.
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager

import driver
import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.auth import AuthInterceptor, CredentialService
from a2a.client.middleware import ClientCallContext
from a2a.types import Message, Part, TaskArtifactUpdateEvent, TaskQueryParams, TextPart
from credentials import channels, granted, presented, refusal, tls_context, token_endpoint

BINDINGS = {"jsonrpc": "JSONRPC", "rest": "HTTP+JSON", "grpc": "GRPC"}


class Held(CredentialService):
    def __init__(self, texts):
        self.texts = texts

    async def get_credentials(self, security_scheme_name, context):
        return self.texts.get(security_scheme_name)


class Hook(grpc.aio.UnaryUnaryClientInterceptor):
    """Metadata on the calls of a channel."""

    def __init__(self, headers):
        self.headers = [(name.lower(), value) for name, value in headers.items()]

    def more(self, details):
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *self.headers)
        return details._replace(metadata=metadata)

    async def intercept_unary_unary(self, call, details, request):
        return await call(self.more(details), request)


class StreamHook(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, hook):
        self.hook = hook

    async def intercept_unary_stream(self, call, details, request):
        return await call(self.hook.more(details), request)


def scheme_of(scheme):
    found = scheme.root
    if found.type == "apiKey":
        return "apiKey", found.name, found.in_.value
    return (found.scheme if found.type == "http" else "bearer"), "", ""


async def texts_of(card, credentials):
    """Exchange what a program was registered with for tokens, where the card says."""
    value = {}
    for name, held in credentials.items():
        scheme = card.security_schemes[name].root
        if isinstance(held, str):
            value[name] = held
            continue
        if scheme.type == "oauth2":
            url = scheme.flows.client_credentials.token_url
        else:
            url = await token_endpoint(scheme.open_id_connect_url)
        required = next(one[name] for one in card.security if name in one)
        value[name] = await granted(url, held["client"], required)
    return value


def all_presented(card, texts):
    headers, params = {}, {}
    for requirement in card.security or ():
        for name in requirement:
            if name in texts:
                more = presented(scheme_of(card.security_schemes[name]), texts[name])
                headers, params = {**headers, **more[0]}, {**params, **more[1]}
    return headers, params


@asynccontextmanager
async def connect(url, transport, credentials, tls, hook, streaming):
    """Yields a client, and the context of its calls."""
    async with httpx.AsyncClient(timeout=15, verify=tls_context(tls)) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        texts = await texts_of(card, credentials)
        headers, params = all_presented(card, texts) if hook else ({}, {})
        metadata = Hook(headers)
        config = ClientConfig(
            streaming=streaming,
            httpx_client=http,
            supported_transports=[BINDINGS[transport]],
            grpc_channel_factory=channels(tls, [metadata, StreamHook(metadata)]),
        )
        interceptors = [] if hook else [AuthInterceptor(Held(texts))]
        client = ClientFactory(config).create(card, interceptors=interceptors)
        http.params = http.params.merge(params)  # a call has none of its own
        context = ClientCallContext(state={"http_kwargs": {"headers": headers}})
        try:
            yield client, context
        finally:
            if transport == "grpc":
                await client._transport.close()


def whoami():
    parts = [Part(root=TextPart(text="whoami"))]
    return Message(message_id=str(uuid.uuid4()), role="user", parts=parts)


async def send(url, transport, credentials, tls=None, hook=False):
    made = connect(url, transport, credentials, tls, hook, streaming=False)
    async with made as (client, context):
        [(task, _)] = [item async for item in client.send_message(whoami(), context=context)]
        task = await client.get_task(TaskQueryParams(id=task.id), context=context)
    assert task.status.state == "completed"
    return task.artifacts[0].parts[0].root.text


async def stream(url, transport, credentials, tls=None, hook=False):
    made = connect(url, transport, credentials, tls, hook, streaming=True)
    async with made as (client, context):
        events = [item[1] async for item in client.send_message(whoami(), context=context)]
    [update] = [one for one in events if isinstance(one, TaskArtifactUpdateEvent)]
    return update.artifact.parts[0].root.text


def describe_error(error):
    return refusal(error) or refusal(error.__cause__)


if __name__ == "__main__":
    driver.serve({"send": send, "stream": stream}, describe_error)
