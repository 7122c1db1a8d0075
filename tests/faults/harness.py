"""Servers that die, and clients that do not give up."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import anyio

from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import Entry, Kind
from greenroom.stores.sqlite import SQLiteStore
from tests.support.interpreters import environment

HERE = Path(__file__).parent
SCOPE = TaskScope("", "faulty", "anonymous")
BROKEN = (OSError, http.client.HTTPException)


ANSWERS = {"name?": "Ada", "age?": "42"}


class Zygote:
    """Forks servers; see ``zygote.py``."""

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python

    def __enter__(self) -> Zygote:
        self._process = subprocess.Popen(
            [self._python, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def fork(self, argv: list[str], env: dict[str, str], out: Path) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = {"argv": argv, "env": env, "out": str(out)}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Place:
    """One store and the servers that serve from it, one after the other."""

    def __init__(self, zygote: Zygote, folder: Path, agents: Path = HERE / "agents.py") -> None:
        self._zygote = zygote
        self._agents = agents
        self._folder = folder
        self.path = folder / "tasks.db"
        self.effects = folder / "effects"
        self.pid = 0
        self.url = ""
        self.starts = 0
        self.lock = threading.Lock()

    def start(self, *arguments: str, **env: str) -> None:
        """Start a server and wait until it serves."""
        out = self._folder / f"server-{self.starts}"
        self.starts += 1
        argv = [
            "serve", f"{self._agents}:agent", "--port", "0", "--log-format", "json",
            "--store", f"sqlite:///{self.path}", "--set", "runtime.sweep_every=0.05",
            "--set", "runtime.idle=0.05", *arguments,
        ]  # fmt: skip
        env = {"FAULT_EFFECTS": str(self.effects), **env}
        self.pid = self._zygote.fork(argv, env, out)
        deadline = time.monotonic() + 20
        while not (out.exists() and (line := out.read_text()).endswith("\n")):
            if not self.alive or time.monotonic() > deadline:
                raise AssertionError(f"no server: {Path(f'{out}.log').read_text()}")
            time.sleep(0.002)
        self.url = json.loads(line.splitlines()[0])["url"]

    @property
    def log(self) -> str:
        """What the last server that was started had to say."""
        return (self._folder / f"server-{self.starts - 1}.log").read_text()

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, within: float = 30.0) -> None:
        """Wait until the server is gone."""
        deadline = time.monotonic() + within
        while self.alive:
            assert time.monotonic() < deadline, "the server does not go"
            time.sleep(0.002)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def journal(self, task: str) -> list[Entry]:
        """What is on disk of a task; for when no server runs."""

        async def read() -> list[Entry]:
            store = SQLiteStore(self.path)
            await store.open(now=time.time())
            try:
                return list(await store.journal(SCOPE, task))
            finally:
                await store.close()

        return anyio.run(read)


class Events:
    """Counts what clients hear of their tasks, for who waits until all is in full swing."""

    def __init__(self) -> None:
        self._count = threading.Semaphore(0)

    def heard(self) -> None:
        self._count.release()

    def wait_for(self, more: int) -> None:
        while self._count.acquire(blocking=False):
            pass  # what was heard before does not count
        for _ in range(more):
            assert self._count.acquire(timeout=30), "nothing goes on"


class Client:
    """Starts one task and stays with it to its end, whatever happens to the server."""

    def __init__(
        self, place: Place, revive: Callable[[], None], heard: Callable[[], object] = lambda: None
    ) -> None:
        """``revive`` is called when the server is gone, ``heard`` for each event."""
        self._place = place
        self._heard = heard
        self._revive = revive
        self._ids = {text: str(uuid.uuid4()) for text in ("go", "Ada", "42")}
        self._answered: set[str] = set()
        self.task = ""
        self.cursor = 0
        self.events: dict[int, dict[str, Any]] = {}
        self.result: dict[str, Any] = {}
        self.deaths = 0

    def run(self, within: float = 60.0) -> None:
        """Return when the task is over; ``result`` is the task then."""
        deadline = time.monotonic() + within
        while not self.result:
            assert time.monotonic() < deadline, f"no end in sight: {self.events}"
            try:
                self._turn()
            except BROKEN:
                self.deaths += 1
                self._revive()

    def _turn(self) -> None:
        if not self.task:
            self.task = self._call("SendMessage", self._message("go"))["task"]["id"]
        question = self._follow()
        if question:
            answer = ANSWERS[question]
            self._call("SendMessage", self._message(answer))
            self._answered.add(question)
        else:
            task = self._call("GetTask", {"id": self.task})
            if task["status"]["state"] == "TASK_STATE_COMPLETED":
                self.result = task
            else:
                assert task["status"]["state"] in ("TASK_STATE_WORKING", "TASK_STATE_SUBMITTED")

    def _message(self, text: str) -> dict[str, Any]:
        message = {
            "messageId": self._ids[text], "role": "ROLE_USER", "parts": [{"text": text}],
        }  # fmt: skip
        if self.task:
            message["taskId"] = self.task
        return {"message": message, "configuration": {"returnImmediately": True}}

    def _follow(self) -> str:
        """Read events from the cursor on; return what is asked, or nothing at the end."""
        headers = {"Last-Event-ID": str(self.cursor)} if self.cursor else {}
        response = self._post("SubscribeToTask", {"id": self.task}, headers)
        try:
            number = 0
            for line in iter(response.readline, b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    number = int(value)
                elif name == "data":
                    body = json.loads(value)
                    if "error" in body:  # over already, and we saw nothing of it
                        return ""
                    asked = self._take(number, body["result"])
                    if asked:
                        return asked
        finally:
            response.close()
        return ""

    def _take(self, number: int, event: dict[str, Any]) -> str:
        if "task" in event:
            assert not self.cursor or number == self.cursor, "not the snapshot that was asked for"
            status = event["task"]["status"]
        else:
            assert number == self.cursor + 1, f"{number} after {self.cursor}"
            self.events[number] = event
            status = event.get("statusUpdate", {}).get("status", {})
        self.cursor = number
        self._heard()
        if status.get("state") != "TASK_STATE_INPUT_REQUIRED":
            return ""
        question = str(status["message"]["parts"][0]["text"])
        return "" if question in self._answered else question

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        return call(self._place.url, method, params)

    def _post(
        self, method: str, params: dict[str, Any], headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        return post(self._place.url, method, params, headers)


def call(url: str, method: str, params: dict[str, Any]) -> Any:
    """Carry out an operation; raises what is in ``BROKEN`` where the server dies of it."""
    response = post(url, method, params, {})
    with response:
        body = response.read()
    if not body:
        raise http.client.IncompleteRead(b"")
    found = json.loads(body)
    if "error" in found:
        if found["error"]["code"] == -32603 or response.status == 503:
            raise ConnectionError(found)
        raise AssertionError(found)
    return found["result"]


def post(
    url: str, method: str, params: dict[str, Any], headers: dict[str, str]
) -> http.client.HTTPResponse:
    """Send a request and return the answer, whose body may still be on its way."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    fields = {"Connection": "close", **headers}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    fields |= {"Content-Type": "application/json", "A2A-Version": "1.0"}
    try:
        connection.request("POST", "/a2a", body, fields)
        return connection.getresponse()  # closes the connection with itself
    except BaseException:
        connection.close()
        raise


