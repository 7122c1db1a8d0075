"""Cards in every shape say the same, and what clients find is understood whatever its shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from greenroom.protocol import types as t
from greenroom.protocol.cards.shapes import card_json, parse_card
from greenroom.protocol.errors import InvalidAgentResponseError, VersionNotSupportedError
from tests.protocol.strategies import VALUE

RPC, REST, GRPC = "JSONRPC", "HTTP+JSON", "GRPC"
SCOPES = {"read": "Read things"}


def interface(url: str, binding: str, version: str) -> t.AgentInterface:
    return t.AgentInterface(url=url, protocol_binding=binding, protocol_version=version)


def oauth2(**flow: Any) -> t.SecurityScheme:
    return t.SecurityScheme(
        oauth2_security_scheme=t.OAuth2SecurityScheme(flows=t.OAuthFlows(**flow))
    )


SCHEMES = {
    "key": t.SecurityScheme(
        api_key_security_scheme=t.APIKeySecurityScheme(
            location="header", name="X-Key", description="A key"
        )
    ),
    "http": t.SecurityScheme(
        http_auth_security_scheme=t.HTTPAuthSecurityScheme(scheme="bearer", bearer_format="JWT")
    ),
    "oidc": t.SecurityScheme(
        open_id_connect_security_scheme=t.OpenIdConnectSecurityScheme(open_id_connect_url="u:o")
    ),
    "mtls": t.SecurityScheme(mtls_security_scheme=t.MutualTlsSecurityScheme(description="m")),
    "code": oauth2(
        authorization_code=t.AuthorizationCodeOAuthFlow(
            authorization_url="u:a", token_url="u:t", scopes=SCOPES, refresh_url="u:r"
        )
    ),
    "client": oauth2(
        client_credentials=t.ClientCredentialsOAuthFlow(token_url="u:t", scopes=SCOPES)
    ),
    "implicit": oauth2(implicit=t.ImplicitOAuthFlow(authorization_url="u:a", scopes=SCOPES)),
    "password": oauth2(password=t.PasswordOAuthFlow(token_url="u:t", scopes={})),
}
LEGACY_SCHEMES: dict[str, Any] = {
    "key": {"type": "apiKey", "in": "header", "name": "X-Key", "description": "A key"},
    "http": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "oidc": {"type": "openIdConnect", "openIdConnectUrl": "u:o"},
    "mtls": {"type": "mutualTLS", "description": "m"},
    "code": {
        "type": "oauth2",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": "u:a", "tokenUrl": "u:t", "scopes": SCOPES, "refreshUrl": "u:r",
            }
        },
    },
    "client": {
        "type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "u:t", "scopes": SCOPES}},
    },
    "implicit": {
        "type": "oauth2", "flows": {"implicit": {"authorizationUrl": "u:a", "scopes": SCOPES}},
    },
    "password": {"type": "oauth2", "flows": {"password": {"tokenUrl": "u:t", "scopes": {}}}},
}  # fmt: skip
CARD = t.AgentCard(
    name="Travel desk",
    description="Books trips.",
    version="2.1",
    supported_interfaces=[
        interface("http://h/a2a", RPC, "1.0"),
        interface("https://h:50051", GRPC, "1.0"),
        interface("http://h/a2a", RPC, "0.3"),
        interface("http://h", REST, "0.3"),
        interface("http://h:50051", GRPC, "0.3"),
    ],
    capabilities=t.AgentCapabilities(
        streaming=True,
        push_notifications=False,
        extended_agent_card=True,
        extensions=[t.AgentExtension(uri="u:x", required=True, params={"a": 1})],
    ),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain", "application/json"],
    skills=[
        t.AgentSkill(
            id="book",
            name="Book",
            description="Books.",
            tags=["travel"],
            examples=["To Rome"],
            input_modes=["text/plain"],
            security_requirements=[
                t.SecurityRequirement(schemes={"code": t.StringList(list=["read"])})
            ],
        )
    ],
    provider=t.AgentProvider(url="u:p", organization="Org"),
    documentation_url="u:d",
    icon_url="u:i",
    security_schemes=SCHEMES,
    security_requirements=[
        t.SecurityRequirement(schemes={"key": t.StringList(), "mtls": t.StringList()}),
        t.SecurityRequirement(schemes={"code": t.StringList(list=["read"])}),
    ],
    signatures=[t.AgentCardSignature(protected="p", signature="s", header={"kid": "1"})],
)


def shape(name: str, card: t.AgentCard = CARD) -> dict[str, Any]:
    body = json.loads(card_json(card, name))
    assert isinstance(body, dict)
    return body


def test_the_pure_card_of_1_0_has_nothing_else() -> None:
    shaped = shape("1.0")
    assert shape("1.1") == shaped
    assert not shaped.keys() & {"url", "preferredTransport", "security", "protocolVersion"}
    assert shaped["capabilities"]["extendedAgentCard"] is True
    assert [one["url"] for one in shaped["supportedInterfaces"]] == [
        "http://h/a2a", "h:50051", "http://h/a2a", "http://h", "http://h:50051",
    ]  # fmt: skip
    assert parse_card(card_json(CARD, "1.0")).security_schemes == SCHEMES


def test_the_pure_card_of_0_3() -> None:
    shaped = shape("0.3")
    assert "supportedInterfaces" not in shaped
    assert "securityRequirements" not in shaped
    assert shaped["url"] == "http://h/a2a"
    assert shaped["preferredTransport"] == RPC
    assert shaped["protocolVersion"] == "0.3.0"
    assert shaped["additionalInterfaces"] == [
        {"url": "http://h/a2a", "transport": RPC},
        {"url": "http://h", "transport": REST},
        {"url": "http://h:50051", "transport": GRPC},
    ]
    assert shaped["capabilities"] == {
        "streaming": True,
        "pushNotifications": False,
        "stateTransitionHistory": False,
        "extensions": [{"uri": "u:x", "required": True, "params": {"a": 1}}],
    }
    assert shaped["supportsAuthenticatedExtendedCard"] is True
    assert shaped["security"] == [{"key": [], "mtls": []}, {"code": ["read"]}]
    assert shaped["skills"][0]["security"] == [{"code": ["read"]}]
    assert shaped["securitySchemes"] == LEGACY_SCHEMES


def test_the_pure_card_of_0_2_has_nothing_younger() -> None:
    shaped = shape("0.2")
    assert shaped["protocolVersion"] == "0.2.6"
    assert "signatures" not in shaped
    assert "security" not in shaped["skills"][0]
    assert shaped["securitySchemes"] == {
        name: scheme for name, scheme in LEGACY_SCHEMES.items() if name != "mtls"
    }
    assert shaped["security"] == [{"key": []}, {"code": ["read"]}]


def test_the_card_of_0_2_names_no_scheme_that_is_not_on_it() -> None:
    """And what it leaves out does not turn into "nothing is required"."""
    alone = t.SecurityRequirement(schemes={"mtls": t.StringList()})
    optional = t.SecurityRequirement(schemes={})
    others = CARD.security_requirements or []
    for required, expected in (
        ([alone], None),
        ([alone, *others], [{"key": []}, {"code": ["read"]}]),
        ([alone, optional], [{}]),
    ):
        card = structs.replace(CARD, security_requirements=required)
        assert shape("0.2", card).get("security") == expected
        assert shape("0.3", card)["security"][0] == {"mtls": []}


def test_one_card_for_clients_that_do_not_say_their_version() -> None:
    both, current, legacy = shape("both"), shape("1.0"), shape("0.3")

    def holds(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return all(name in whole and holds(whole[name], part[name]) for name in part)
        if isinstance(part, list) and len(part) == len(whole):
            return all(map(holds, whole, part))
        return bool(whole == part)

    assert holds(both, current)
    assert holds(both, legacy)
    assert parse_card(card_json(CARD, "both")) == parse_card(card_json(CARD, "1.0"))


def test_both_readers_of_v1_card_find_their_schemes() -> None:
    shaped = shape("0.3+proto")
    assert shaped["securitySchemes"]["key"] == {
        **LEGACY_SCHEMES["key"],
        "apiKeySecurityScheme": {"location": "header", "name": "X-Key", "description": "A key"},
    }
    assert {**shaped, "securitySchemes": LEGACY_SCHEMES} == shape("0.3")


def test_a_card_without_old_interfaces_has_no_old_shape() -> None:
    card = structs.replace(CARD, supported_interfaces=CARD.supported_interfaces[:2])
    assert shape("both", card) == shape("1.0", card)
    for name in ("0.3", "0.2", "0.3+proto"):
        with pytest.raises(VersionNotSupportedError):
            card_json(card, name)
    with pytest.raises(ValueError, match=r"'0\.4'"):
        card_json(card, "0.4")


def test_1_0_writes_one_flow_of_a_scheme_that_came_with_several() -> None:
    plain = shape("0.3")
    flows = plain["securitySchemes"]["code"]["flows"]
    flows["password"] = {"tokenUrl": "u:t", "scopes": {}}
    card = parse_card(json.dumps(plain).encode())
    assert shape("0.3", card)["securitySchemes"]["code"]["flows"] == flows
    scheme = shape("1.0", card)["securitySchemes"]["code"]["oauth2SecurityScheme"]
    assert list(scheme["flows"]) == ["authorizationCode"]


def test_what_0_3_cannot_say_is_left_out() -> None:
    device = t.DeviceCodeOAuthFlow(device_authorization_url="u:d", token_url="u:t", scopes={})
    card = structs.replace(CARD, security_schemes={"tv": oauth2(device_code=device)})
    assert shape("0.3", card)["securitySchemes"] == {"tv": {"type": "oauth2", "flows": {}}}


@settings(max_examples=60)
@given(
    schemes=st.none() | st.dictionaries(st.sampled_from(sorted(SCHEMES)), st.just(0), min_size=1),
    extended=st.sampled_from([None, True, False]),
    streaming=st.sampled_from([None, True, False]),
    versions=st.sampled_from(["0.3", "0.2"]),
    optional=st.booleans(),
)
def test_0_3_cards_come_back_as_they_were(
    schemes: dict[str, int] | None,
    extended: bool | None,
    streaming: bool | None,
    versions: str,
    optional: bool,
) -> None:
    card = structs.replace(
        CARD,
        supported_interfaces=[interface("u:1", RPC, versions), interface("u:2", REST, versions)],
        capabilities=t.AgentCapabilities(streaming=streaming, extended_agent_card=extended),
        security_schemes=None if schemes is None else {name: SCHEMES[name] for name in schemes},
        provider=CARD.provider if optional else None,
        icon_url=CARD.icon_url if optional else None,
        signatures=CARD.signatures if optional else None,
        security_requirements=CARD.security_requirements if optional else None,
    )
    assert parse_card(card_json(card, "0.3")) == card
    assert parse_card(card_json(card, "0.3+proto")) == card


def test_the_proto_form_of_a_0_3_card_is_understood() -> None:
    plain = shape("0.3")
    plain["securitySchemes"] = shape("1.0")["securitySchemes"]
    plain["security"] = shape("1.0")["securityRequirements"]
    card = parse_card(json.dumps(plain).encode())
    assert card.security_schemes == SCHEMES
    assert card.security_requirements == CARD.security_requirements


def test_1_0_cards_may_keep_the_schemes_of_0_3() -> None:
    plain = {**shape("1.0"), "securitySchemes": LEGACY_SCHEMES}
    assert parse_card(json.dumps(plain).encode()).security_schemes == SCHEMES


def test_cards_may_leave_out_what_is_empty() -> None:
    """ProtoJSON does."""
    url = {"url": "u:1", "protocolBinding": RPC, "protocolVersion": "1.0"}
    card = parse_card(json.dumps({"name": "N", "supportedInterfaces": [url]}).encode())
    assert (card.skills, card.default_input_modes, card.capabilities) == (
        [],
        [],
        t.AgentCapabilities(),
    )
    old = parse_card(b'{"name": "N", "url": "u:1", "skills": [{"id": "a", "name": "A"}]}')
    assert old.supported_interfaces == [interface("u:1", RPC, "0.3")]
    assert old.skills == [t.AgentSkill(id="a", name="A", description="", tags=[])]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON"),
        (b"<html>", "JSON"),
        (b"[]", "object"),
        (b"{}", "supportedInterfaces"),
        (b'{"url": 1}', "supportedInterfaces"),
        (b'{"url": "u:1"}', "name"),
    ],
)
def test_what_is_no_card_is_said_clearly(body: bytes, says: str) -> None:
    with pytest.raises(InvalidAgentResponseError, match=says):
        parse_card(body)


@settings(max_examples=300)
@given(name=st.sampled_from(sorted(shape("both"))), noise=VALUE, which=st.booleans())
def test_odd_cards_raise_nothing_else(name: str, noise: Any, which: bool) -> None:
    plain = {**shape("both" if which else "0.3"), name: noise}
    with suppress(InvalidAgentResponseError):
        parse_card(json.dumps(plain).encode())


ODD: list[Any] = [None, True, 7, 1.5, "text", [], [None], [7], ["x"], [[]], [{}], {}, {"x": 1}]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every member and item of a document, however deep."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in inside:
        yield (*path, name)
        if isinstance(one, dict | list):
            yield from places(one, (*path, name))


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    copied = json.loads(json.dumps(document))
    holder = copied
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return copied


@pytest.mark.parametrize("shape", ["1.0", "0.3", "0.3+proto", "0.2", "both"])
def test_one_odd_member_takes_nothing_else_along(shape: str) -> None:
    """Every member of a full card in turn gets every odd value, and the rest is read."""
    plain = json.loads(card_json(CARD, shape))
    needed: set[tuple[str | int, ...]] = {("name",)}
    if shape != "both":  # whose client has the addresses of the other version
        needed.add(("supportedInterfaces",) if shape == "1.0" else ("url",))
    for path in places(plain):
        if path in needed:
            continue
        for value in ODD:
            card = parse_card(json.dumps(changed(plain, path, value)).encode())
            assert card.name == CARD.name
            if path[0] not in ("supportedInterfaces", "url"):
                assert card.supported_interfaces
            if path[0] != "skills":
                assert len(card.skills) == len(CARD.skills)
            msgspec.json.decode(msgspec.json.encode(card), type=t.AgentCard)  # it is a whole card


@pytest.mark.parametrize("interfaces", [None, [], "x", {}, [None], [7]])
def test_interfaces_that_are_none_leave_the_word_to_the_url_of_03(interfaces: Any) -> None:
    plain = {"name": "N", "url": "http://h/", "supportedInterfaces": interfaces}
    (one,) = parse_card(json.dumps(plain).encode()).supported_interfaces
    assert (one.url, one.protocol_version) == ("http://h/", "0.3")


def test_unknown_kinds_of_schemes_and_single_requirements() -> None:
    plain = {
        "name": "N",
        "url": "http://h/",
        "securitySchemes": {"a": {"type": "magic"}, "b": {"type": "http", "scheme": "bearer"}},
        "security": {"b": []},
    }
    card = parse_card(json.dumps(plain).encode())
    assert set(card.security_schemes or ()) == {"b"}
    assert [set(one.schemes) for one in card.security_requirements or ()] == [{"b"}]
    current = {
        "name": "N",
        "supportedInterfaces": [{"url": "u", "protocolVersion": 1.0, "protocolBinding": "x"}],
        "securitySchemes": {"a": {"newSecurityScheme": {}}, "b": {"mtlsSecurityScheme": {}}},
    }
    card = parse_card(json.dumps(current).encode())
    assert set(card.security_schemes or ()) == {"b"}
    assert card.supported_interfaces[0].protocol_version == "1.0"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_a_card(encoding: str) -> None:
    assert parse_card('{"name": "Ä", "url": "http://h/"}'.encode(encoding)).name == "Ä"
