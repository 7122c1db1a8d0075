"""The official SDK's client reads the scheme from our card and presents the credential."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc.aio
import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.client.auth import AuthInterceptor, CredentialService
from a2a.client.client import ClientCallContext
from a2a.types import Message, Part, Role, SendMessageRequest

from greenroom.auth import (
    ApiKeys,
    Introspection,
    Scheme,
    Security,
    enterprise_tokens,
    new_key,
    oauth2,
    open_id_connect,
    static_tokens,
)

from .conftest import Issuer
from .provider import CLIENT
from .serving import serving

pytestmark = pytest.mark.anyio
KEY, TEXT = new_key("ada", now=time.time())
STATIC = "a-static-token-of-some-length"


class Credential(CredentialService):
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    async def get_credentials(
        self, security_scheme_name: str, context: ClientCallContext | None
    ) -> str | None:
        return self.text if security_scheme_name == self.name else None


def introspection(issuer: Issuer) -> Introspection:
    url = f"{issuer.url}/introspect"
    return Introspection(url, client_id=CLIENT[0], client_secret=CLIENT[1])


MAKE: dict[str, Callable[[Issuer], tuple[Scheme, str]]] = {
    "static": lambda issuer: (static_tokens({"ada": STATIC}), STATIC),
    "enterprise": lambda issuer: (
        enterprise_tokens(introspection(issuer), issuer="https://platform.example"),
        issuer.opaque("of-the-platform", sub="ada"),
    ),
    "oidc": lambda issuer: (open_id_connect(issuer.url, audience="agents"), issuer.token()),
    "oauth2": lambda issuer: (
        oauth2(token_url=f"{issuer.url}/token", scopes={}, issuer=issuer.url, audience="agents"),
        issuer.token(),
    ),
    "apiKey": lambda issuer: (ApiKeys([KEY]), TEXT),
}


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON", "GRPC"])
@pytest.mark.parametrize("name", MAKE)
async def test_the_scheme_from_the_card(name: str, binding: str, issuer: Issuer) -> None:
    scheme, text = MAKE[name](issuer)
    async with serving(Security(scheme)) as server, httpx.AsyncClient() as http:
        config = ClientConfig(
            httpx_client=http,
            streaming=False,
            supported_protocol_bindings=[binding],
            grpc_channel_factory=grpc.aio.insecure_channel,
        )
        known = AuthInterceptor(Credential(scheme.name, text))
        client = await create_client(server.url, config, interceptors=[known])
        parts = [Part(text="whoami")]
        message = Message(message_id="m", role=Role.ROLE_USER, parts=parts)
        async for event in client.send_message(SendMessageRequest(message=message)):
            assert event.task.artifacts[0].parts[0].text.endswith("#ada")
        await client.close()
