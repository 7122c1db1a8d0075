"""A server in a process of its own, as users start it, and plain HTTP to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.support.interpreters import environment
from tests.support.paths import ROOT
from tests.support.served import Served

AGENTS = str(ROOT / "tests" / "e2e" / "agents.py")
AGENT = f"{AGENTS}:agent"


class Process(Served):
    """``greenroom serve`` with JSON logs on a free port. ``log``, and ``said`` after it was
    ready, are whole once it ended."""

    def __init__(
        self, *arguments: str, python: str = sys.executable, agents: Sequence[str] = (AGENT,)
    ) -> None:
        self._command = [
            python, "-W", "error::ResourceWarning", "-m", "greenroom", "serve", *agents,
            "--port", "0", "--log-format", "json", *arguments,
        ]  # fmt: skip
        self.log = ""
        self.said = ""
        self._streams: list[EventStream] = []

    def __enter__(self) -> Process:
        self._errors = tempfile.TemporaryFile("w+")  # a pipe could fill up
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=ROOT,
            env=environment(),
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start: {self._end()}")
        self.ready: dict[str, Any] = json.loads(line)
        self.url = self.ready["url"]
        self.grpc_port = int((self.ready.get("grpc") or ":0").rpartition(":")[2])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in self._streams:
            stream.close()
        if self.process.poll() is None:
            self.process.kill()
        self._end()

    def notify(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code. Raises ``TimeoutExpired`` if it does not go."""
        self.notify(number)
        code = self.process.wait(60)
        self._end()
        return code

    def _end(self) -> str:
        if not self._errors.closed:
            said, _ = self.process.communicate()
            self.said += said
            with self._errors as errors:
                errors.seek(0)
                self.log += errors.read()
        return self.log

    # --- HTTP -----------------------------------------------------------------------------------

    def connection(self, timeout: float = 15.0) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def get(self, path: str) -> tuple[int, Any]:
        connection = self.connection()
        try:
            connection.request("GET", path, headers={"A2A-Version": "1.0"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        kind = response.getheader("content-type") or ""
        return response.status, json.loads(body) if "json" in kind else body.decode()

    def rpc(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        connection = self.connection()
        try:
            body: dict[str, Any] = json.loads(self._post(connection, method, params).read())
        finally:
            connection.close()
        return body

    def send(self, text: str, *, immediately: bool = False, task: str | None = None) -> Any:
        params = message(text, task)
        params["configuration"] = {"returnImmediately": immediately}
        return self.rpc("SendMessage", params)["result"]

    def stream(self, text: str) -> EventStream:
        connection = self.connection()
        response = self._post(connection, "SendStreamingMessage", message(text))
        self._streams.append(EventStream(connection, response))
        return self._streams[-1]

    def _post(
        self, connection: http.client.HTTPConnection, method: str, params: dict[str, Any]
    ) -> http.client.HTTPResponse:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
        connection.request("POST", "/a2a", body, headers)
        return connection.getresponse()


def message(text: str, task: str | None = None) -> dict[str, Any]:
    found = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
    if task:
        found["taskId"] = task
    return {"message": found}


class EventStream:
    """Server-sent events as they come: ``ids``, ``results``, and whether ``retry`` was said."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self.connection = connection
        self.response = response
        self.ids: list[int] = []
        self.results: list[dict[str, Any]] = []
        self.retry = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for line in iter(self.response.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.ids.append(int(value))
            elif name == "retry":
                self.retry = True
            elif name == "data":
                self.results.append(json.loads(value)["result"])
                yield self.results[-1]

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``greenroom`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "greenroom", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
    )
