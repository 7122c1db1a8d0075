"""The official SDK's clients, unmodified, against a real server, over every binding."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.protocol import errors
from tests.support.receiver import Delivery, receiving

from .peers import CLIENTS, ForeignClient, Peer

Event = dict[str, Any]


def chunks(events: list[Event]) -> list[Event]:
    return [one for one in events if one["kind"] == "artifact"]


def test_every_scenario_of_the_clients_is_tested(
    foreign_clients: dict[str, ForeignClient],
) -> None:
    offered = {name for version in CLIENTS for name in foreign_clients[version].scenarios}
    tested = {name for name in offered if f"test_{name}" in globals()}
    tested |= {name for name, _ in ERRORS} | {name for name, _ in ERRORS_1_X}
    assert offered == tested


def test_card(peer: Peer) -> None:
    card = peer.result("card")
    assert card["name"] == "Interop"
    assert card["description"] == "Does what its message says."
    assert card["version"] == "1.2.3"
    assert card["streaming"] is True
    assert card["skills"] == ["do"]
    if peer.generation == "0.3":
        assert card["protocol"].startswith("0.3")
        assert {"JSONRPC", "HTTP+JSON", "GRPC"} <= set(card["bindings"])
    else:
        assert {"JSONRPC 1.0", "HTTP+JSON 1.0", "GRPC 1.0"} <= set(card["bindings"])


def test_blocking(peer: Peer) -> None:
    task = peer.result("blocking")
    assert task["kind"] == "task"
    assert task["state"] == "completed"
    assert task["artifacts"] == {"reply": "You said: hello"}
    assert task["history"][0] == ["user", "echo hello"]
    assert task["context"]


def test_immediate(peer: Peer) -> None:
    seen = peer.result("immediate")
    assert seen["first"] in ("submitted", "working")
    assert seen["last"]["state"] == "completed"
    assert seen["last"]["artifacts"] == {"reply": "You said: hello"}


def test_streaming(peer: Peer) -> None:
    events = peer.result("streaming")
    assert events[0]["kind"] == "task"
    assert events[0]["state"] in ("submitted", "working")
    written = chunks(events)
    assert [one["text"] for one in written if one["text"]] == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert [one["append"] for one in written] == [False] + [True] * (len(written) - 1)
    assert [one["last"] for one in written] == [False] * (len(written) - 1) + [True]
    assert events[-1]["kind"] == "status"
    assert events[-1]["state"] == "completed"
    if peer.generation == "0.3":
        assert [one["final"] for one in events if one["kind"] == "status"][-1] is True


def test_multi_turn(peer: Peer) -> None:
    check_turns(peer.result("multi_turn"))


def test_multi_turn_task_only(peer: Peer) -> None:
    check_turns(peer.result("multi_turn_task_only"))


def check_turns(turns: list[Event]) -> None:
    one, two, three = turns
    assert [turn["state"] for turn in turns] == ["input-required", "input-required", "completed"]
    assert one["said"] == "What is your name?"
    assert two["said"] == "Where do you live?"
    assert three["artifacts"] == {"reply": "Hello Ada of London"}
    assert len({(turn["id"], turn["context"]) for turn in turns}) == 1
    users = [text for role, text in three["history"] if role == "user"]
    assert users == ["ask", "Ada", "London"]


def test_multi_turn_stream(peer: Peer) -> None:
    turns = peer.result("multi_turn_stream")
    assert [turn[0]["kind"] for turn in turns] == ["task"] * 3
    assert len({turn[0]["id"] for turn in turns}) == 1
    assert [turn[-1]["state"] for turn in turns] == [
        "input-required",
        "input-required",
        "completed",
    ]
    assert [turn[-1]["said"] for turn in turns[:2]] == ["What is your name?", "Where do you live?"]
    assert "".join(one["text"] for one in chunks(turns[2])) == "Hello Ada of London"


def test_subscribe(peer: Peer) -> None:
    """Nothing missing and nothing twice after a dropped stream: snapshot, then what came after."""
    seen = peer.result("subscribe")
    before, after, final = seen["before"], seen["after"], seen["final"]
    assert [one["text"] for one in chunks(before)] == ["0 ", "1 ", "2 "]
    assert after[0]["kind"] == "task"
    assert after[0]["id"] == before[0]["id"]
    held = after[0]["artifacts"].get("count", "")
    assert held.startswith("0 1 2 ")
    everything = held + "".join(one["text"] for one in chunks(after))
    assert everything == "".join(f"{number} " for number in range(20))
    assert after[-1]["state"] == "completed"
    assert final["artifacts"] == {"count": everything}


def test_cancel(peer: Peer) -> None:
    answered, final = peer.result("cancel")
    assert answered["state"] == "canceled"
    assert final["state"] == "canceled"


def test_push(peer: Peer) -> None:
    with receiving() as receiver:
        seen = peer.result("push", hook=f"{receiver.url}/hook")
        assert seen["last"] == "completed"
        assert set(seen["urls"]) == {f"{receiver.url}/hook"}
        assert not any("token" in shown or "secret" in shown for shown in seen["secrets"])
        receiver.wait_for(told_the_end)
        for one in receiver.ledger:
            assert one.headers["authorization"] == "Bearer secret"
            assert one.headers["x-a2a-notification-token"] == "token"
            check_body(peer, one, seen["task"])


def test_push_inline(peer: Peer) -> None:
    with receiving() as receiver:
        seen = peer.result("push_inline", hook=f"{receiver.url}/hook")
        receiver.wait_for(told_the_end)
        for one in receiver.ledger:
            check_body(peer, one, seen["task"])


def test_push_deleted(peer_1_x: Peer) -> None:
    with receiving() as receiver:
        assert peer_1_x.result("push_deleted", hook=receiver.url) == {"left": 0}
        assert receiver.ledger == []


def told_the_end(ledger: list[Delivery]) -> bool:
    return any(b'"completed"' in one.body or b"_COMPLETED" in one.body for one in ledger)


def check_body(peer: Peer, delivery: Delivery, task: str) -> None:
    """A client of 0.3 gets tasks, and one of 1.0 a StreamResponse with one member."""
    body = delivery.json
    if peer.generation == "0.3":
        assert (body["kind"], body["id"]) == ("task", task)
        return
    [(kind, update)] = body.items()
    assert kind in ("statusUpdate", "artifactUpdate")
    assert update["taskId"] == task


def test_history_length(peer: Peer) -> None:
    *none, last, every = peer.result("history_length")
    assert none == ([[]] if peer.generation == "1.0" else [])
    assert len(last) == 1
    assert last[0] == every[-1]
    assert [text for role, text in every if role == "user"] == ["ask", "Ada"]


def test_list_tasks(peer_1_x: Peer) -> None:
    seen = peer_1_x.result("list_tasks")
    assert [len(page) for page in seen["pages"]] == [2, 1]
    listed = [task for page in seen["pages"] for task in page]
    assert listed == seen["sent"][::-1]  # the latest status first, section 3.1.4
    assert seen["total"] == 3
    assert seen["artifacts"] == [0, 0, 0]
    assert seen["artifacts included"] == [1, 1, 1]
    assert seen["working"] == []


def test_direct(peer: Peer) -> None:
    assert peer.result("direct") == {"kind": "message", "text": "You said: hello"}


def test_direct_stream(peer: Peer) -> None:
    assert peer.result("direct_stream") == [{"kind": "message", "text": "You said: hello"}]


def test_parts(peer: Peer) -> None:
    assert peer.result("parts") == {
        "text": "parts",
        "raw": "00ff3c3e",
        "media_type": "image/png",
        "filename": "a.png",
        "data": {"n": 1.5, "deep": [None, {"a": "ü"}]},
    }


def test_retry(peer: Peer) -> None:
    one, two = peer.result("retry")
    assert one["state"] == "completed"
    assert two == one


def test_failed(peer: Peer) -> None:
    task = peer.result("failed")
    assert task["state"] == "failed"
    assert task["said"]
    assert "secret" not in task["said"]


def test_rejected(peer: Peer) -> None:
    task = peer.result("rejected")
    assert (task["state"], task["said"]) == ("rejected", "not today")


ERRORS: list[tuple[str, type[errors.A2AError]]] = [
    ("task_not_found", errors.TaskNotFoundError),
    ("message_to_unknown_task", errors.TaskNotFoundError),
    ("subscribe_to_unknown_task", errors.TaskNotFoundError),
    ("not_cancelable", errors.TaskNotCancelableError),
    ("message_to_finished_task", errors.UnsupportedOperationError),
    ("subscribe_to_finished_task", errors.UnsupportedOperationError),
    ("content_type_not_supported", errors.ContentTypeNotSupportedError),
    ("version_not_supported", errors.VersionNotSupportedError),
    ("invalid_params", errors.InvalidParamsError),
    ("method_not_found", errors.MethodNotFoundError),
]
ERRORS_1_X: list[tuple[str, type[errors.A2AError]]] = [
    ("version_not_supported_stream", errors.VersionNotSupportedError),
    ("invalid_params_stream", errors.InvalidParamsError),
    ("negative_history_length", errors.InvalidParamsError),
    ("extension_required", errors.ExtensionSupportRequiredError),
]
# the 0.3 client's REST subscription never looks at the status: it sees only "not an event stream"
BLIND = {"subscribe_to_unknown_task", "subscribe_to_finished_task"}


@pytest.mark.parametrize(("scenario", "expected"), ERRORS)
def test_errors(peer: Peer, scenario: str, expected: type[errors.A2AError]) -> None:
    error = peer.error(scenario)
    if peer.generation == "1.0":
        assert error["name"] == expected.__name__
    elif peer.transport == "rest":
        assert error["status"] == (400 if scenario in BLIND else expected.http)
    elif expected is errors.VersionNotSupportedError and peer.transport == "jsonrpc":
        assert error["name"] == str(expected.code)  # 0.3 has no name for it
    else:
        assert error["name"] == expected.__name__


@pytest.mark.parametrize(("scenario", "expected"), ERRORS_1_X)
def test_errors_of_1_x(peer_1_x: Peer, scenario: str, expected: type[errors.A2AError]) -> None:
    assert peer_1_x.error(scenario)["name"] == expected.__name__
