"""`greenroom serve` as a process on a real socket."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import trustme

from tests.support.interpreters import pythons
from tests.support.paths import ROOT
from tests.support.processes import AGENTS, cli, message
from tests.support.servers import as_process

PATIENT = ("--grace", "600", "--deadline", "600")
"""For servers that must not need it: nobody waits so long for them."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tasks.db"


@pytest.mark.parametrize("python", pythons())
def test_card_send_stream_and_a_clean_stop(python: str, store: str) -> None:
    with as_process("--store", store, *PATIENT, python=python) as server:
        assert server.ready["agents"][0]["name"] == "E2E"
        with urllib.request.urlopen(server.ready["card"]) as response:
            assert json.load(response)["name"] == "E2E"
        task = server.send("echo hello")["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert task["artifacts"][0]["parts"] == [{"text": "You said: hello"}]
        stream = server.stream("echo again")
        states = [
            event["statusUpdate"]["status"]["state"] for event in stream if "statusUpdate" in event
        ]
        assert states[-1] == "TASK_STATE_COMPLETED"
        assert stream.ids == list(range(stream.ids[0], stream.ids[0] + len(stream.ids)))
        stream.close()
        assert server.get("/health")[0] == 200
        assert server.get("/ready")[0] == 200
        assert server.stop() == 0
    assert [json.loads(line)["event"] for line in server.log.splitlines()] == [
        "anonymous",
        "draining",
        "stopped",
    ]


@pytest.mark.parametrize("python", pythons())
def test_sigterm_with_open_streams_ends_in_time_and_keeps_what_was_told(
    python: str, store: str
) -> None:
    options = ("--store", store, "--grace", "1", "--deadline", "50")
    with as_process(*options, python=python) as server:
        streams = [server.stream("forever") for _ in range(3)]
        readers = [iter(stream) for stream in streams]
        for reader in readers:
            for _ in range(5):
                next(reader)
        deaf = server.stream("flood")  # a client that never reads a byte of its body
        waiting = server.send("ask")["task"]
        assert waiting["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        server.notify(signal.SIGTERM)
        for stream, reader in zip(streams, readers, strict=True):
            for _ in reader:
                pass  # up to the end of the stream, which is an orderly one
            assert stream.retry, "the client was not told to come back"
            stream.close()
        code = server.process.wait(60)
        deaf.close()
    assert code == 0, server.log
    told = {stream.results[0]["task"]["id"]: stream for stream in streams}
    with as_process("--store", store, python=python) as server:
        for task_id, stream in told.items():
            task = server.rpc("GetTask", {"id": task_id})["result"]
            kept = sum(len(artifact["parts"]) for artifact in task.get("artifacts", ()))
            heard = sum("artifactUpdate" in event for event in stream.results)
            assert kept >= heard > 0, "something acknowledged is gone"
        answered = server.send("Ada", task=waiting["id"])["task"]
        assert answered["artifacts"][0]["parts"] == [{"text": "Hello, Ada"}]
        server.stop()


@pytest.mark.parametrize("python", pythons())
def test_streams_of_what_ends_within_the_grace_are_told_the_end(python: str, store: str) -> None:
    with as_process("--store", store, "--grace", "10", "--deadline", "20", python=python) as server:
        streams = [server.stream("count 20") for _ in range(3)]
        readers = [iter(stream) for stream in streams]
        for reader in readers:
            for _ in range(5):
                next(reader)
        server.notify(signal.SIGTERM)
        for stream, reader in zip(streams, readers, strict=True):
            *_, last = reader
            assert last["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
            assert not stream.retry
            assert sum("artifactUpdate" in event for event in stream.results) == 21
            stream.close()
        code = server.process.wait(60)
    assert code == 0, server.log


def test_waiting_tasks_do_not_hold_up_the_shutdown(store: str) -> None:
    with as_process("--store", store, *PATIENT) as server:
        server.send("ask")
        assert server.stop() == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_that_stops_reading_is_let_go(backend: str) -> None:
    options = ("--store", "memory://", "--backend", backend, "--grace", "0")
    with as_process(*options, "--set", "http.write_timeout=1") as server:
        deaf = server.stream("flood")
        assert deaf.response.status == 200
        while "streams_open 0" not in server.get("/metrics")[1]:
            pass  # the kernel's own clock runs here; the time-out of the test is the limit
        server.stop()


def test_new_work_is_refused_while_draining(store: str) -> None:
    with as_process("--store", store, "--grace", "3", "--deadline", "10") as server:
        stream = server.stream("forever")
        events = iter(stream)
        next(events)
        server.notify(signal.SIGTERM)
        while server.get("/ready")[0] == 200:
            next(events)
        connection = server.connection()
        connection.request(
            "POST",
            "/message:send",
            json.dumps(message("echo late")),
            {"A2A-Version": "1.0", "Content-Type": "application/a2a+json"},
        )
        refused = connection.getresponse()
        assert refused.status == 503
        assert refused.getheader("retry-after")
        connection.close()
        assert server.get("/health")[0] == 200
        assert server.process.wait(60) == 0
        stream.close()


IN_A_THREAD = """
import asyncio, atexit, threading
from pathlib import Path
from greenroom import Agent, BlockingContext, TaskContext
from greenroom.runtime.journal.store import StoreInUseError
from greenroom.stores.sqlite.lock import FileLock

agent = Agent("Stubborn", on_interrupt="resume")
plain = Agent("Plain", on_interrupt="resume")

def work() -> None:
    Path({told!r}).write_text("at work")  # a pipe
    threading.Event().wait()  # for ever

@agent.handler
async def run(ctx: TaskContext) -> None:
    await (ctx.step(work) if ctx.text == "step" else asyncio.to_thread(work))

@plain.handler
def run_plain(ctx: BlockingContext) -> None:
    work()

@atexit.register
def look() -> None:
    try:
        FileLock({lock!r})
    except StoreInUseError:
        print("still locked")
"""


@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize(("name", "text"), [("agent", "step"), ("agent", "own"), ("plain", "def")])
def test_a_thread_that_will_not_end_does_not_keep_the_process(
    name: str, text: str, python: str, store: str, tmp_path: Path
) -> None:
    """It goes as soon as all else is closed; until then nobody else may have its tasks."""
    agents, told = tmp_path / "threads.py", tmp_path / "told"
    os.mkfifo(told)
    lock = store.removeprefix("sqlite:///") + ".lock"
    agents.write_text(IN_A_THREAD.format(told=str(told), lock=lock))
    options = ("--store", store, "--grace", "0.2", "--deadline", "600")
    with as_process(*options, python=python, agents=(f"{agents}:{name}",)) as server:
        task = server.send(text, immediately=True)["task"]
        assert told.read_text() == "at work"
        assert server.stop() == 0, server.log
    assert [json.loads(line)["event"] for line in server.log.splitlines()][-1] == "stopped"
    assert server.said == "still locked\n"
    with as_process("--store", store, python=python, agents=(f"{agents}:{name}",)) as server:
        assert server.rpc("GetTask", {"id": task["id"]})["result"]["id"] == task["id"]
        assert told.read_text() == "at work", "it was not taken up"
        server.stop(signal.SIGKILL)


def test_a_blocked_event_loop_does_not_outlive_the_deadline(store: str) -> None:
    with as_process("--store", store, "--grace", "0.2", "--deadline", "1") as server:
        stream = server.stream("block")
        for event in stream:
            if "message" in event.get("statusUpdate", {}).get("status", {}):
                break
        assert server.stop() == 1
        stream.close()
    assert '"event":"deadline"' in server.log


def test_the_second_signal_ends_it_at_once(store: str) -> None:
    with as_process("--store", store, *PATIENT) as server:
        stream = server.stream("forever")
        events = iter(stream)
        next(events)
        server.notify(signal.SIGINT)
        while server.get("/ready")[0] == 200:
            next(events)
        assert server.stop(signal.SIGINT) == 128 + signal.SIGINT
        stream.close()


@pytest.mark.parametrize("loop", [("--backend", "trio"), ("--loop", "uvloop")])
def test_other_event_loops_serve_and_stop(loop: tuple[str, str], store: str) -> None:
    with as_process("--store", store, *loop, "--grace", "1") as server:
        assert server.ready["backend"] == ("trio" if "trio" in loop else "asyncio")
        assert server.send("echo hi")["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        stream = server.stream("forever")
        events = iter(stream)
        for _ in range(5):
            next(events)
        server.notify(signal.SIGTERM)
        assert list(events)[-1]["artifactUpdate"], "the stream ended in order"
        assert stream.retry
        assert server.process.wait(60) == 0
        stream.close()


def test_tls_with_a_certificate_from_files(tmp_path: Path, store: str) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key, chain, ca = tmp_path / "key.pem", tmp_path / "chain.pem", tmp_path / "ca.pem"
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    authority.cert_pem.write_to_path(str(ca))
    options = ("--store", store, "--certfile", str(chain), "--keyfile", str(key))
    with as_process(*options) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(ca))
        with urllib.request.urlopen(server.ready["card"], context=context) as response:
            card = json.load(response)
        assert card["supportedInterfaces"][0]["url"].startswith("https://")
        sent = cli("send", server.url, "echo secret", "--ca", str(ca), "--stream")
        assert sent.returncode == 0, sent.stderr
        assert "You said: secret" in sent.stdout
        distrusted = cli("send", server.url, "echo secret")
        assert distrusted.returncode == 3
        assert "is not trusted" in distrusted.stderr
        assert "--ca FILE" in distrusted.stderr
        assert server.stop() == 0


def test_a_port_in_use_is_said(store: str) -> None:
    with as_process("--store", store) as server:
        port = server.url.rpartition(":")[2]
        second = cli("serve", f"{AGENTS}:agent", "--port", port, "--store", "memory://")
        assert second.returncode == 2
        assert f"cannot listen on 127.0.0.1 port {port}" in second.stderr
        assert "Traceback" not in second.stderr
        server.stop()


def test_a_store_in_use_is_said(store: str) -> None:
    with as_process("--store", store) as server:
        second = cli("serve", f"{AGENTS}:agent", "--port", "0", "--store", store)
        assert second.returncode == 2, second.stderr
        assert "tasks.db" in second.stderr
        assert "Traceback" not in second.stderr
        assert server.send("echo unharmed")["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        server.stop()


def spoil(path: Path) -> None:
    """Write noise over all of a database but its head."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


@pytest.mark.parametrize("fate", ["damaged", "removed", "replaced"])
def test_a_store_that_is_lost_while_it_is_served_is_told(
    fate: str, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "tasks.db"
    with as_process("--store", store) as server:
        server.send("echo " + "x" * 100_000)
        assert server.stop() == 0
    with as_process("--store", store, "--set", "runtime.heartbeat=0.2") as server:
        assert server.send("echo fine")["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        if fate == "damaged":
            spoil(path)
            while server.get("/ready")[0] == 200:  # until somebody comes to what is damaged
                server.rpc("ListTasks", {"includeArtifacts": True})
        else:
            if fate == "replaced":
                shutil.copy(path, tmp_path / "copy.db")
                (tmp_path / "copy.db").replace(path)
            else:
                path.unlink()
            while server.get("/ready")[0] == 200:
                pass
        for method, params in (("SendMessage", message("echo late")), ("ListTasks", {})):
            refused = server.rpc(method, params)["error"]
            assert refused["code"] == -32024
            assert "Try again" in refused["message"]
        assert server.get("/health")[0] == 200
        assert path.exists() is (fate != "removed")
        server.stop()
    told = [line for line in map(json.loads, server.log.splitlines()) if line["level"] == "error"]
    assert [line["event"] for line in told] == ["store_failed"]
    assert "put a backup in its place" in told[0]["message"]
    assert not [line for line in told if "traceback" in line]


def test_settings_come_from_file_environment_and_flags(tmp_path: Path) -> None:
    config = tmp_path / "greenroom.toml"
    config.write_text(
        f'[greenroom]\nagents = ["{AGENTS}:stubborn", "{AGENTS}:agent"]\nstore = "memory://"\n'
        'public_url = "https://file.example"\n[greenroom.http]\ncard_max_age = 7\n'
    )
    os.environ["GREENROOM_PUBLIC_URL"] = "https://environment.example"
    try:
        with as_process("--config", str(config), "--set", "runtime.idle=1") as server:
            assert server.ready["store"] == "memory://"
            card = server.get("/.well-known/agent-card.json")[1]
            assert card["supportedInterfaces"][0]["url"].startswith("https://environment.example")
            server.stop()
    finally:
        del os.environ["GREENROOM_PUBLIC_URL"]


def test_reload_starts_again_when_a_file_changes(tmp_path: Path) -> None:
    source = (ROOT / "examples" / "echo.py").read_text()
    module = tmp_path / "echo.py"
    module.write_text(source)
    command = [
        sys.executable, "-m", "greenroom", "serve", "echo:agent", "--port", "0",
        "--store", "memory://", "--log-format", "json", "--reload",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["agents"][0]["name"] == "Echo"
        module.write_text(source.replace('"Echo"', '"Echo, changed"'))
        second = json.loads(process.stdout.readline())
        assert second["agents"][0]["name"] == "Echo, changed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


PAYER = """
import os, signal
from greenroom import Agent, TaskContext

agent = Agent("Payer", on_interrupt={policy!r})

@agent.handler
async def pay(ctx: TaskContext) -> str:
    with open({payments!r}, "a") as log:
        log.write(ctx.text)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never said"
"""


@pytest.mark.parametrize(
    ("policy", "options"),
    [(None, ("--set", "runtime.task_delay=0")), ("fail", ())],
    ids=["task_delay=0", "on_interrupt=fail"],
)
def test_a_payment_is_not_made_again_for_a_client_that_heard_nothing(
    policy: str | None, options: tuple[str, ...], store: str, tmp_path: Path
) -> None:
    agent, payments = tmp_path / "payer.py", tmp_path / "payments"
    agent.write_text(PAYER.format(policy=policy, payments=str(payments)))
    order = message("42 cents")
    with (
        as_process("--store", store, *options, agents=(f"{agent}:agent",)) as server,
        pytest.raises(http.client.RemoteDisconnected),
    ):
        server.rpc("SendMessage", order)
    with as_process("--store", store, *options, agents=(f"{agent}:agent",)) as server:
        task = server.rpc("SendMessage", order)["result"]["task"]
        assert task["status"]["state"] == "TASK_STATE_FAILED"
        assert "interrupted" in task["status"]["message"]["parts"][0]["text"]
        assert server.stop() == 0
    assert payments.read_text() == "42 cents"


def test_reload_watches_the_folder_of_the_agent_too(tmp_path: Path) -> None:
    """The agent's file is outside of the working directory; a change of it restarts the server."""
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    agent = source / "shop.py"
    text = (ROOT / "tests" / "e2e" / "agents.py").read_text()
    agent.write_text(text)
    command = [sys.executable, "-m", "greenroom", "serve", f"{agent}:agent", "--port", "0",
               "--store", "memory://", "--log-format", "json", "--reload"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=elsewhere, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["agents"][0]["name"] == "E2E"
            agent.write_text(text.replace('"E2E"', '"Renamed"'))
            assert json.loads(process.stdout.readline())["agents"][0]["name"] == "Renamed"
        finally:
            process.terminate()
            process.wait(60)


def test_serve_takes_the_name_of_an_agent(tmp_path: Path) -> None:
    script = f'from greenroom import serve\nserve({AGENTS + ":agent"!r}, port=0, store="memory://")'
    (tmp_path / "main.py").write_text(script)
    command = [sys.executable, "main.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert "listens on http://" in process.stdout.readline()
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_who_may_call_is_said_behind_the_address(tmp_path: Path) -> None:
    """Both on one terminal: a user reads the address first."""
    with (tmp_path / "terminal").open("w+") as terminal:
        command = [sys.executable, "-m", "greenroom", "serve", f"{AGENTS}:agent", "--port", "0",
                   "--store", "memory://"]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, stdout=terminal, stderr=terminal) as process:
            try:
                while "anonymous mode" not in (tmp_path / "terminal").read_text():
                    assert process.poll() is None
                    time.sleep(0.05)
            finally:
                process.terminate()
                process.wait(60)
        terminal.seek(0)
        said = terminal.read()
    assert said.startswith("Greenroom ")
    assert said.index("listens on") < said.index("anonymous mode")
