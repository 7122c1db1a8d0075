"""Choosing an interface, finding cards, and reading a peer's errors."""

from __future__ import annotations

import pytest

from greenroom.protocol.errors import (
    ExtensionSupportRequiredError,
    InternalError,
    PermissionDeniedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from greenroom.protocol.types import AgentCapabilities, AgentCard, AgentInterface
from greenroom.transports.client.answers import rest_error, rpc_result
from greenroom.transports.client.peer import (
    HttpError,
    PeerError,
    card_addresses,
    choose,
)


def card(*interfaces: tuple[str, str]) -> AgentCard:
    return AgentCard(
        name="A",
        description="",
        version="1",
        supported_interfaces=[
            AgentInterface(
                url=f"http://{index}", protocol_binding=binding, protocol_version=version
            )
            for index, (binding, version) in enumerate(interfaces)
        ],
        capabilities=AgentCapabilities(),
        default_input_modes=[],
        default_output_modes=[],
        skills=[],
    )


BOTH = (("HTTP+JSON", "0.3"), ("JSONRPC", "0.3"), ("GRPC", "1.0"), ("HTTP+JSON", "1.0"))


@pytest.mark.parametrize(
    ("interfaces", "version", "index"),
    [
        (BOTH, None, 3),
        (BOTH, "1.0", 3),
        (BOTH, "0.3", 1),
        ((("JSONRPC", "1.0"), ("JSONRPC", "1.0")), None, 0),
        ((("HTTP+JSON", "1.0"), ("JSONRPC", "1.0")), None, 1),
    ],
)
def test_the_newest_version_over_jsonrpc_is_chosen(
    interfaces: tuple[tuple[str, str], ...], version: str | None, index: int
) -> None:
    assert choose(card(*interfaces), version).url == f"http://{index}"


def test_nothing_to_choose_says_what_is_offered() -> None:
    with pytest.raises(PeerError, match=r"it offers GRPC 1\.0"):
        choose(card(("GRPC", "1.0")))
    with pytest.raises(PeerError, match=r"does not offer A2A 0\.3"):
        choose(card(("JSONRPC", "1.0")), "0.3")


def test_cards_are_looked_for_below_the_address_and_at_the_root() -> None:
    assert card_addresses("http://h/agents/x/a2a") == [
        "http://h/agents/x/a2a/.well-known/agent-card.json",
        "http://h/agents/x/a2a/.well-known/agent.json",
        "http://h/agents/x/.well-known/agent-card.json",
        "http://h/agents/x/.well-known/agent.json",
        "http://h/.well-known/agent-card.json",
        "http://h/.well-known/agent.json",
    ]
    assert card_addresses("http://h/my-card.json") == ["http://h/my-card.json"]


def test_jsonrpc_errors_come_as_their_classes() -> None:
    with pytest.raises(TaskNotFoundError, match="gone"):
        rpc_result(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"gone"}}', 200)
    with pytest.raises(InternalError):
        rpc_result(b'{"error":{"code":-1,"message":"?"}}', 200)
    assert rpc_result(b'{"id":1,"result":null}', 200) == b"null"
    for body in (b"<html>", b"{}", b"[]", b"\xff"):
        with pytest.raises(HttpError, match="status 502"):
            rpc_result(body, 502)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b'{"error":{"code":404,"message":"m","details":[{"reason":"TASK_NOT_FOUND"}]}}', 404,
         TaskNotFoundError),
        (b'{"code":-32004,"message":"m"}', 400, UnsupportedOperationError),
        (b'{"code":-32010,"message":"m"}', 400, ExtensionSupportRequiredError),
        (b'{"error":{"code":403,"message":"m"}}', 403, PermissionDeniedError),
        (b'{"error":{"code":418,"message":"m"}}', 418, HttpError),
        (b'{"error":"plain"}', 500, HttpError),
        (b"<html>", 502, HttpError),
    ],
)  # fmt: skip
def test_rest_errors_come_as_their_classes(body: bytes, status: int, kind: type[Exception]) -> None:
    assert isinstance(rest_error(body, status), kind)
