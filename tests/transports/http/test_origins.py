"""Browsers of other origins (CORS), and proxies in front."""

from __future__ import annotations

import pytest

from greenroom import Agent, asgi
from greenroom.auth import ApiKeys, Security, new_key
from greenroom.transports.caller.proxies import Proxies
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.agents import Stage
from tests.support.asgi import Peer, message, request

pytestmark = pytest.mark.anyio

CARD = "/.well-known/agent-card.json"
SOME = HttpSettings(cors_origins=("https://app.test", "http://localhost:3000"))
ANY = HttpSettings(cors_origins=("*",))


async def test_without_configuration_there_is_no_cors(app: Application) -> None:
    answer = await Peer(app).call(
        "SendMessage", message(), headers=[("origin", "https://app.test")]
    )
    assert not [name for name, _ in answer.fields if name.startswith("access-control")]
    preflight = await request(
        app,
        "OPTIONS",
        "/a2a",
        headers=[("origin", "https://app.test"), ("access-control-request-method", "POST")],
    )
    assert preflight["allow"] == "GET, HEAD, OPTIONS, POST"
    assert preflight.get("access-control-allow-methods") is None


async def test_a_browser_may_send_what_the_schemes_ask_for() -> None:
    agent = Agent("Desk")
    agent.handler(lambda ctx: "hi")
    keys = [new_key("ada", now=0.0)[0]]
    schemes = [
        ApiKeys(keys, field="X-Desk-Key"),
        ApiKeys(keys, name="second", field="key", location="query"),
    ]
    app = asgi(agent, security=Security(*schemes), http=SOME)
    headers = [("origin", "https://app.test"), ("access-control-request-method", "POST")]
    preflight = await request(app, "OPTIONS", "/a2a", headers=headers)
    allowed = preflight["access-control-allow-headers"].split(", ")
    assert "x-desk-key" in allowed
    assert "authorization" in allowed
    assert not {"key", "x-api-key"} & {*allowed}


@pytest.mark.parametrize("http", [SOME])
@pytest.mark.parametrize("path", ["/a2a", "/tasks", "/message:stream", "/anything"])
async def test_a_preflight_of_an_admitted_origin(app: Application, path: str) -> None:
    preflight = await request(
        app,
        "OPTIONS",
        path,
        headers=[("origin", "https://app.test"), ("access-control-request-method", "POST")],
    )
    assert preflight.status == 204
    assert preflight["access-control-allow-origin"] == "https://app.test"
    assert "POST" in preflight["access-control-allow-methods"]
    allowed = {name.strip() for name in preflight["access-control-allow-headers"].split(",")}
    assert allowed >= {
        "authorization",
        "content-type",
        "a2a-version",
        "a2a-extensions",
        "last-event-id",
    }
    assert preflight["access-control-max-age"] == "600"
    assert preflight["vary"] == "Origin"


@pytest.mark.parametrize("http", [SOME])
async def test_answers_errors_and_streams_may_be_read(app: Application) -> None:
    peer, headers = Peer(app), [("origin", "https://app.test")]
    answers = [
        await peer.call("SendMessage", message(), headers=headers),
        await peer.call("SendStreamingMessage", message(), headers=headers),
        await peer.rest("GET", "/tasks/x", headers=headers),
        await peer.rest("GET", "/nope/nope/nope", headers=headers),
        await peer.rest("GET", CARD, headers=headers),
    ]
    for answer in answers:
        assert answer["access-control-allow-origin"] == "https://app.test"
        exposed = answer["access-control-expose-headers"]
        assert "A2A-Version" in exposed
        assert "A2A-Extensions" in exposed


@pytest.mark.parametrize("http", [SOME])
@pytest.mark.parametrize("origin", ["https://evil.test", "null", "https://app.test.evil.test"])
async def test_other_origins_get_nothing(app: Application, origin: str) -> None:
    for headers in (
        [("origin", origin)],
        [("origin", origin), ("access-control-request-method", "POST")],
    ):
        answer = await request(app, "OPTIONS", "/a2a", headers=headers)
        assert answer.get("access-control-allow-origin") is None
        assert answer["vary"] == "Origin"


@pytest.mark.parametrize("http", [ANY])
async def test_any_origin_when_so_configured(app: Application) -> None:
    answer = await request(app, "GET", CARD, headers=[("origin", "https://whoever.test")])
    assert answer["access-control-allow-origin"] == "*"
    assert answer.get("access-control-allow-credentials") is None


# --- proxies -------------------------------------------------------------------------------------

