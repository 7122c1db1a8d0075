"""What callers, agents and cards say never moves the cursor of the operator who reads it."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from pathlib import Path

import anyio
import msgspec
import pytest

from greenroom import Agent, SQLiteStore, TaskContext, logs
from greenroom.cli.main import main
from greenroom.cli.send import Screen
from greenroom.protocol import jose
from greenroom.protocol import types as t
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.security.audit import AuditEntry
from greenroom.stores.audit_file import FileAudit

from ..support.drive import Caller

BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
SIGNS = "".join(map(chr, (*range(32), *range(127, 160)))) + BIDIRECTIONAL + "\u2028\u2029"
EVIL = f"a{SIGNS}\x1b]0;pwned\x07\n\x1b[2Jtask-1  completed  FORGED"

agent = Agent("Desk")


@agent.handler
async def handle(ctx: TaskContext) -> str:
    await ctx.step(_fail, EVIL)
    return EVIL


async def _fail(text: str) -> str:
    return text


def _harmless(text: str) -> bool:
    kinds = {unicodedata.category(sign) for sign in text.replace("\n", "")}
    return not kinds & {"Cc", "Zl", "Zp", "Cs"} and not set(text) & set(BIDIRECTIONAL)


def test_no_command_prints_control_characters_of_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "tasks.db")

    async def serve() -> str:
        async with Runtime(agent, store=SQLiteStore(path)) as runtime:
            return (await Caller(runtime).send(EVIL, context=EVIL)).id

    task = anyio.run(serve)
    commands = [
        ["tasks", "list", path],
        ["tasks", "show", path, task],
        ["tasks", "cancel", path, task],
        ["contexts", "list", path],
        ["contexts", "show", path, EVIL],
        ["contexts", "pin", path, EVIL],
        ["contexts", "unpin", path, EVIL],
        ["contexts", "show", path, f"{EVIL}."],
        ["tasks", "show", path, EVIL],
        ["tasks", "prune", path, "--older", "0s"],
        ["keys", "revoke", EVIL, "--file", str(tmp_path / "keys.json")],
        ["settings", EVIL],
    ]
    for command in commands:
        main(command)
        shown = capsys.readouterr()
        assert _harmless(shown.out + shown.err), command
        assert "\ntask-1  completed  FORGED" not in f"\n{shown.out}{shown.err}"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_card_show_prints_no_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    protected = jose.b64(msgspec.json.encode({"alg": EVIL, "kid": f"{EVIL}é"}))
    card = {
        "name": EVIL, "description": "é", "version": "1", "capabilities": {},
        "supportedInterfaces": [
            {"url": "http://x", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "defaultInputModes": [], "defaultOutputModes": [], "skills": [],
        "signatures": [{"protected": protected, "signature": "x"}],
    }  # fmt: skip
    file = tmp_path / "card.json"
    file.write_bytes(msgspec.json.encode(card))
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", errors)
    assert main(["card", "show", str(file)]) == 0
    assert main(["card", "verify", str(file), "--key", str(file)]) == 2
    for stream in (out, errors):
        stream.seek(0)
    shown, told = out.read(), errors.read()
    assert _harmless(shown + told)
    assert json.loads(shown)["name"] == EVIL
    assert told.startswith("signed with a\\x00")


def test_send_prints_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("http://x")
    message = t.Message(message_id="m", role=t.Role.AGENT, parts=[t.Part(text=EVIL)])
    status = t.TaskStatus(state=t.TaskState.WORKING, message=message)
    artifact = t.Artifact(artifact_id=EVIL, parts=[t.Part(text=EVIL), t.Part(url=EVIL)])
    screen.show_task(t.Task(id=EVIL, context_id="c", status=status, artifacts=[artifact]))
    shown = capsys.readouterr()
    assert _harmless(shown.out.replace("\t", "") + shown.err)
    assert "\n\x1b" not in shown.err
    assert not any(line.startswith("[2Jtask-1") for line in shown.err.splitlines())


def test_the_log_and_the_audit_file_hold_no_control_characters(tmp_path: Path) -> None:
    for form in ("console", "json"):
        out = io.StringIO()
        root = logging.getLogger()
        before = root.handlers[:], root.level
        try:
            logs.configure("info", form, out)
            logging.getLogger("greenroom.test").warning("%s", EVIL, extra={"task": EVIL})
        finally:
            root.handlers[:], root.level = before
        assert _harmless(out.getvalue())
        assert out.getvalue().count("\n") == 1
    audit = FileAudit(tmp_path / "audit.jsonl")
    audit.record(AuditEntry(time=1.0, action="GetTask", outcome="ok", context=EVIL))
    audit.close()
    line = (tmp_path / "audit.jsonl").read_text()
    assert _harmless(line)
    assert json.loads(line)["context"] == EVIL
