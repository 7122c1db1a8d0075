"""A byte order mark before JSON or TOML is passed over, wherever either is read."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path

import pytest

from greenroom.protocol.cards.shapes import card_json, parse_card
from greenroom.protocol.types import AgentInterface
from greenroom.runtime.security.schemes.api_keys import KeyFile
from greenroom.settings.settings import load
from greenroom.transports.client.trust import key_set
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import message, request

pytestmark = pytest.mark.anyio

OLD = {"message": {"messageId": "m", "role": "user", "parts": [{"text": "hi"}]}}


@pytest.mark.parametrize(
    ("path", "version", "body"),
    [
        ("/a2a", "1.0", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message()}),
        ("/a2a", "0.3", {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": OLD}),
        ("/message:send", "1.0", message()),
        ("/v1/message:send", "0.3", OLD),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
async def test_a_mark_before_a_request_is_passed_over(
    app: Application, path: str, version: str, body: object, indent: int | None
) -> None:
    headers = [("content-type", "application/json"), ("a2a-version", version)]
    sent = BOM_UTF8 + json.dumps(body, indent=indent).encode()
    answer = await request(app, "POST", path, headers=headers, body=sent)
    assert answer.status == 200
    assert "error" not in answer.json, answer.body
    assert b"You said" in answer.body


@pytest.mark.parametrize("body", [BOM_UTF8 * 2 + b"{}", BOM_UTF8 * 5000, BOM_UTF8, BOM_UTF8 + b"{"])
@pytest.mark.parametrize("path", ["/a2a", "/message:send"])
async def test_marks_without_json_are_no_json(app: Application, body: bytes, path: str) -> None:
    headers = [("content-type", "application/json"), ("a2a-version", "1.0")]
    answer = await request(app, "POST", path, headers=headers, body=body)
    assert answer.json["error"]["code"] in (-32700, 400)


def test_a_mark_before_a_card_is_passed_over(stage: Stage) -> None:
    card = stage.agent.card(
        [AgentInterface(url="https://x", protocol_binding="JSONRPC", protocol_version="1.0")]
    )
    assert parse_card(BOM_UTF8 + card_json(card, "1.0")) == card


def test_a_mark_before_what_an_operator_wrote_is_passed_over(tmp_path: Path) -> None:
    settings = tmp_path / "greenroom.toml"
    settings.write_bytes(BOM_UTF8 + b'[greenroom]\npublic_url = "https://a.test"\n')
    assert load(config=str(settings), environ={}).public_url == "https://a.test"
    keys = tmp_path / "keys.json"
    keys.write_bytes(BOM_UTF8 + b"[]")
    assert KeyFile(keys).read() == []
    assert key_set(BOM_UTF8 + b'{"keys": []}') == []
