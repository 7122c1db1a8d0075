"""The audit record: who did what, in a file that no flood fills and no full disk stops."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest

from greenroom import Agent, TaskContext, asgi
from greenroom.auth import AuditEntry, FileAudit, Limits, Policy, Security, static_tokens
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.runtime.security.audit import CALLERS, WINDOW, AggregatingSink
from greenroom.transports.client.http import request as http
from greenroom.transports.http.settings import HttpSettings
from tests.runtime.security.serving import serving
from tests.support.asgi import request
from tests.support.clients import BINDINGS, send

pytestmark = pytest.mark.anyio
GOOD, OTHER = "the-token-of-a-good-client", "the-token-of-another-client"
ME = {"Authorization": f"Bearer {GOOD}"}
YOU = {"Authorization": f"Bearer {OTHER}"}


def security(**more: Any) -> Security:
    return Security(static_tokens({"me": GOOD, "you": OTHER}), **more)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def entry(number: int, **more: Any) -> AuditEntry:
    return AuditEntry(time=float(number), action="GetTask", outcome="ok", task=str(number), **more)


async def test_the_audit_file(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    async with serving(security(audit=FileAudit(file))) as server:
        answer = await server.call("rest", ops.SEND, send("ask something private"), ME)
        task = answer.body["task"]["id"]
        await server.call("jsonrpc", ops.GET_TASK, t.GetTaskRequest(id=task), YOU)
        await server.call("grpc", ops.CANCEL, t.CancelTaskRequest(id=task), ME)
        await server.call("rest", ops.SEND, send("x"), {"Authorization": "Bearer nonsense-token"})
        streamed = await server.call("jsonrpc", ops.STREAM, send("more"), ME)
    lines = read(file)
    shown = [(line["action"], line["outcome"], line.get("owner", "")) for line in lines]
    assert shown == [
        ("SendMessage", "ok", "token#me"),
        ("GetTask", "TASK_NOT_FOUND", "token#you"),
        ("CancelTask", "ok", "token#me"),
        ("Authenticate", "UNAUTHENTICATED", ""),
        ("SendStreamingMessage", "ok", "token#me"),
    ]
    assert lines[4]["task"] == streamed.body["task"]["id"]
    assert {line["task"] for line in lines[:3]} == {task}
    assert [line["binding"] for line in lines[:3]] == ["HTTP+JSON", "JSONRPC", "GRPC"]
    assert all(line["address"] for line in lines)
    text = file.read_text()
    assert "private" not in text
    assert "nonsense" not in text
    assert GOOD not in text
    assert file.stat().st_mode & 0o077 == 0


# --- floods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", BINDINGS)
async def test_refusals_of_a_flood_are_written_once(binding: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    limits = Limits(operations={"GetTask": 0.001}, burst=1000, failures=100)
    async with serving(security(audit=FileAudit(file)), limits=limits) as server:
        asked = t.GetTaskRequest(id="nothing")
        for headers in (ME, {"Authorization": "Bearer nobody-knows-this"}):
            for _ in range(6):
                await server.call(binding, ops.GET_TASK, asked, headers)
    shown = [(line["action"], line["outcome"], line.get("more", 0)) for line in read(file)]
    # The last of each is written when its minute, or the server, ends.
    assert shown == [
        ("GetTask", "TASK_NOT_FOUND", 0),
        ("GetTask", "RESOURCE_EXHAUSTED", 0),
        ("Authenticate", "UNAUTHENTICATED", 0),
        ("GetTask", "RESOURCE_EXHAUSTED", 3),
        ("Authenticate", "UNAUTHENTICATED", 4),
    ]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_who_asks_too_often_of_everything_is_written_once(
    binding: str, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    limits = Limits(rate=0.001, burst=1000)
    async with serving(security(audit=FileAudit(file)), limits=limits) as server:
        for _ in range(4):
            await server.call(binding, ops.LIST_TASKS, t.ListTasksRequest(), ME)
    shown = [
        (one["action"], one["outcome"], one["owner"], one.get("more", 0)) for one in read(file)
    ]
    assert shown == [
        ("ListTasks", "ok", "token#me", 0),
        ("Authenticate", "RESOURCE_EXHAUSTED", "token#me", 0),
        ("Authenticate", "RESOURCE_EXHAUSTED", "token#me", 1),
    ]


class Sink:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    def close(self) -> None:
        pass


def refused(time: float, address: str) -> AuditEntry:
    return AuditEntry(time=time, action="Authenticate", outcome="UNAUTHENTICATED", address=address)


def test_each_window_has_a_first_and_a_last_line() -> None:
    sink = Sink()
    thinned = AggregatingSink(sink)
    for second in range(0, 100, 10):
        thinned.record(refused(second, "192.0.2.1"))
    assert [one.time for one in sink.entries] == [0, 50, 60]
    thinned.record(refused(100, "192.0.2.2"))
    thinned.record(entry(200))  # whatever comes next ends the windows
    assert [(one.time, one.more) for one in sink.entries] == [
        (0, 0), (50, 4), (60, 0), (100, 0), (90, 2), (200, 0),
    ]  # fmt: skip
    assert sum(1 + one.more for one in sink.entries) == 12


def test_a_flood_from_everywhere_is_bounded() -> None:
    sink = Sink()
    thinned = AggregatingSink(sink)
    for number in range(10 * CALLERS):
        thinned.record(refused(WINDOW * number / (10 * CALLERS), f"2001:db8:{number:x}::1"))
    thinned.close()
    assert len(sink.entries) <= 2 * CALLERS + 2
    assert sum(1 + one.more for one in sink.entries) == 10 * CALLERS


async def test_what_proxies_say_of_callers_is_cut() -> None:
    sink = Sink()
    http = HttpSettings(trusted_proxies=("127.0.0.1",))
    async with serving(security(audit=sink), http=http, with_grpc=False) as server:
        long = {"X-Forwarded-For": "x" * 5000}
        await server.call("jsonrpc", ops.LIST_TASKS, t.ListTasksRequest(), long)
    assert [len(one.address) for one in sink.entries] == [256]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_what_is_too_much_is_written_down(binding: str, tmp_path: Path) -> None:
    """Scopes that lack, parts and bodies that are too long, and too many tasks."""
    file = tmp_path / "audit.jsonl"
    guarded = security(audit=FileAudit(file), policy=Policy(operations={"CancelTask": ["cancel"]}))
    limits = Limits(tasks=1, part_bytes=1000)
    http = HttpSettings(max_body=100_000)
    agent = Agent("Slow")

    @agent.handler
    async def wait(ctx: TaskContext) -> None:
        await anyio.sleep_forever()

    now = t.SendMessageConfiguration(return_immediately=True)

    def task(text: str) -> t.SendMessageRequest:
        return t.SendMessageRequest(message=send(text).message, configuration=now)

    async with serving(guarded, agent, limits=limits, http=http) as server:
        large = 200_000 if binding != "grpc" else 5_000_000
        asked = [
            (ops.CANCEL, t.CancelTaskRequest(id="x")), (ops.SEND, task("x" * 2000)),
            (ops.SEND, task("x" * large)), (ops.SEND, task("x")), (ops.SEND, task("x")),
        ]  # fmt: skip
        for operation, request in asked:
            await server.call(binding, operation, request, ME)
    shown = [(line["action"], line["outcome"], line.get("owner", "")) for line in read(file)]
    known = "" if binding == "grpc" else "token#me"  # there the message comes before its sender
    assert shown == [
        ("CancelTask", "PERMISSION_DENIED", "token#me"),
        ("SendMessage", "PAYLOAD_TOO_LARGE", "token#me"),
        ("Authenticate", "PAYLOAD_TOO_LARGE", known),
        ("SendMessage", "ok", "token#me"),
        ("SendMessage", "RESOURCE_EXHAUSTED", "token#me"),
    ]
    assert all(line["address"] for line in read(file))


@pytest.mark.parametrize("path", ["/a2a", "/message:send"])
async def test_a_body_that_does_not_arrive_is_written_down(path: str) -> None:
    sink = Sink()
    agent = Agent("Echo")
    agent.handler(lambda ctx: "hi")
    app = asgi(agent, security=security(audit=sink), http=HttpSettings(body_timeout=0.05))
    headers = [*ME.items(), ("content-type", "application/json")]
    async with app.lifespan():
        pieces = [b"{", None]
        answer = await request(app, "POST", path, headers=headers, pieces=pieces)
    assert answer.status == 408
    shown = [(one.action, one.outcome, one.owner) for one in sink.entries]
    assert shown == [("Authenticate", "BODY_TIMEOUT", "token#me")]


# --- the file -------------------------------------------------------------------------------------


def test_a_file_that_was_rotated_is_made_anew(tmp_path: Path) -> None:
    file, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    audit = FileAudit(file)
    audit.record(entry(1))
    audit.close()
    file.rename(old)
    for number in range(2, 1002):
        audit.record(entry(number))
    audit.close()
    assert [line["task"] for line in read(old)] == ["1"]
    assert [line["task"] for line in read(file)] == [str(number) for number in range(2, 1002)]


def test_a_file_that_is_rotated_while_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = FileAudit(file)
    for turn in range(5):
        for number in range(100):
            audit.record(entry(turn * 100 + number))
        if file.exists():
            file.rename(tmp_path / f"audit.jsonl.{turn}")
    audit.close()
    written = [line["task"] for one in sorted(tmp_path.iterdir(), key=str) for line in read(one)]
    assert sorted(written, key=int) == [str(number) for number in range(500)]


class Heard(logging.Handler):
    """Waits for what another thread logs."""

    def __init__(self) -> None:
        super().__init__()
        self.said = {text: threading.Event() for text in ("cannot be written", "written again")}

    def emit(self, record: logging.LogRecord) -> None:
        for text, event in self.said.items():
            if text in record.getMessage():
                event.set()

    def __enter__(self) -> Heard:
        logging.getLogger("greenroom.audit").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("greenroom.audit").removeHandler(self)

    def wait(self, text: str) -> None:
        assert self.said[text].wait(10), f"never heard: {text}"


def test_a_full_disk_loses_only_what_memory_cannot_hold(tmp_path: Path) -> None:
    """``/dev/full`` is one; in its place comes, later, one with room."""
    place, file = tmp_path / "place", tmp_path / "audit.jsonl"
    place.symlink_to("/dev/full")
    audit = FileAudit(place, pending=10_000)
    with Heard() as heard:
        for number in range(1000):
            audit.record(entry(number))
        heard.wait("cannot be written")
        lost = audit.lost
        assert 0 < lost < 1000
        fresh = tmp_path / "fresh"
        fresh.symlink_to(file)
        fresh.rename(place)
        heard.wait("written again")
    audit.record(entry(1000))
    audit.close()
    lines = read(file)
    kept = 1000 - lost
    assert [line["task"] for line in lines[:kept]] == [str(number) for number in range(kept)]
    gap, last = lines[kept:]
    assert (gap["action"], gap["outcome"], gap["more"]) == ("Audit", "LOST", lost)
    assert last["task"] == "1000"
    assert audit.lost == lost


def test_a_disk_that_stays_full_does_not_hold_up_the_end(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.symlink_to("/dev/full")
    audit = FileAudit(place)
    for number in range(10):
        audit.record(entry(number))
    audit.close()
    assert audit.lost == 10


TORN = """
import resource, sys, threading, logging
from pathlib import Path
from greenroom.auth import AuditEntry, FileAudit

