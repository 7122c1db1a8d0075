"""Every example does what its first lines say."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from greenroom import Agent, Message, Part, Task, TaskState
from greenroom.cli.main import main
from greenroom.loading import load_agent
from greenroom.testing import LocalClient, served, virtual_time
from tests.support.asgi import request
from tests.support.interpreters import environment
from tests.support.paths import ROOT
from tests.support.receiver import receiving
from tests.support.servers import as_process

EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_time(request.param)


def example(name: str) -> Agent:
    return load_agent(f"{EXAMPLES / name}.py:agent")


async def finished(client: LocalClient, *content: Any) -> Task:
    task = await client.send(*content)
    assert isinstance(task, Task)
    assert task.status.state is TaskState.COMPLETED
    return task


def last_part(task: Task) -> Part:
    assert task.artifacts is not None
    return task.artifacts[-1].parts[-1]


async def test_echo() -> None:
    async with served(example("echo")) as client:
        assert last_part(await finished(client, "hi")).text == "You said: hi"


async def test_the_webhook_receiver_prints_what_it_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = runpy.run_path(str(EXAMPLES / "webhook_receiver.py"))
    headers = [("x-a2a-notification-token", example["TOKEN"]), ("webhook-id", "evt_1")]
    body = (
        b'{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_WORKING"}}}'
    )
    for status in (204, 200):
        answer = await request(example["app"], "POST", "/", headers=headers, body=body)
        assert answer.status == status
    assert capsys.readouterr().out == "working\n"


def test_the_serverless_client_leaves_and_its_webhook_is_told() -> None:
    agent = f"{EXAMPLES / 'echo.py'}:agent"
    with (
        receiving() as receiver,
        as_process(
            "--store", "memory://", "--set", "push.allow_private=true", agents=[agent]
        ) as server,
    ):
        script = [
            sys.executable,
            str(EXAMPLES / "serverless_client.py"),
            server.url,
            receiver.url,
            "hi",
        ]
        task = subprocess.run(script, check=True, capture_output=True, text=True).stdout.strip()
        receiver.wait_for(lambda ledger: any(b"COMPLETED" in one.body for one in ledger))
        assert {next(iter(one.json.values()))["taskId"] for one in receiver.ledger} == {task}
        assert receiver.ledger[0].headers["x-a2a-notification-token"] == "a-token-of-mine"


async def test_streaming_writer_streams() -> None:
    async with served(example("streaming_writer")) as client:
        events = [event async for event in client.stream("tea")]
        chunks = [event.artifact_update for event in events if event.artifact_update]
        text = "".join(chunk.artifact.text for chunk in chunks)
        assert len(chunks) > 20
        assert text.startswith("Some say tea is overrated.")
        task = events[0].task
        assert task is not None
        kept = (await client.get(task)).artifacts
        assert kept is not None
        assert kept[0].text == text


async def test_multi_turn_asks_and_validates() -> None:
    async with served(example("multi_turn")) as client:
        task = await client.send("Lisbon")
        assert isinstance(task, Task)
        assert task.status.state is TaskState.INPUT_REQUIRED
        task = await client.reply(task, "some day")  # not a date: asked again
        assert task.status.state is TaskState.INPUT_REQUIRED
        task = await client.reply(task, "2026-05-01")
        task = await client.reply(task, "2")
        assert last_part(task).data == {"destination": "Lisbon", "day": "2026-05-01", "seats": 2}


async def test_files_in_and_out() -> None:
    async with served(example("files")) as client:
        poem = Part(raw=b"three short words", filename="poem.txt", media_type="text/plain")
        part = last_part(await finished(client, [poem]))
        assert part.raw == b"file,words\npoem.txt,3"
        assert (part.filename, part.media_type) == ("words.csv", "text/csv")
        refused = await client.send("no file")
        assert isinstance(refused, Task)
        assert refused.status.state is TaskState.REJECTED


async def test_direct_reply_makes_no_task() -> None:
    async with served(example("direct_reply")) as client:
        answer = await client.send("Ada")
        assert isinstance(answer, Message)
        assert answer.text == "Good day, Ada."
        assert await client.list() == []


def test_secured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def made(owner: str, *more: str) -> str:
        assert main(["keys", "create", owner, "--file", str(tmp_path / "keys.json"), *more]) == 0
        return f"X-API-Key: {capsys.readouterr().out.strip()}"

    ada, bob = made("ada", "--tenant", "acme", "--scope", "desk:refund"), made("bob")
    settings = {"PORT": "0", "LOG_FORMAT": "json", "STORE": "memory://"}
    environ = environment() | {f"GREENROOM_{name}": value for name, value in settings.items()}
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "secured.py")],
        cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]

            def ask(*words: str) -> tuple[int, str]:
                return main(["send", url, *words]), "".join(capsys.readouterr())

            def refund(who: str) -> int:
                message = {"messageId": who, "role": "ROLE_USER", "parts": [{"text": "12 EUR"}]}
                body = json.dumps({"message": message | {"metadata": {"skill": "refund"}}})
                headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
                name, _, key = who.partition(": ")
                headers[name] = key
                connection = HTTPConnection(urlsplit(url).netloc)
                with closing(connection):
                    connection.request("POST", "/message:send", body, headers)
                    answer = connection.getresponse()
                    assert (b"Refunded: 12 EUR" in answer.read()) == (answer.status == 200)
                    return answer.status

            code, told = ask("hello")
            assert (code, "Unauthenticated" in told) == (3, True)
            assert "Good day, ada of acme." in ask("hello", "--header", ada)[1]
            assert "Good day, bob of no tenant." in ask("hello", "--header", bob)[1]
            assert (refund(ada), refund(bob)) == (200, 403)
        finally:
            server.terminate()


async def test_fastapi_mount() -> None:
    app = runpy.run_path(str(EXAMPLES / "fastapi_mount.py"))["app"]
    sent: list[dict[str, Any]] = []
    body = {
        "message": {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "hi"}]},
    }
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/agent/message:send", "raw_path": b"/agent/message:send",
        "root_path": "", "query_string": b"", "server": ("host", 80), "client": ("peer", 1),
        "headers": [
            (b"host", b"host"), (b"a2a-version", b"1.0"), (b"content-type", b"application/json"),
        ],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent[0]["status"] == 200
    answer = json.loads(b"".join(message.get("body", b"") for message in sent))
    assert answer["task"]["artifacts"][0]["parts"] == [{"text": "You said: hi"}]


def test_ask_an_agent_asks_and_answers() -> None:
    agent = f"{EXAMPLES / 'multi_turn.py'}:agent"
    with as_process("--store", "memory://", agents=(agent,)) as there:
        asked = subprocess.run(
            [sys.executable, str(EXAMPLES / "ask_an_agent.py"), there.url],
            input="2026-05-01\n2\n",
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
        )
    assert "TASK_STATE_COMPLETED" in asked.stdout, asked.stderr
