"""Cards that are believed before anything is said: by the command line, and by the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from greenroom import Agent
from greenroom.auth import Security, SigningKey, static_tokens
from greenroom.cli.main import main
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.cards.coverage import uncovered
from greenroom.protocol.cards.shapes import card_json, parse_card
from greenroom.protocol.cards.signing import SignatureError, sign, verify
from greenroom.transports.client.http import request
from greenroom.transports.client.peer import Peer, PeerError, Trust
from tests.protocol.cards.test_signing import KEYS, MAKE, SECURED, card, pem, signed_by_the_sdk
from tests.runtime.security.serving import serving
from tests.support.agents import desk
from tests.support.clients import BINDINGS, send
from tests.support.clock import on_asyncio

__all__ = ["on_asyncio"]

KEY = KEYS["ES256"]
LEGACY = t.AgentInterface(
    url="https://a.example/v03", protocol_binding="JSONRPC", protocol_version="0.3"
)


def published(**more: Any) -> dict[str, Any]:
    """A signed card in the shape that clients of every version read."""
    given = card(**{**SECURED, **more})
    given = structs.replace(given, supported_interfaces=[*given.supported_interfaces, LEGACY])
    body: dict[str, Any] = json.loads(card_json(sign(given, [KEY]), "both"))
    return body


def beside(plain: dict[str, Any] | bytes) -> list[str]:
    body = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    received = parse_card(body)
    assert verify(received, [KEY.public])  # the signature itself says nothing of it
    return uncovered(body, received)


def test_what_is_signed_and_what_is_not() -> None:
    assert beside(json.loads(card_json(sign(card(), [KEY]), "1.0"))) == []
    found = beside(published())
    assert {"url", "security", "securitySchemes.token.type", "protocolVersion"} <= set(found)
    assert not {"name", "skills", "signatures", "supportedInterfaces"} & set(found)
    assert "x-more" in beside({**published(), "x-more": 1})
    empty = {**published(), "iconUrl": None, "provider": None, "additionalInterfaces": []}
    assert set(beside(empty)) <= set(found)


CHANGES: dict[str, dict[str, Any]] = {
    "another address": {"url": "https://evil.example/"},
    "another transport": {"preferredTransport": "GRPC"},
    "another address beside": {
        "additionalInterfaces": [{"url": "https://evil.example/", "transport": "JSONRPC"}]
    },
    "addresses of no shape": {"additionalInterfaces": 7},
    "an address of no shape": {"url": ["https://evil.example/"]},
    "a transport of no shape": {"preferredTransport": {"GRPC": 1}},
    "nothing required": {"security": []},
    "something else required": {"security": [{"mtls": []}]},
    "an extended card": {"supportsAuthenticatedExtendedCard": True},
    "a scheme by another name": {
        "securitySchemes": {
            **published()["securitySchemes"],
            "token": {**published()["securitySchemes"]["token"], "scheme": "basic"},
        }
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_members_of_another_version_that_contradict(name: str) -> None:
    with pytest.raises(SignatureError, match=r"contradicts|cannot be read"):
        beside({**published(), **CHANGES[name]})


OAUTH: dict[str, Any] = {
    "security_schemes": {
        "code": t.SecurityScheme(
            oauth2_security_scheme=t.OAuth2SecurityScheme(
                flows=t.OAuthFlows(
                    authorization_code=t.AuthorizationCodeOAuthFlow(
                        authorization_url="https://login.example/a",
                        token_url="https://login.example/t",
                        scopes={},
                    ),
                    password=t.PasswordOAuthFlow(token_url="https://login.example/p", scopes={}),
                )
            )
        )
    },
    "supported_interfaces": [
        t.AgentInterface(
            url="https://a.example:443", protocol_binding="GRPC", protocol_version="1.0"
        )
    ],
}
EVIL = "https://evil.example/"


def test_what_is_read_is_what_was_signed() -> None:
    """Not what would have been published of it: one flow, and the bare address."""
    flows = ("securitySchemes", "code", "oauth2SecurityScheme", "flows")
    for shape in ("1.0", "both"):
        more = {"supported_interfaces": [*OAUTH["supported_interfaces"], LEGACY]}
        signed = card_json(sign(card(**{**OAUTH, **more}), [KEY]), shape)
        assert "url" in beside(signed) or shape == "1.0"
        for path, value in (
            ((*flows, "clientCredentials"), {"tokenUrl": EVIL, "scopes": {}}),
            ((*flows, "password"), {"tokenUrl": EVIL, "scopes": {}}),
            (("supportedInterfaces", 0, "url"), "http://a.example:443//"),
            (("supportedInterfaces", 0, "url"), "evil.example/x://a.example:443"),
        ):
            forged = json.loads(signed)
            inner = forged
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = value
            with pytest.raises(SignatureError, match="does not verify"):
                beside(forged)


def test_members_of_the_other_version_in_other_spellings() -> None:
    """Clients in Go take them for those members, whether or not these are there."""
    current = json.loads(card_json(sign(card(), [KEY]), "1.0"))
    legacy = json.loads(
        card_json(sign(card(**{**SECURED, "supported_interfaces": [LEGACY]}), [KEY]), "0.3")
    )
    assert beside(current) == beside(legacy) == []
    spelt = [{"url": LEGACY.url, "transport": "JSONRPC", "URL": EVIL}]
    for given, more in (
        (current, {"Url": EVIL}),
        (current, {"Security": [{"x": []}]}),
        (current, {"IconURL": EVIL}),
        (published(), {"SECURITY": []}),
        (published(), {"additionalInterfaces": spelt}),
        (legacy, {"URL": EVIL}),
        (legacy, {"additionalInterfaces": spelt}),
        (legacy, {"SupportedInterfaces": [{"url": EVIL}]}),
        (legacy, {"securityRequirements": [{}]}),
        (legacy, {"Security": []}),
    ):
        with pytest.raises(SignatureError, match=r"beside|take for|contradicts"):
            beside({**given, **more})
    assert beside({**legacy, "x-more": 1}) == ["x-more"]


def test_members_that_readers_may_take_or_leave() -> None:
    text = json.dumps(published())
    for first in (
        '"name": "Evil", ',
        '"supportedInterfaces": [], ',
        '"supported_interfaces": [{"url": "https://evil.example"}], ',
        '"security_requirements": [], ',
        '"Name": "Evil", ',
        '"SUPPORTED_INTERFACES": [{"url": "https://evil.example"}], ',
    ):
        with pytest.raises(SignatureError, match=r"twice|beside"):
            beside(b"{" + first.encode() + text[1:].encode())
    inner = text.replace('"capabilities": {', '"capabilities": {"push_notifications": true, ')
    with pytest.raises(SignatureError, match=r"capabilities\.push_notifications beside"):
        beside(inner.encode())
    # In what is the user's own, names are as they are.
    own = t.AgentExtension(uri="u", params={"a_b": 1, "aB": 2, "AB": 3})
    extended = card(capabilities=t.AgentCapabilities(extensions=[own]))
    assert beside(json.loads(card_json(sign(extended, [KEY]), "1.0"))) == []


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, file = tmp_path / "key.pem", tmp_path / "card.json"
    key.write_bytes(pem(KEY.private))
    ask = ["card", "verify", str(file), "--key", str(key)]
    file.write_text(json.dumps(published()))
    assert main(ask) == 0
    assert "not signed: protocolVersion, url" in capsys.readouterr().err
    file.write_text(json.dumps({**published(), "url": "https://evil.example/"}))
    assert main(ask) == 1
    assert "evil.example" in capsys.readouterr().err
    file.write_text('{"name": "Evil", ' + json.dumps(published())[1:])
    assert main(ask) == 1
    assert "'name' is given twice" in capsys.readouterr().err


def test_signing_for_the_sdk_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file, stripped = (tmp_path / name for name in ("key.pem", "card.json", "stripped.json"))
    key.write_bytes(pem(KEY.private))
    file.write_bytes(card_json(card(**SECURED), "1.0"))
    for more, count, why in (
        ([], 1, "does not verify"),
        (["--sdk-form"], 2, "--accept-sdk-form"),
    ):
        assert main(["card", "sign", str(file), "--key", str(key), *more]) == 0
        signed = json.loads(capsys.readouterr().out)
        assert len(signed["signatures"]) == count
        del signed["securityRequirements"]
        stripped.write_text(json.dumps(signed))
        assert main(["card", "verify", str(stripped), "--key", str(key)]) == 1
        assert why in capsys.readouterr().err


# --- the client ---------------------------------------------------------------------------------

TOKEN = "a static token of some length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ELSEWHERE = "http://127.0.0.1:1"


def signed_desk(public_url: str = ELSEWHERE) -> tuple[Security, str]:
    return (
        Security(static_tokens({"ada": TOKEN}), signing=[KEY]),
        public_url,
    )


@pytest.mark.anyio
async def test_keys_come_by_https_only() -> None:
    """Whoever would answer by http; from this very machine they may, where they were named."""
    security, public_url = signed_desk()
    async with serving(security, public_url=public_url, with_grpc=False) as server:
        jku = f"{server.url}/.well-known/jwks.json"
        signed = sign(card(), [SigningKey(pem(KEY.private), jku=jku)])
        with pytest.raises(SignatureError, match="no trusted key"):
            await Trust(hosts=("127.0.0.1",)).verify(card_json(signed, "1.0"))
        assert await Trust(jwks=(jku,)).verify(card_json(signed, "1.0"))
    with pytest.raises(ValueError, match=r"http://keys\.example/.* https://"):
        Trust(jwks=("http://keys.example/jwks.json",))


@pytest.mark.anyio
async def test_the_client_talks_to_whom_it_trusts_only() -> None:
    other = SigningKey(pem(MAKE["ES256"]())).public
    # Where the server will be is on its card, so a first start finds a free port.
    async with serving(Security(static_tokens({"ada": TOKEN})), with_grpc=False) as server:
        port = server.port
    from greenroom.transports.server.settings import ServerSettings
    from greenroom.transports.settings import Listen

    security, public_url = signed_desk(f"http://127.0.0.1:{port}")
    listen = ServerSettings(listen=Listen(port=port), tune_gc=False)
    async with serving(security, public_url=public_url, listen=listen, with_grpc=False) as server:
        for keys in ((KEY.public,), (structs.replace(KEY.public, kid=""), other)):
            peer = await Peer.connect(server.url, headers=BEARER, trust=Trust(keys=keys))
            assert (await peer.call(ops.SEND, send("hello"))).task is not None
        jwks = Trust(jwks=(f"{server.url}/.well-known/jwks.json",))
        assert await Peer.connect(server.url, trust=jwks)
        for nobody in (Trust(keys=(other,)), Trust(hosts=("127.0.0.1",)), Trust()):
            with pytest.raises(PeerError, match="not trusted"):
                await Peer.connect(server.url, headers=BEARER, trust=nobody)
    async with serving(Security(static_tokens({"ada": TOKEN})), with_grpc=False) as server:
        with pytest.raises(PeerError, match="not signed"):
            await Peer.connect(server.url, trust=Trust(keys=(KEY.public,)))
        assert await Peer.connect(server.url)


@pytest.mark.anyio
async def test_what_the_command_sends_only_to_the_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import anyio.to_thread

    mine, other = tmp_path / "mine.pem", tmp_path / "other.pem"
    mine.write_bytes(pem(KEY.private))
    other.write_bytes(pem(MAKE["ES256"]()))
    security, public_url = signed_desk()
    async with serving(security, public_url=public_url, with_grpc=False) as server:

        async def ask(*more: str) -> tuple[int, str]:
            words = ["send", server.url, "hello", "--header", f"Authorization: Bearer {TOKEN}"]
            code = await anyio.to_thread.run_sync(main, [*words, *more])
            return code, capsys.readouterr().err

        code, told = await ask("--trust-key", str(other))
        assert (code, "not trusted" in told) == (3, True)
        code, told = await ask("--trust-host", "agents.example.com")
        assert (code, "not trusted" in told) == (3, True)
        code, told = await ask("--trust-key", str(tmp_path / "none.pem"))
        assert (code, "none.pem" in told) == (2, True)
        # Believed, it leads where the signed card says, which is not where it was fetched.
        code, told = await ask("--trust-key", str(mine))
        assert (code, "not trusted" in told) == (3, False)
        async with request("GET", f"{server.url}/.well-known/jwks.json") as response:
            (tmp_path / "jwks.json").write_bytes(await response.read())
        code, told = await ask("--trust-jwks", str(tmp_path / "jwks.json"))
        assert (code, "not trusted" in told) == (3, False)


@pytest.mark.anyio
async def test_an_extended_card_is_signed() -> None:
    agent = desk()
    secret = t.AgentSkill(id="secret", name="Secret", description="For some.", tags=["x"])
    extended = Agent("Desk", extended_skills=[secret])
    extended.handler(lambda ctx: "hi")
    assert agent.slug == extended.slug
    security, public_url = signed_desk()
    async with serving(security, extended, public_url=public_url) as server:
        asked = t.GetExtendedAgentCardRequest()
        for binding in BINDINGS:
            answer = await server.call(binding, ops.EXTENDED_CARD, asked, BEARER)
            found = parse_card(json.dumps(answer.body).encode())
            assert [skill.id for skill in found.skills][-1] == "secret"
            assert verify(found, [KEY.public]).kid == KEY.kid


def test_the_sdk_alone_signs_what_it_leaves_out() -> None:
    """Its signatures bear no mark, so that trust in a key is trust in all that it signs: said in
    the documentation."""
    received = signed_by_the_sdk("ES256", card(**SECURED))
    with pytest.raises(SignatureError):
        verify(received, [KEY.public])