TRUSTED = HttpSettings(trusted_proxies=("192.0.2.0/24", "2001:db8::1"))
FORWARDED = [
    ("x-forwarded-for", "203.0.113.9, 192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "agents.example"),
    ("x-forwarded-prefix", "/desk"),
]


async def test_strangers_are_not_believed(app: Application, stage: Stage) -> None:
    await Peer(app).rest("GET", "/tasks", headers=FORWARDED)
    assert stage.calls[0].peer == "192.0.2.1"
    card = await request(app, "GET", CARD, headers=FORWARDED)
    assert card.json["url"] == "http://agent.test/a2a"


@pytest.mark.parametrize("http", [TRUSTED])
async def test_trusted_proxies_are_believed(app: Application, stage: Stage) -> None:
    await Peer(app).rest("GET", "/tasks", headers=FORWARDED)
    assert stage.calls[0].peer == "203.0.113.9"
    card = await request(app, "GET", CARD, headers=FORWARDED)
    assert card.json["url"] == "https://agents.example/desk/a2a"


@pytest.mark.parametrize("http", [TRUSTED])
async def test_but_nobody_else(app: Application, stage: Stage) -> None:
    await Peer(app).rest("GET", "/tasks", headers=FORWARDED, client=("198.51.100.1", 1))
    assert stage.calls[0].peer == "198.51.100.1"


@pytest.mark.parametrize("http", [TRUSTED])
@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        # what the client itself wrote stands to the left of what the proxy added
        ([("x-forwarded-for", "6.6.6.6, 203.0.113.9")], "203.0.113.9"),
        ([("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9:4711")], "203.0.113.9"),
        ([("x-forwarded-for", "")], "192.0.2.1"),
        # where the proxy wrote nobody, what its client wrote is not the proxy's word
        ([("x-forwarded-for", "6.6.6.6,")], "192.0.2.1"),
        ([("x-forwarded-for", "6.6.6.6, , 192.0.2.7")], "192.0.2.7"),
        ([("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
        ([("forwarded", "for=6.6.6.6")], "192.0.2.1"),
        ([], "192.0.2.1"),
    ],
)
async def test_the_caller_behind_proxies(
    app: Application, stage: Stage, headers: list[tuple[str, str]], peer: str
) -> None:
    await Peer(app).rest("GET", "/tasks", headers=headers)
    assert stage.calls[0].peer == peer


RFC_7239 = HttpSettings(trusted_proxies=("192.0.2.0/24",), forwarded_headers=("forwarded",))


@pytest.mark.parametrize("http", [RFC_7239])
@pytest.mark.parametrize(
    ("forwarded", "peer"),
    [
        ('for=6.6.6.6, for="[2001:db8::9]:47"; proto=https', "2001:db8::9"),
        ("For=203.0.113.9;by=x, for=192.0.2.3", "203.0.113.9"),
        ("for=unknown", "unknown"),
        ("proto=https", "192.0.2.1"),
        ("for=6.6.6.6, proto=https;host=a.example", "192.0.2.1"),
    ],
)
async def test_the_caller_behind_proxies_that_write_forwarded(
    app: Application, stage: Stage, forwarded: str, peer: str
) -> None:
    headers = [("forwarded", forwarded), ("x-forwarded-for", "6.6.6.6")]
    await Peer(app).rest("GET", "/tasks", headers=headers)
    assert stage.calls[0].peer == peer


LONG = 16_000
HOSTILE = {
    "names and spaces": "a" * (LONG // 2) + "=" + " " * (LONG // 2) + '"',
    "quotes": '"' * LONG,
    "pairs": "a=b;" * (LONG // 4),
    "commas": "," * LONG,
    "spaces": " " * LONG,
    "half a pair": "for=" + '"\\' * (LONG // 2),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("http", "name"), [(RFC_7239, "forwarded"), (TRUSTED, "x-forwarded-for")])
async def test_what_a_client_wrote_before_its_proxy_is_read_in_linear_time(
    app: Application, stage: Stage, name: str, hostile: str
) -> None:
    """A parser that backtracks does not come back from these within the time-out of the tests."""
    written = "for=203.0.113.9" if name == "forwarded" else "203.0.113.9"
    await Peer(app).rest("GET", "/tasks", headers=[(name, f"{hostile}, {written}")])
    assert stage.calls[0].peer == "203.0.113.9"
    assert (await request(app, "GET", CARD, headers=[(name, hostile)])).status == 200


@pytest.mark.parametrize("http", [RFC_7239])
async def test_the_address_behind_proxies_that_write_forwarded(app: Application) -> None:
    told = ("forwarded", "host=evil.example, for=1.1.1.1;proto=https;host=a.example")
    card = await request(app, "GET", CARD, headers=[*FORWARDED, told])
    assert card.json["url"] == "https://a.example/a2a"
    assert card["vary"] == "A2A-Version, forwarded"


@pytest.mark.parametrize("http", [TRUSTED])
async def test_what_the_proxy_only_hands_on_does_not_poison_a_card(app: Application) -> None:
    evil = ("forwarded", "for=6.6.6.6;proto=https;host=evil.example")
    card = await request(app, "GET", CARD, headers=[*FORWARDED, evil])
    assert card.json["url"] == "https://agents.example/desk/a2a"
    card = await request(app, "GET", CARD, headers=[evil])
    assert card.json["url"] == "http://agent.test/a2a"
    # A cache before the proxy must not give one client's address to another.
    decisive = "x-forwarded-host, x-forwarded-prefix, x-forwarded-proto"
    assert card["vary"] == f"A2A-Version, {decisive}"


FEW = HttpSettings(trusted_proxies=("192.0.2.0/24",), forwarded_headers=("X-Forwarded-For",))


@pytest.mark.parametrize("http", [FEW])
async def test_headers_that_were_not_named(app: Application, stage: Stage) -> None:
    await Peer(app).rest("GET", "/tasks", headers=FORWARDED)
    assert stage.calls[0].peer == "203.0.113.9"
    card = await request(app, "GET", CARD, headers=FORWARDED)
    assert card.json["url"] == "http://agent.test/a2a"
    assert card["vary"] == "A2A-Version"


@pytest.mark.parametrize("headers", [("forwarded", "x-forwarded-host"), ("x-real-ip",)])
async def test_headers_that_cannot_be_believed(headers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="forwarded_headers"):
        Proxies(("10.0.0.1",), headers)


@pytest.mark.parametrize("http", [TRUSTED])
@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ([("x-forwarded-host", "6.6.6.6, a.example")], "http://a.example/a2a"),
        ([("x-forwarded-prefix", "/bad prefix")], "http://agent.test/bad%20prefix/a2a"),
        ([("x-forwarded-prefix", "/a?b#c")], "http://agent.test/a%3Fb%23c/a2a"),
        ([("x-forwarded-prefix", "/%D0%B0/")], "http://agent.test/%D0%B0/a2a"),
        ([("x-forwarded-prefix", "/\xd0\xb0")], "http://agent.test/%D0%B0/a2a"),
        ([("x-forwarded-prefix", "/100%")], "http://agent.test/a2a"),
        ([("x-forwarded-prefix", "//evil.test")], "http://agent.test/a2a"),
        ([("x-forwarded-prefix", "desk")], "http://agent.test/a2a"),
        ([("x-forwarded-prefix", "/")], "http://agent.test/a2a"),
        ([("x-forwarded-proto", "HTTPS")], "https://agent.test/a2a"),
        ([("x-forwarded-proto", "wss")], "https://agent.test/a2a"),
        ([("x-forwarded-proto", "Ws")], "http://agent.test/a2a"),
        ([("x-forwarded-proto", "http, https ")], "https://agent.test/a2a"),
    ],
)
async def test_the_address_behind_proxies(
    app: Application, headers: list[tuple[str, str]], url: str
) -> None:
    card = await request(app, "GET", CARD, headers=headers)
    assert card.json["url"] == url


@pytest.mark.parametrize("http", [TRUSTED])
@pytest.mark.parametrize("name", ["x-forwarded-proto", "x-forwarded-host"])
async def test_even_a_trusted_proxy_cannot_say_nonsense(app: Application, name: str) -> None:
    card = await request(app, "GET", CARD, headers=[(name, "java script:")])
    assert card.status == 400
    assert name in card.json["error"]["message"].lower()
    assert "Host" in card.json["error"]["message"] or name == "x-forwarded-proto"


async def test_the_path_of_a_mount_is_encoded_on_cards(app: Application) -> None:
    raw = "/%D0%B0/.well-known/agent-card.json"
    card = await request(app, "GET", raw, root_path="/\u0430")
    assert card.json["url"] == "http://agent.test/%D0%B0/a2a"


async def test_which_peers_are_trusted() -> None:
    assert Proxies(("unix",)).trusts("")
    assert not Proxies(("127.0.0.1",)).trusts("")
    assert Proxies(("*",)).trusts("anything")
    assert not Proxies(("127.0.0.1",)).trusts("no address")
    assert Proxies(("10.0.0.0/8",)).trusts("::ffff:10.0.0.7")
    assert not Proxies(("10.0.0.0/8",)).trusts("::ffff:11.0.0.7")
    assert not Proxies(("10.0.0.0/8",)).trusts("::10.0.0.7")
    with pytest.raises(ValueError, match="not an address"):
        Proxies(("not an address",))