def check(client: Client, entries: list[Entry], effects: dict[str, dict[str, set[str]]]) -> None:
    """What must be so of every task, whatever happened to its servers."""
    from .agents import EFFECTS, EXPECTED

    task = client.result
    artifacts = {a["artifactId"]: a["parts"] for a in task["artifacts"]}
    assert artifacts["result"] == [{"data": EXPECTED}]
    assert "".join(p["text"] for p in artifacts["text"]) == "0 1 2 "
    assert "".join(p["text"] for p in artifacts["letter"]) == "Dear Ada"
    heard = [m["parts"][0]["text"] for m in task["history"] if m["role"] == "ROLE_USER"]
    assert heard == ["go", "Ada", "42"], "every acknowledged message is in the history once"
    places = [(e.run, e.branch, e.ordinal) for e in entries if e.ordinal]
    assert len(places) == len(set(places)), "recorded once"
    assert [e.sequence for e in entries] == list(range(1, len(entries) + 1))
    did = effects[client.task]
    assert did.keys() == EFFECTS
    assert all(len(keys) == 1 for keys in did.values()), "a side effect has one key"
    written = {e.generation: json.loads(e.body) for e in entries if e.kind is Kind.EVENT}
    assert client.events == {n: written[n] for n in client.events}
    seen = sorted(client.events)
    assert seen == list(range(seen[0], max(written) + 1)), "a gap in the stream"


def read_effects(path: Path) -> dict[str, dict[str, set[str]]]:
    """Task id to step to the keys that its side effects carried."""
    collected: dict[str, dict[str, set[str]]] = {}
    for line in path.read_text().splitlines():
        task, name, key = line.split(" ", 2)
        collected.setdefault(task, {}).setdefault(name, set()).add(key)
    return collected
