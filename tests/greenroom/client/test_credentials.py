"""Credentials arrive where they are meant for, in every form; and nowhere else."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import anyio
import pytest

from greenroom.client import (
    ApiKey,
    AuthError,
    Basic,
    Bearer,
    Client,
    ClientCredentials,
    Digest,
    HttpError,
    Retries,
)
from greenroom.protocol.errors import PermissionDeniedError, UnauthenticatedError
from greenroom.protocol.types import Message
from tests.support.certificates import Authority
from tests.support.raw_http import Seen
from tests.support.recorder import Recorder, Reply, card_of, message, recorder

pytestmark = pytest.mark.anyio
SECRET = "s3cret-of-ada"
QUICK = Retries(attempts=1, first=0.001)


class Scheme(NamedTuple):
    """One way to be known."""

    auth: Callable[[str], Any]
    """Makes the credential; gets the URL of a token endpoint that the user trusts."""
    on_card: dict[str, Any]
    proof: str
    """A pattern of what the agent must see."""
    renews: bool = False
    """Whether a refusal is answered with a new proof."""


def oauth(url: str) -> dict[str, Any]:
    flow = {"tokenUrl": url, "scopes": {"use": ""}}
    return {"oauth2SecurityScheme": {"flows": {"clientCredentials": flow}}}


def http(name: str) -> dict[str, Any]:
    return {"httpAuthSecurityScheme": {"scheme": name}}


def key(location: str) -> dict[str, Any]:
    return {"apiKeySecurityScheme": {"location": location, "name": "Key"}}


SCHEMES = {
    "bearer": Scheme(lambda _: Bearer(SECRET), http("Bearer"), rf"Bearer {SECRET}"),
    "basic": Scheme(lambda _: Basic("ada", SECRET), http("basic"), "Basic YWRhOnMzY3JldC1vZi1hZ"),
    "header": Scheme(lambda _: ApiKey(SECRET), key("header"), rf"'key': '{SECRET}'"),
    "query": Scheme(lambda _: ApiKey(SECRET), key("query"), rf"\?Key={SECRET}"),
    "cookie": Scheme(lambda _: ApiKey(SECRET), key("cookie"), rf"'cookie': 'Key={SECRET}'"),
    "function": Scheme(lambda _: lambda: SECRET, http("bearer"), rf"Bearer {SECRET}", True),
    "digest": Scheme(lambda _: Digest("ada", SECRET), http("digest"), 'Digest user.*"ada"', True),
    "client credentials": Scheme(
        lambda url: ClientCredentials("ada", SECRET, token_url=f"{url}/token"),
        oauth("https://elsewhere.example/token"),
        "Bearer token-[0-9]+",
        True,
    ),
}  # fmt: skip
every_scheme = pytest.mark.parametrize("name", SCHEMES)
SECRETS = re.compile(rf"{SECRET}|YWRhOnMzY3JldC1vZi1hZGE|token-[0-9]|Digest user")


class Stand:
    """The agent, another server, and an authorization server that the user trusts."""

    def __init__(self, agent: Recorder, other: Recorder, tokens: Recorder) -> None:
        self.agent, self.other, self.tokens = agent, other, tokens
        self.schemes: dict[str, Any] = {}
        self.requirements: list[Mapping[str, list[str]]] = []
        self.address = agent.url
        """Where the card says that the agent is."""
        self.refusals = 0
        """Calls that are refused with 401, whatever they bring."""
        self.challenge = "Bearer"
        self.reply: Callable[[Seen], Reply | None] = lambda _: None
        """What the agent answers instead."""
        self.issued = 0
        self.lifetime: float = 600
        agent.answer = self._answer
        other.answer = lambda _: Reply(200, message())
        tokens.answer = self._token

    def _answer(self, seen: Seen) -> Reply | None:
        if "/.well-known/agent-card.json" in seen.path:
            card = card_of(self.address, schemes=self.schemes, requirements=self.requirements)
            return Reply(200, card)
        if seen.method != "POST":
            return None
        if (instead := self.reply(seen)) is not None:
            return instead
        if self.refusals:
            self.refusals -= 1
            return Reply(401, {}, [("WWW-Authenticate", self.challenge)])
        return Reply(200, message())

    def _token(self, seen: Seen) -> Reply:
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        self.issued += 1
        token = {"access_token": f"token-{self.issued}", "expires_in": self.lifetime}
        return Reply(200, {**token, "token_type": "Bearer", "scope": form.get("scope", "")})

    def requires(self, name: str, *scopes: str) -> None:
        self.schemes[name] = SCHEMES[name].on_card
        self.requirements.append({name: list(scopes)})
        if name == "digest":
            self.challenge = 'Digest realm="r", qop="auth", nonce="n1", algorithm=SHA-256'
            self.refusals = 1

    @property
    def calls(self) -> list[Seen]:
        return [seen for seen in self.agent.seen if seen.method == "POST"]


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with recorder() as agent, recorder() as other, recorder() as tokens:
        yield Stand(agent, other, tokens)


async def said(client: Client) -> str:
    async with client as agent:
        answer = await agent.run("hi")
        assert isinstance(answer, Message)
        return answer.text


@every_scheme
async def test_the_agent_sees_the_proof_that_its_card_asks_for(stand: Stand, name: str) -> None:
    stand.requires(name)
    client = Client(stand.agent.url, auth=SCHEMES[name].auth(stand.tokens.url))
    assert await said(client) == "hello"
    last = stand.calls[-1]
    assert re.search(SCHEMES[name].proof, f"{last.path} {last.headers}")
    assert not any(seen.method == "GET" and SECRETS.search(str(seen)) for seen in stand.agent.seen)


@every_scheme
async def test_a_card_of_another_origin_gets_nothing(stand: Stand, name: str) -> None:
    stand.requires(name)
    stand.address = stand.other.url
    client = Client(stand.agent.url, auth=SCHEMES[name].auth(stand.tokens.url))
    assert await said(client) == "hello"
    assert stand.other.seen
    assert not SECRETS.search(stand.other.asked())


@every_scheme
async def test_an_origin_that_the_user_lists_gets_the_proof(stand: Stand, name: str) -> None:
    if name == "digest":
        stand.other.answer = lambda seen: (
            Reply(200, message())
            if "authorization" in seen.headers
            else Reply(401, {}, [("WWW-Authenticate", 'Digest realm="r", nonce="n"')])
        )
    stand.requires(name)
    stand.address = stand.other.url
    client = Client(
        stand.agent.url,
        auth=SCHEMES[name].auth(stand.tokens.url),
        trust_origins=[stand.other.url],
    )
    assert await said(client) == "hello"
    assert re.search(SCHEMES[name].proof, stand.other.asked())


@every_scheme
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_origin_gets_nothing(
    stand: Stand, name: str, status: int
) -> None:
    stand.requires(name)
    refused = {"digest": 1}.get(name, 0)

    def redirect(seen: Seen) -> Reply | None:
        if len(stand.calls) <= refused:
            return None
        return Reply(status, {}, [("Location", f"{stand.other.url}/there")])

    stand.reply = redirect
    client = Client(stand.agent.url, auth=SCHEMES[name].auth(stand.tokens.url), retries=QUICK)
    with pytest.raises(HttpError) as raised:
        await said(client)
    assert not SECRETS.search(str(raised.value))
    assert not stand.other.seen


@every_scheme
async def test_a_card_that_downgrades_to_http_gets_nothing(
    stand: Stand, name: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.cert, authority.key)
    trusting = ssl.create_default_context(cafile=authority.ca)
    scheme = {name: SCHEMES[name].on_card}
    async with recorder(context) as safe:
        card = card_of(stand.other.url, schemes=scheme, requirements=[{name: []}])
        safe.answer = lambda _: Reply(200, card)
        auth = SCHEMES[name].auth(stand.tokens.url)
        assert await said(Client(safe.url, auth=auth, tls=trusting)) == "hello"
    assert stand.other.seen
    assert not SECRETS.search(stand.other.asked())


@every_scheme
async def test_a_refusal_is_answered_once_with_a_new_proof(stand: Stand, name: str) -> None:
    stand.requires(name)
    if name != "digest":
        stand.refusals = 1
    async with Client(stand.agent.url, auth=SCHEMES[name].auth(stand.tokens.url)) as agent:
        if SCHEMES[name].renews:
            assert isinstance(await agent.run("hi"), Message)
            assert len(stand.calls) == 2
        else:
            with pytest.raises(UnauthenticatedError):
                await agent.run("hi")
            assert len(stand.calls) == 1
        stand.refusals = 5
        stand.challenge = stand.challenge.replace("n1", "n2")
        with pytest.raises(UnauthenticatedError) as raised:
            await agent.run("hi")
        assert not SECRETS.search(str(raised.value))
        assert stand.refusals >= 3  # once more at most


async def test_a_hundred_refused_calls_renew_the_token_once(stand: Stand) -> None:
    stand.requires("client credentials")
    stand.reply = lambda seen: (
        Reply(401, {}) if seen.headers["authorization"] == "Bearer token-1" else None
    )
    auth = SCHEMES["client credentials"].auth(stand.tokens.url)
    async with Client(stand.agent.url, auth=auth) as agent, anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(agent.run, "hi")
    assert stand.issued == 2


async def test_a_token_that_is_about_to_expire_is_renewed_before_the_call(stand: Stand) -> None:
    stand.requires("client credentials")
    stand.lifetime = 1e-9
    auth = SCHEMES["client credentials"].auth(stand.tokens.url)
    async with Client(stand.agent.url, auth=auth) as agent:
        await agent.run("hi")
        stand.lifetime = 600
        await agent.run("hi")
        await agent.run("hi")
    sent = [seen.headers["authorization"] for seen in stand.calls]
    assert sent == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]


async def test_a_scope_that_is_missing_is_asked_for(stand: Stand) -> None:
    stand.requires("client credentials", "use")
    challenge = 'Bearer realm="a, b", error="insufficient_scope", scope="use admin"'
    stand.reply = lambda seen: (
        Reply(403, {}, [("WWW-Authenticate", challenge)])
        if seen.headers["authorization"] == "Bearer token-1"
        else None
    )
    auth = SCHEMES["client credentials"].auth(stand.tokens.url)
    assert await said(Client(stand.agent.url, auth=auth)) == "hello"
    asked = [parse_qs(seen.body.decode())["scope"] for seen in stand.tokens.seen]
    assert asked == [["use"], ["use admin"]]


async def test_a_scope_that_cannot_be_had_is_an_error(stand: Stand) -> None:
    stand.requires("bearer")
    stand.reply = lambda _: Reply(403, {"detail": "no"})
    with pytest.raises(PermissionDeniedError):
        await said(Client(stand.agent.url, auth=Bearer(SECRET)))
    assert len(stand.calls) == 1


async def test_a_card_that_names_a_foreign_token_endpoint_gets_no_secret(stand: Stand) -> None:
    stand.schemes["o"] = oauth(f"{stand.other.url}/token")
    stand.requirements.append({"o": []})
    with pytest.raises(AuthError, match="another server than the agent's"):
        await said(Client(stand.agent.url, auth=ClientCredentials("ada", SECRET)))
    assert not stand.other.seen
    assert not SECRETS.search(stand.agent.asked())


async def test_a_token_endpoint_of_the_agent_itself_is_used(stand: Stand) -> None:
    stand.schemes["o"] = oauth(f"{stand.agent.url}/token")
    stand.requirements.append({"o": ["use"]})
    stand.reply = lambda seen: stand._token(seen) if seen.path == "/token" else None
    assert await said(Client(stand.agent.url, auth=ClientCredentials("ada", SECRET))) == "hello"
    assert stand.calls[-1].headers["authorization"] == "Bearer token-1"


async def test_a_refused_client_is_told_why_and_not_with_what(stand: Stand) -> None:
    stand.requires("client credentials")
    stand.tokens.answer = lambda _: Reply(401, {"error": "invalid_client"})
    auth = SCHEMES["client credentials"].auth(stand.tokens.url)
    client = Client(stand.agent.url, auth=auth)
    with pytest.raises(AuthError, match="invalid_client") as raised:
        await said(client)
    assert SECRET not in f"{raised.value}{raised.value!r}{client!r}{auth!r}"
    assert len(stand.tokens.seen) == 1


async def test_of_the_alternatives_the_first_that_can_be_met_is_taken(stand: Stand) -> None:
    stand.schemes = {"b": http("bearer"), "k": key("header"), "p": http("basic")}
    stand.requirements = [{"b": [], "p": []}, {"b": [], "k": []}, {"b": []}]
    client = Client(stand.agent.url, auth=[Bearer(SECRET), ApiKey("the-key")])
    assert await said(client) == "hello"
    headers = stand.calls[-1].headers
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert headers["key"] == "the-key"


async def test_a_card_that_only_callers_may_see_is_asked_for_with_the_credential(
    stand: Stand,
) -> None:
    card = card_of(stand.agent.url)
    stand.agent.answer = lambda seen: (
        Reply(401, {})
        if seen.headers.get("authorization") != f"Bearer {SECRET}"
        else Reply(200, card if seen.method == "GET" else message())
    )
    assert await said(Client(stand.agent.url, auth=Bearer(SECRET))) == "hello"


@every_scheme
def test_secrets_do_not_show(name: str) -> None:
    auth = SCHEMES[name].auth("http://127.0.0.1:1")
    client = Client("http://ada:s3cret-of-ada@127.0.0.1:1", auth=auth, headers={"X": SECRET})
    assert SECRET not in repr(client) + repr(vars(client))
    if name != "function":
        assert SECRET not in repr(auth)
