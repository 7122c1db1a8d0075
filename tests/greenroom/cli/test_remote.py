"""The words of the a2a-cli specification: what is printed, in which form, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.cli.main import main
from tests.support.issuer import Issuer, issuer
from tests.support.processes import Process
from tests.support.provider import CALLER
from tests.support.servers import as_process

__all__ = ["issuer"]
TOKEN = "a-static-token-of-some-length"


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    agents = ("tests.interop.agents:desk", "tests.interop.agents:direct")
    with as_process("--store", "memory://", "--grpc-port", "0", agents=agents) as running:
        yield running


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variables and no tokens of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


class Told:
    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self.code = main(words)
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def test_a_task_is_sent_read_continued_and_canceled(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = ("-a", server.url, "-o", "json")
    asks = Told(capsys, "send", *agent, "--text", "ask")
    assert asks.code == 0
    task = asks.json["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert f"--task-id {task['id']}" in asks.err
    more = Told(capsys, "send", *agent, "--task-id", task["id"], "Bo")
    assert more.json["task"]["id"] == task["id"]
    got = Told(capsys, "task", "get", task["id"], *agent)
    assert (got.code, got.json["id"]) == (0, task["id"])
    listed = Told(capsys, "task", "list", *agent)
    assert task["id"] in [one["id"] for one in listed.json["tasks"]]
    canceled = Told(capsys, "task", "cancel", task["id"], *agent)
    assert canceled.json["status"]["state"] == "TASK_STATE_CANCELED"
    again = Told(capsys, "task", "cancel", task["id"], *agent)
    assert (again.code, again.json["error"]["code"]) == (1, "TaskNotCancelableError")
    assert again.json["error"]["a2aCode"] == -32002


def test_a_failed_task_is_work_well_done_by_the_command(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(capsys, "send", "-a", server.url, "--text", "reject")
    assert told.code == 0
    assert "State: TASK_STATE_REJECTED" in told.out.splitlines()


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON", "GRPC"])
def test_a_stream_is_one_event_a_line(
    server: Process, capsys: pytest.CaptureFixture[str], binding: str
) -> None:
    way = ("-a", server.url, "-o", "json", "--transport", binding)
    told = Told(capsys, "send", *way, "--stream", "--text", "count 3")
    assert told.code == 0
    assert "task" in told.lines[0]
    assert told.lines[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"


def test_parts_keep_their_order_and_their_media_types(
    server: Process, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, data = tmp_path / "a.png", tmp_path / "d.json"
    file.write_bytes(b"\x89PNG")
    data.write_text('{"n": 1}')
    words = (
        "--text",
        "parts",
        "--file",
        str(file),
        "--media-type",
        "image/png",
        "--data",
        str(data),
    )
    told = Told(capsys, "send", "-a", server.url, "-o", "json", *words)
    [artifact] = told.json["task"]["artifacts"]
    assert [part.get("mediaType") for part in artifact["parts"]] == [None, "image/png", None]
    assert artifact["parts"][2]["data"] == {"n": 1}


def test_a_command_that_does_not_wait_and_one_that_does(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = ("-a", server.url, "-o", "json")
    begun = Told(capsys, "send", *agent, "--async", "--text", "later x").json["task"]
    done = Told(capsys, "task", "get", "--wait", begun["id"], *agent)
    assert done.json["status"]["state"] == "TASK_STATE_COMPLETED"
    late = Told(capsys, "send", *agent, "--timeout", "0.2", "--text", "wait")
    assert (late.code, late.json["error"]["code"]) == (5, "A2ACLI_ERR_TIMEOUT")


def test_a_task_is_followed(server: Process, capsys: pytest.CaptureFixture[str]) -> None:
    agent = ("-a", server.url, "-o", "json")
    begun = Told(capsys, "send", *agent, "--async", "--text", "later x").json["task"]
    told = Told(capsys, "task", "subscribe", begun["id"], *agent)
    assert told.code == 0
    assert told.lines[0]["task"]["id"] == begun["id"]


def test_a_message_is_an_answer(server: Process, capsys: pytest.CaptureFixture[str]) -> None:
    there = f"{server.url}/a2a/agents/direct"
    told = Told(capsys, "send", "-a", there, "-o", "json", "--text", "hi")
    assert told.json["message"]["role"] == "ROLE_AGENT"


def test_the_card_is_shown(
    server: Process, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A2ACLI_AGENT_CARD", server.url)
    assert "Name: Interop" in Told(capsys, "card", "get").out.splitlines()
    card = Told(capsys, "card", "get", "-o", "json")
    assert card.json["supportedInterfaces"]


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("task", "get", "x", "-a", "http://127.0.0.1:9"), 3, "A2ACLI_ERR_UNREACHABLE"),
        (("task", "get", "x", "-a", "nonsense"), 3, "A2ACLI_ERR_CARD_NOT_FOUND"),
        (("send", "-a", "http://127.0.0.1:9", "--media-type", "a/b", "--text", "x"), 3,
         "A2ACLI_ERR_UNREACHABLE"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_has_a_code(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, name: str
) -> None:
    told = Told(capsys, *words, "-o", "json")
    assert (told.code, told.json["error"]["code"]) == (code, name)


def test_a_task_that_is_not_there(server: Process, capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "task", "get", "x", "-a", server.url, "-o", "json")
    assert (told.code, told.json["error"]["code"]) == (1, "TaskNotFoundError")


def test_a_missing_credential_a_wrong_one_and_a_right_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("--store", "memory://", "--set", f"auth.token={TOKEN}")
    with as_process(*arguments, agents=("tests.interop.agents:desk",)) as running:
        agent = ("send", "-a", running.url, "-o", "json", "--text", "echo hi")
        missing = Told(capsys, *agent)
        assert (missing.code, missing.json["error"]["code"]) == (
            4, "A2ACLI_ERR_CREDENTIALS_MISSING",
        )  # fmt: skip
        wrong = Told(capsys, *agent, "--bearer", "wrong-but-secret")
        assert (wrong.code, wrong.json["error"]["code"]) == (4, "A2ACLI_ERR_AUTH_FAILED")
        assert "wrong-but-secret" not in wrong.out + wrong.err
        assert Told(capsys, *agent, "--bearer", TOKEN).code == 0


def test_a_login_keeps_a_token_that_later_commands_use(
    issuer: Issuer, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    arguments = (
        "--store", "memory://",
        "--set", f"auth.oauth_token_url={issuer.url}/token",
        "--set", f"auth.oauth_issuer={issuer.url}",
        "--set", "auth.oauth_audience=agents",
    )  # fmt: skip
    with as_process(*arguments, agents=("tests.interop.agents:desk",)) as running:
        there = ("-a", running.url)
        who = ("--flow", "client", "--client-id", CALLER[0], "--client-secret", CALLER[1])
        token = ("--token-url", f"{issuer.url}/token")
        assert Told(capsys, "auth", "login", *there, *who, *token).code == 0
        assert Told(capsys, "send", *there, "--text", "echo hi").code == 0
    [file] = home.rglob("tokens.json")
    assert file.stat().st_mode & 0o077 == 0
