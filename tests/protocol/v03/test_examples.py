"""Every JSON example of the specifications of 0.3 and 0.2 means what it says, and can be said.

Comments, trailing commas and placeholders for base64 are taken out of the examples, no more.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from greenroom.protocol import operations
from greenroom.protocol import types as t
from greenroom.protocol.cards.shapes import card_json, parse_card
from greenroom.protocol.operations import OPERATIONS
from greenroom.protocol.v03 import V03

EXAMPLES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("examples.json").read_text())
METHODS = {operation.method_03: operation for operation in OPERATIONS}


def of(kind: str) -> list[Any]:
    return [
        pytest.param(example, id=f"{example['version']}-{example['section']}-{number}")
        for number, example in enumerate(EXAMPLES)
        if example["kind"] == kind
    ]


def meaning(plain: Any, inside: str = "") -> Any:
    """Return an example with what it leaves out, and what says nothing taken out."""
    if isinstance(plain, list):
        return [meaning(one, inside) for one in plain]
    if not isinstance(plain, dict) or inside in ("metadata", "data"):
        return plain
    found = {name: meaning(value, name) for name, value in plain.items()}
    if "parts" in found and "artifactId" not in found:
        found.setdefault("kind", "message")
        found.setdefault("role", "agent")
        found.setdefault("messageId", "")
    if "status" in found:
        found.setdefault("kind", "task")
    if "file" in found and "data" in found["file"]:
        found["file"]["bytes"] = found["file"].pop("data")
    if "timestamp" in found and not found["timestamp"].endswith("Z"):
        found["timestamp"] += "Z"
    return found


@pytest.mark.parametrize("example", of("request"))
def test_request_examples_are_read(example: dict[str, Any]) -> None:
    operation = METHODS[example["method"]]
    body = json.dumps(example["json"]).encode()
    request = V03.decode(operation, body)
    if operation is operations.EXTENDED_CARD:
        assert request == t.GetExtendedAgentCardRequest()
        return
    message, written = example["json"]["message"], json.loads(V03.request(operation, request))
    expected = meaning(copy.deepcopy(message))
    if "messageId" not in message:  # section 9.4 has it beside the message
        expected["messageId"] = example["json"]["messageId"]
    assert written["message"] == expected
    assert request.message.role is t.Role.USER
    push = example["json"].get("configuration", {}).get("pushNotificationConfig")
    if push is not None:
        assert written["configuration"]["pushNotificationConfig"] == push
        assert request.configuration.task_push_notification_config.url == push["url"]


@pytest.mark.parametrize("example", of("response"))
def test_answer_examples_are_read_and_written(example: dict[str, Any]) -> None:
    operation = METHODS[example["method"]]
    answer = V03.response(operation, json.dumps(example["json"]).encode())
    assert isinstance(answer, operation.response or type(None))
    assert json.loads(V03.encode(operation, answer)) == meaning(example["json"])


@pytest.mark.parametrize("example", of("task"))
def test_webhook_examples_are_read_and_written(example: dict[str, Any]) -> None:
    task = V03.response(operations.GET_TASK, json.dumps(example["json"]).encode())
    assert json.loads(V03.encode(operations.GET_TASK, task)) == meaning(example["json"])


@pytest.mark.parametrize("example", of("card"))
def test_card_examples_are_read_and_written(example: dict[str, Any]) -> None:
    plain = example["json"]
    card = parse_card(json.dumps(plain).encode())
    written = json.loads(card_json(card, example["version"]))
    expected = {**plain, "protocolVersion": written["protocolVersion"]}
    assert written == expected
    # read as 0.2, whatever the patch: 0.2.6 is the one with these shapes
    assert {one.protocol_version for one in card.supported_interfaces} == {"0.2"}


def test_there_are_examples_of_everything() -> None:
    assert {len(of(kind)) for kind in ("request", "response", "task", "card")} == {2, 17, 24}