failed = threading.Event()
logging.getLogger("greenroom.audit").addFilter(lambda record: failed.set() or True)
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
audit = FileAudit(sys.argv[1])
for number in range(100):
    audit.record(AuditEntry(time=0.0, action="GetTask", outcome="ok", task=str(number)))
assert failed.wait(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
audit.close()
assert audit.lost == 0
"""


def test_a_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    """The file may grow to 1000 bytes, in the middle of a line, and then further."""
    file = tmp_path / "audit.jsonl"
    subprocess.run([sys.executable, "-c", TORN, str(file)], check=True)
    lines = file.read_text().splitlines()
    torn = [line for line in lines if not line.endswith("}")]
    assert len(torn) == 1
    whole = [json.loads(line)["task"] for line in lines if line not in torn]
    assert whole == [str(number) for number in range(100)]
    assert lines[lines.index(torn[0]) + 1].startswith(torn[0])


async def test_what_is_lost_is_counted_in_the_metrics(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.symlink_to("/dev/full")
    audit = FileAudit(place, pending=0)
    async with serving(security(audit=audit), with_grpc=False) as server:
        await server.call("rest", ops.LIST_TASKS, t.ListTasksRequest(), ME)
        assert server.app.runtime.statistics()["audit_lost_total"] == 1


# --- what is no operation -----------------------------------------------------------------------


class Written(list[AuditEntry]):
    def record(self, entry: AuditEntry) -> None:
        self.append(entry)

    def close(self) -> None:
        pass


def _call(method: str, params: object = None) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


HTTP_REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes, str, str]] = {
    "bad JSON": ("POST", "/a2a", {}, b"{", "Request", "ParseError"),
    "no request": ("POST", "/a2a", {}, b"[]", "Request", "InvalidRequestError"),
    "unknown method": ("POST", "/a2a", {}, _call("Destroy"), "Request", "MethodNotFoundError"),
    "bad parameters": (
        "POST", "/a2a", {}, _call("GetTask", {"id": 7}), "GetTask", "INVALID_PARAMS",
    ),
    "wrong version": (
        "POST", "/a2a", {"A2A-Version": "7.0"}, _call("GetTask"), "Request",
        "VERSION_NOT_SUPPORTED",
    ),
    "bad body": ("POST", "/message:send", {}, b'{"message": 7}', "SendMessage", "INVALID_PARAMS"),
    "bad JSON by REST": ("POST", "/message:send", {}, b"{", "SendMessage", "ParseError"),
    "bad query": ("GET", "/tasks?pageSize=x", {}, b"", "ListTasks", "INVALID_PARAMS"),
    "wrong version by REST": (
        "GET", "/tasks", {"A2A-Version": "7.0"}, b"", "ListTasks", "VERSION_NOT_SUPPORTED",
    ),
    "wrong media type": (
        "POST", "/a2a", {"Content-Type": "text/plain"}, b"x", "Request",
        "CONTENT_TYPE_NOT_SUPPORTED",
    ),
}  # fmt: skip


@pytest.mark.parametrize("anonymous", [False, True])
@pytest.mark.parametrize("name", HTTP_REQUESTS)
async def test_what_a_known_caller_asks_wrongly_is_a_line(name: str, anonymous: bool) -> None:
    method, path, more, body, action, outcome = HTTP_REQUESTS[name]
    written = Written()
    guarded = Security(audit=written) if anonymous else security(audit=written)
    plain = Agent("Plain")
    plain.handler(lambda ctx: "x")
    async with serving(guarded, plain, with_grpc=False) as server:
        headers = {"A2A-Version": "1.0", "Content-Type": "application/json", **ME, **more}
        async with http(method, f"{server.url}{path}", headers=headers, body=body) as response:
            await response.read()
    (line,) = written
    assert line.action == action
    assert line.outcome == outcome
    assert line.owner == ("anonymous" if anonymous else "token#me")
    assert "7" not in line.detail


@pytest.mark.parametrize(
    ("path", "more", "message", "owner", "action", "outcome"),
    [
        ("lf.a2a.v1.A2AService/GetTask", {}, b"\xff\xff", "token#me", "GetTask", "ParseError"),
        (
            "lf.a2a.v1.A2AService/GetTask", {"a2a-version": "7.0"}, b"", "token#me", "GetTask",
            "VERSION_NOT_SUPPORTED",
        ),
        ("lf.a2a.v1.A2AService/Destroy", {}, b"", "", "Request", "UNIMPLEMENTED"),
    ],
)  # fmt: skip
async def test_what_is_asked_wrongly_over_grpc_is_a_line(
    path: str, more: dict[str, str], message: bytes, owner: str, action: str, outcome: str
) -> None:
    written = Written()
    fields = {"authorization": f"Bearer {GOOD}", "a2a-version": "1.0", **more}
    async with (
        serving(security(audit=written)) as server,
        grpc.aio.insecure_channel(f"{server.host}:{server.grpc_port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"/{path}")(message, metadata=tuple(fields.items()))
    (line,) = written
    assert (line.action, line.outcome, line.owner) == (action, outcome, owner)
    assert line.address


async def test_a_guess_is_not_hidden_behind_calls_without_credentials() -> None:
    written = Written()
    async with serving(security(audit=written), limits=Limits(failures=100)) as server:
        asked = t.ListTasksRequest()
        bad = {"Authorization": "Bearer nobody-knows-this-token"}
        for headers in ({}, *[bad] * 9, {}):
            assert (await server.call("rest", ops.LIST_TASKS, asked, headers)).status == 401
    assert [(line.guess, line.more) for line in written] == [
        (False, 0), (True, 0), (False, 0), (True, 7),
    ]  # fmt: skip
    assert "refused" in written[1].detail
    assert "required" in written[0].detail


async def test_what_is_refused_while_the_server_stops_is_a_line() -> None:
    written = Written()
    async with serving(security(audit=written), with_grpc=False) as server:
        server.app.runtime.system.draining = True
        answer = await server.call("rest", ops.LIST_TASKS, t.ListTasksRequest(), ME)
        server.app.runtime.system.draining = False
        assert answer.status == 503
    assert [(line.action, line.owner) for line in written] == [("ListTasks", "token#me")]
