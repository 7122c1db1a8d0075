"""RFC 9728: from a refusal to a token, with nothing known but the agent's address."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from msgspec import structs

from greenroom import Agent
from greenroom.auth import (
    ApiKeys,
    Introspection,
    Policy,
    Scheme,
    Security,
    oauth2,
    open_id_connect,
    static_tokens,
)
from greenroom.protocol import operations as ops
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.transports.client.http import request
from greenroom.transports.http.asgi import Application
from tests.runtime.security.serving import serving
from tests.support.agents import desk
from tests.support.asgi import Wire, scope_of
from tests.support.clients import said, send
from tests.support.issuer import Issuer
from tests.support.provider import CALLER, CLIENT, basic

pytestmark = pytest.mark.anyio
WELL_KNOWN = "/.well-known/oauth-protected-resource"


def oauth(issuer: Issuer, **more: Any) -> Scheme:
    scopes = {"desk:use": "Talk to the desk", "desk:see": "Look at it"}
    url = f"{issuer.url}/token"
    return oauth2(token_url=url, scopes=scopes, issuer=issuer.url, audience="agents", **more)


def other() -> Agent:
    agent = Agent("Other", slug="other")
    agent.handler(lambda ctx: "hi")
    return agent


async def get(url: str) -> tuple[int, dict[str, Any]]:
    async with request("GET", url) as response:
        return response.status, json.loads(await response.read())


def tell(found: str) -> str:
    [url] = re.findall(r'Bearer resource_metadata="([^"]+)", realm=', found)
    return str(url)


@pytest.mark.parametrize(
    ("binding", "path"), [("jsonrpc", "/a2a"), ("jsonrpc", "/a2a/agents/desk/"), ("rest", "")]
)
async def test_from_a_refusal_to_a_token(binding: str, path: str, issuer: Issuer) -> None:
    policy = Policy(agents={"desk": ["desk:use"]})
    async with serving(Security(oauth(issuer), policy=policy)) as server:
        refused = await server.call(binding, ops.SEND, send("whoami"), agent=path)
        assert refused.status == 401
        found = tell(refused.headers["www-authenticate"])
        assert found == f"{server.url}{WELL_KNOWN}{path}"
        _, document = await get(found)
        assert document == {
            "resource": server.url + path,  # as the client reached it (section 3.3)
            "resource_name": "Desk",
            "authorization_servers": [issuer.url],
            "scopes_supported": ["desk:see", "desk:use"],
            "bearer_methods_supported": ["header"],
        }
        [vouching] = document["authorization_servers"]
        _, provider = await get(f"{vouching}/.well-known/openid-configuration")
        wanted = "+".join(document["scopes_supported"])
        form = f"grant_type=client_credentials&scope={wanted}".encode()
        headers = {"Authorization": basic(*CALLER)}
        async with request(
            "POST", provider["token_endpoint"], headers=headers, body=form
        ) as response:
            token = json.loads(await response.read())["access_token"]
        good = {"Authorization": f"Bearer {token}"}
        answer = await server.call(binding, ops.SEND, send("whoami"), good, agent=path)
        assert said(answer).endswith("#ada")
        less = {"Authorization": f"Bearer {issuer.token(scope='desk:see')}"}
        answer = await server.call(binding, ops.SEND, send("whoami"), less, agent=path)
        assert answer.status == 403
        assert tell(answer.headers["www-authenticate"]) == found
        assert 'scope="desk:use"' in answer.headers["www-authenticate"]


async def test_refusals_over_grpc(issuer: Issuer) -> None:
    public_url = "https://agents.example.com/here/"
    policy = Policy(agents={"desk": ["desk:use"]})
    security = Security(oauth(issuer), policy=policy)
    async with serving(security, public_url=public_url) as server:
        for token, status in (("x", "UNAUTHENTICATED"), (issuer.token(), "PERMISSION_DENIED")):
            headers = {"Authorization": f"Bearer {token}"}
            answer = await server.call("grpc", ops.SEND, send("hi"), headers)
            assert answer.status == status
            challenges = answer.headers["www-authenticate"]
            assert tell(challenges) == f"https://agents.example.com/here{WELL_KNOWN}"
    async with serving(
        security, desk(), other(), public_url=public_url
    ) as server:  # read, so the agent is known
        asked = structs.replace(send("hi"), tenant="desk")
        refused = await server.call("grpc", ops.SEND, asked, headers)
        assert tell(refused.headers["www-authenticate"]).endswith(WELL_KNOWN)
    policy = Policy(agents={"other": ["other:use"]})
    async with serving(
        Security(oauth(issuer), policy=policy), desk(), other(), public_url=public_url
    ) as server:
        asked = structs.replace(send("hi"), tenant="other")
        refused = await server.call("grpc", ops.SEND, asked, headers)
        assert refused.status == "PERMISSION_DENIED"
        assert tell(refused.headers["www-authenticate"]).endswith(f"{WELL_KNOWN}/a2a/agents/other")
    async with serving(security) as server:  # nobody said where HTTP is
        challenges = (await server.call("grpc", ops.SEND, send("hi"))).headers["www-authenticate"]
        assert challenges.startswith("Bearer realm=")


async def test_each_agent_is_a_resource(issuer: Issuer) -> None:
    security = Security(
        ApiKeys([]),
        open_id_connect(issuer.url, audience="agents"),
        policy=Policy(agents={"other": ["other:use"]}),
    )
    public_url = "https://agents.example.com/here/"
    async with serving(security, desk(), other(), public_url=public_url) as server:
        refused = await server.call("jsonrpc", ops.SEND, send("hi"), agent="/a2a/agents/other")
        challenges = refused.headers["www-authenticate"]
        assert challenges.startswith("ApiKey realm=")
        base = "https://agents.example.com/here"
        assert tell(challenges) == f"{base}{WELL_KNOWN}/a2a/agents/other"
        _, document = await get(f"{server.url}{WELL_KNOWN}/a2a/agents/other")
        assert document["resource"] == f"{base}/a2a/agents/other"
        assert document["resource_name"] == "Other"
        _, document = await get(f"{server.url}{WELL_KNOWN}")
        assert document["resource"] == base
        assert "scopes_supported" not in document
        assert (await get(f"{server.url}{WELL_KNOWN}/elsewhere"))[0] == 404


async def test_who_issues_opaque_tokens_may_be_unknown(issuer: Issuer) -> None:
    introspection = Introspection(
        f"{issuer.url}/introspect", client_id=CLIENT[0], client_secret=CLIENT[1]
    )
    scheme = oauth2(token_url=f"{issuer.url}/token", scopes={}, introspection=introspection)
    async with serving(Security(scheme), with_grpc=False) as server:
        _, document = await get(f"{server.url}{WELL_KNOWN}")
        assert "authorization_servers" not in document


async def test_not_where_nobody_issues_tokens() -> None:
    for security in (Security(static_tokens("a token of some length")), Security()):
        async with serving(security, other(), with_grpc=False) as server:
            assert (await get(f"{server.url}{WELL_KNOWN}"))[0] == 404
            answer = await server.call("rest", ops.SEND, send("hi"))
            assert "resource_metadata" not in answer.headers.get("www-authenticate", "")


@pytest.mark.parametrize(
    "path",
    [
        "/a2a%2Fagents%2Fx%22%2C%20error_uri=%22x/tasks",
        "/a2a%2Fagents%2Fdesk%0d%0aevil:%20x/tasks",
        "/a2a/agents/desk%00/tasks",
        "/a2a%2Fagents%2F%E2%82%AC/tasks",
        "/%0d%0a/tasks",
        "/\u20ac/tasks",
    ],
)
async def test_nothing_of_the_callers_path_gets_into_a_challenge(path: str, issuer: Issuer) -> None:
    runtime = Runtime([desk(), other()], store=MemoryStore(), security=Security(oauth(issuer)))
    app = Application(runtime)
    async with app.lifespan():
        fields = [("a2a-version", "1.0")]
        scope = scope_of("GET", path, fields, raw_path=path.encode())
        wire = Wire(app, scope, [b""])
        await wire.run()
        assert wire.error is None
        assert wire.status in (401, 404)
        header = b" ".join(value for _, value in wire.headers)
        assert b"evil" not in header
        assert b"error_uri" not in header
        if wire.status == 401:
            assert b'/.well-known/oauth-protected-resource", realm=' in header
