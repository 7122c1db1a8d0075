# mypy: ignore-errors
"""Programs with credentials, written with the official SDK 1.x."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager

import driver
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.auth import AuthInterceptor, CredentialService
from a2a.client.client import ClientCallContext
from a2a.client.errors import A2AClientError
from a2a.client.interceptors import ClientCallInterceptor
from a2a.types import GetTaskRequest, Message, Part, Role, SendMessageRequest, TaskState
from credentials import channels, granted, presented, refusal, tls_context, token_endpoint

BINDINGS = {"jsonrpc": "JSONRPC", "rest": "HTTP+JSON", "grpc": "GRPC"}


class Held(CredentialService):
    def __init__(self, texts):
        self.texts = texts

    async def get_credentials(self, security_scheme_name, context):
        return self.texts.get(security_scheme_name)


class Hook(ClientCallInterceptor):
    """What the SDK's own interceptor passes over: Basic, and API keys outside the header."""

    def __init__(self, texts, http):
        self.texts, self.http = texts, http

    async def before(self, args):
        for requirement in args.agent_card.security_requirements:
            for name in requirement.schemes:
                if name in self.texts:
                    told = scheme_of(args.agent_card.security_schemes[name])
                    headers, params = presented(told, self.texts[name])
                    args.context = args.context or ClientCallContext()
                    before = args.context.service_parameters or {}
                    args.context.service_parameters = {**before, **headers}
                    self.http.params = self.http.params.merge(params)  # a call has none of its own

    async def after(self, args):
        pass


def scheme_of(scheme):
    if scheme.HasField("api_key_security_scheme"):
        found = scheme.api_key_security_scheme
        return "apiKey", found.name, found.location
    if scheme.HasField("http_auth_security_scheme"):
        return scheme.http_auth_security_scheme.scheme, "", ""
    return "bearer", "", ""


async def texts_of(card, credentials):
    """Exchange what a program was registered with for tokens, where the card says."""
    value = {}
    for name, held in credentials.items():
        scheme = card.security_schemes[name]
        if isinstance(held, str):
            value[name] = held
            continue
        if scheme.HasField("oauth2_security_scheme"):
            url = scheme.oauth2_security_scheme.flows.client_credentials.token_url
        else:
            url = await token_endpoint(scheme.open_id_connect_security_scheme.open_id_connect_url)
        required = next(one.schemes for one in card.security_requirements if name in one.schemes)
        value[name] = await granted(url, held["client"], required[name].list)
    return value


@asynccontextmanager
async def connect(url, transport, credentials, tls, hook, streaming):
    async with httpx.AsyncClient(timeout=15, verify=tls_context(tls)) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        config = ClientConfig(
            streaming=streaming,
            httpx_client=http,
            supported_protocol_bindings=[BINDINGS[transport]],
            grpc_channel_factory=channels(tls),
        )
        texts = await texts_of(card, credentials)
        with_credentials = Hook(texts, http) if hook else AuthInterceptor(Held(texts))
        client = ClientFactory(config).create(card, [with_credentials])
        try:
            yield client
        finally:
            await client.close()


def whoami():
    parts = [Part(text="whoami")]
    message = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=parts)
    return SendMessageRequest(message=message)


async def send(url, transport, credentials, tls=None, hook=False):
    async with connect(url, transport, credentials, tls, hook, streaming=False) as client:
        [answer] = [item async for item in client.send_message(whoami())]
        task = await client.get_task(GetTaskRequest(id=answer.task.id))
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    return task.artifacts[0].parts[0].text


async def stream(url, transport, credentials, tls=None, hook=False):
    async with connect(url, transport, credentials, tls, hook, streaming=True) as client:
        events = [item async for item in client.send_message(whoami())]
    [update] = [one.artifact_update for one in events if one.HasField("artifact_update")]
    return update.artifact.parts[0].text


def describe_error(error):
    return refusal(error.__cause__) if isinstance(error, A2AClientError) else None


if __name__ == "__main__":
    driver.serve({"send": send, "stream": stream}, describe_error)
