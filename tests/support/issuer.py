"""An OpenID provider in a process of its own; see ``provider.py``."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.paths import ROOT


class Issuer:
    """The provider, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=10) as answer:
            value: dict[str, Any] = json.load(answer)
            return value

    def token(self, sub: str | None = "ada", **claims: Any) -> str:
        asked: dict[str, Any] = {"header": claims.pop("header", {})}
        asked["forge"] = claims.pop("forge", None)
        asked["claims"] = {"sub": sub, **claims}
        return str(self._ask("/mint", asked)["token"])

    def opaque(self, token: str, **answer: Any) -> str:
        self._ask("/opaque", {"token": token, "answer": {"active": True, **answer}})
        return token

    def withdraw(self, token: str) -> None:
        self._ask("/opaque", {"token": token, "answer": {"active": False}})

    def rotate(self, algorithm: str = "RS256", keep: bool = False, kid: str | None = None) -> str:
        return str(self._ask("/rotate", {"algorithm": algorithm, "keep": keep, "kid": kid})["kid"])

    def set(self, **what: Any) -> None:
        self._ask("/set", what)

    @property
    def counts(self) -> dict[str, int]:
        return self._ask("/counts")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    command = [sys.executable, "-m", "tests.support.provider"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Issuer(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
