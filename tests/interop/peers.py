"""Foreign clients: each version in an environment of its own, asked over a pipe."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.paths import ROOT

from .environments import interpreter

CLIENTS = {"1.3.0": "sdk_1_x.py", "0.3.26": "sdk_0_3.py"}
TRANSPORTS = ("jsonrpc", "rest", "grpc")


class ForeignClient:
    """One process of a foreign client; each request runs one scenario in it."""

    def __init__(self, version: str, script: str | None = None) -> None:
        """``script`` is one of those in ``clients``."""
        self.version = version
        path = ROOT / "tests" / "interop" / "clients" / (script or CLIENTS[version])
        self._process = subprocess.Popen(
            [str(interpreter(version)), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.scenarios: list[str] = self._read()["scenarios"]

    def run(self, scenario: str, transport: str, url: str, **more: Any) -> dict[str, Any]:
        """`{"result": …}`, `{"error": {…}}` or `{"crash": traceback}`."""
        assert self._process.stdin is not None
        request = {"scenario": scenario, "transport": transport, "url": url, **more}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate(timeout=10)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the client {self.version} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Peer:
    """A foreign client over one binding, pointed at the server."""

    def __init__(self, client: ForeignClient, transport: str, url: str) -> None:
        self.client, self.transport, self.url = client, transport, url

    @property
    def generation(self) -> str:
        """The protocol version this client speaks."""
        return "0.3" if self.client.version.startswith("0.") else "1.0"

    def result(self, scenario: str, **more: Any) -> Any:
        answer = self.client.run(scenario, self.transport, self.url, **more)
        assert "result" in answer, answer.get("crash") or answer
        return answer["result"]

    def error(self, scenario: str) -> dict[str, Any]:
        answer = self.client.run(scenario, self.transport, self.url)
        assert "error" in answer, answer.get("crash") or answer
        error: dict[str, Any] = answer["error"]
        return error
