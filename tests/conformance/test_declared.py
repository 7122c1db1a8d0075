"""The card says what is there, and what it says is there (sections 4.4, 5.2; 5.5, 5.6 of 0.3)."""

from __future__ import annotations

import json

import pytest

from tests.support.agents import EXTENSION
from tests.support.asgi import request

from .conftest import Served, said
from .dialects import JSONRPC, JSONRPC_03, REST, REST_03, Answer, Dialect, Json
from .errors import refused

pytestmark = pytest.mark.anyio

WITH = [("a2a-extensions", EXTENSION)]
SLUGS = ["stage", "direct", "quiet", "strict"]
REQUIRED = (  # a2a.proto
    "name", "description", "supportedInterfaces", "version", "capabilities", "defaultInputModes",
    "defaultOutputModes", "skills",
)  # fmt: skip
REQUIRED_03 = (  # a2a.schema.json
    "name", "description", "url", "version", "capabilities", "defaultInputModes",
    "defaultOutputModes", "skills", "protocolVersion", "preferredTransport",
)  # fmt: skip
SPEAKERS: dict[tuple[str, str], Dialect] = {
    ("JSONRPC", "1.0"): JSONRPC,
    ("HTTP+JSON", "1.0"): REST,
    ("JSONRPC", "0.3"): JSONRPC_03,
    ("HTTP+JSON", "0.3"): REST_03,
}


async def card(served: Served, slug: str, version: str | None = None) -> Json:
    headers = [] if version is None else [("a2a-version", version)]
    path = f"/a2a/agents/{slug}/.well-known/agent-card.json"
    answer = await request(served.app, "GET", path, headers=headers)
    assert answer.status == 200
    body: Json = answer.json
    return body


@pytest.mark.parametrize("slug", SLUGS)
async def test_required_members_of_a_card(served: Served, slug: str) -> None:
    for version, required in ((None, REQUIRED), ("1.0", REQUIRED), ("0.3", REQUIRED_03)):
        declared = await card(served, slug, version)
        for name in required:
            assert name in declared
            assert declared[name] not in ("", [], None), name
        for skill in declared["skills"]:
            assert all(skill[name] for name in ("id", "name", "description", "tags"))


@pytest.mark.parametrize("slug", SLUGS)
async def test_every_binding_is_declared_and_every_declaration_is_true(
    served: Served, slug: str
) -> None:
    agent_card = await card(served, slug)
    declared = {
        (one["protocolBinding"], one["protocolVersion"]): one["url"]
        for one in agent_card["supportedInterfaces"]
    }
    assert set(declared) == set(SPEAKERS)
    for key, dialect in SPEAKERS.items():
        base = declared[key].removeprefix("http://agent.test")
        at = base.rstrip("/").removesuffix("/a2a") if key[0] == "JSONRPC" else base
        answer = await _asked(served, dialect, base, at)
        refused(dialect, answer, "TaskNotFound")


async def _asked(served: Served, dialect: Dialect, base: str, at: str) -> Answer:
    if dialect in (REST, REST_03):
        return await dialect.call(served.app, "GetTask", {"id": "x"}, headers=WITH, at=at)
    _, _, body = dialect.request("GetTask", {"id": "x"})
    headers = dialect.headers(WITH, body)
    raw = json.dumps(body).encode()
    return dialect.read(await request(served.app, "POST", base, headers=headers, body=raw))


@pytest.mark.parametrize("slug", SLUGS)
async def test_03_declares_its_main_address_and_the_others(served: Served, slug: str) -> None:
    """Sections 5.6.1, 5.6.2 and 5.6.4 of 0.3."""
    declared = await card(served, slug, "0.3")
    others = {(one["transport"], one["url"]) for one in declared["additionalInterfaces"]}
    assert (declared["preferredTransport"], declared["url"]) in others
    assert {transport for transport, _ in others} == {"JSONRPC", "HTTP+JSON"}
    assert len({url for _, url in others}) == len(others), "one transport for one address"
    for transport, url in others:
        base = url.removeprefix("http://agent.test")
        refused(
            SPEAKERS[transport, "0.3"],
            await _asked(served, SPEAKERS[transport, "0.3"], base, base),
            "TaskNotFound",
        )


async def test_capabilities_are_what_they_say(served: Served) -> None:
    for slug, streams in (("stage", True), ("quiet", False)):
        capabilities = (await card(served, slug, "1.0"))["capabilities"]
        assert bool(capabilities.get("streaming")) is streams
        answer = await REST.call(
            served.app, "SendStreamingMessage", said(), at=f"/a2a/agents/{slug}"
        )
        assert (answer.fault is None) is streams
        assert not capabilities.get("pushNotifications")
        assert not capabilities.get("extendedAgentCard")


async def test_extensions_are_declared(served: Served) -> None:
    found = (await card(served, "strict", "1.0"))["capabilities"]["extensions"]
    assert found == [{"uri": EXTENSION, "required": True}]
