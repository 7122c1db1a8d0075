"""What 10,000 refusals leave in the memory of a real process whose collector is off."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.asgi import message
from tests.support.processes import Process
from tests.support.servers import as_process

from ..http.test_memory import CASES, MAX_BODY, TOKEN, UNKNOWN, rpc

AGENTS = str(Path(__file__).parents[1] / "grpc" / "quiet.py")
MOST = 5 * 1024 * 1024
SUCCEEDS = frozenset(
    {
        "send", "direct reply", "question", "stream", "list", "REST send", "REST stream", "card",
        "health", "metrics", "options", "extended card",
    }
)  # fmt: skip
_ASK = ("POST", "/a2a", CASES["send"][2], (UNKNOWN,))
REFUSALS = {
    **{name: case for name, case in CASES.items() if name not in SUCCEEDS},
    "wrong credentials": _ASK,
    "REST wrong credentials": ("POST", "/message:send", CASES["REST send"][2], (UNKNOWN,)),
    "no page of the list": ("GET", "/tasks?pageToken=none", b"", CASES["list"][3]),
    "path in disguise": ("GET", "/%6detrics", b"", ()),
    "no content type": ("POST", "/a2a", b"{}", (*CASES["list"][3], ("content-type", "text/x"))),
    "bad tenant": ("POST", "/a2a", rpc("GetTask", {"id": "x", "tenant": "\0"}), CASES["list"][3]),
    "webhook to this machine": (
        "POST", "/a2a", rpc("SendMessage", {
            **message(), "configuration": {
                "taskPushNotificationConfig": {"url": "https://127.0.0.1/hook"}
            },
        }), CASES["list"][3],
    ),
}  # fmt: skip
"""Each as method, path, body, header fields."""


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


class Client:
    """Asks over one connection that stays."""

    def __init__(self, server: Process) -> None:
        self._connection = server.connection(60)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def refused(self, kind: str, times: int) -> None:
        method, path, body, fields = REFUSALS[kind]
        headers = {"content-type": "application/json", "a2a-version": "1.0"} | dict(fields)
        for _ in range(times):
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            said = answer.read()
            assert answer.status >= 400 or b'"error"' in said, (kind, answer.status, said)
            assert not answer.will_close, kind


def grown(server: Process, kind: str, times: int) -> int:
    """Return by how many bytes a server grows while it refuses."""
    with Client(server) as client:
        client.refused(kind, times // 10)  # all is imported, and the allocator has its arenas
        before = rss(server.process.pid)
        client.refused(kind, times)
        return rss(server.process.pid) - before


def serving(loop: tuple[str, ...]) -> Process:
    options = (
        "--store", "memory://", "--no-tune-gc", "--set", f"auth.tokens=ada={TOKEN}",
        "--set", f"http.max_body={MAX_BODY}", "--set", "limits.rate=0",
        "--set", "limits.max_penalty=0", "--log-level", "error", *loop,
    )  # fmt: skip
    return as_process(*options, agents=(f"{AGENTS}:agent",))


@pytest.mark.parametrize("kind", ["too large", "bad JSON", "no credentials"])
def test_300_refusals_leave_nothing(kind: str, loop: tuple[str, ...]) -> None:
    with serving(loop) as server:
        assert grown(server, kind, 300) < MOST


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_10_000_refusals_of_each_kind_leave_nothing(loop: tuple[str, ...]) -> None:
    """In one process, one kind after the other: 5 MB each, and what they leave together."""
    with serving(loop) as server:
        found = {kind: grown(server, kind, 10_000) for kind in REFUSALS}
    assert {kind: size for kind, size in found.items() if size >= MOST} == {}
    assert sum(found.values()) < 2 * MOST, found
