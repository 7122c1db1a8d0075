"""``greenroom send`` against agents that are odd, broken or somewhere else, on real sockets."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from greenroom.cli.main import main

Headers = Mapping[str, str]
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream"}
TASK = {
    "id": "t",
    "contextId": "c",
    "status": {"state": "TASK_STATE_COMPLETED"},
    "artifacts": [{"artifactId": "a", "parts": [{"text": "hello"}]}],
}
WORKING = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
TASK_03 = {
    "kind": "task",
    "id": "t",
    "contextId": "c",
    "status": {"state": "completed"},
    "artifacts": [{"artifactId": "a", "parts": [{"kind": "text", "text": "hello"}]}],
}


class Asked(NamedTuple):
    method: str
    path: str
    headers: Headers
    body: bytes


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


class Agent:
    """An agent whose card and answers a test scripts; ``asked`` is what came."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self.binding = "JSONRPC"
        self.legacy = False
        self.answer: Callable[[Asked], Answer] = lambda asked: self.result({"task": TASK})
        self.change: Callable[[dict[str, Any]], Any] = lambda card: card
        self.card_answer: Callable[[Asked, bytes], Answer] = lambda asked, card: Answer(
            200, JSON, card
        )

    def card(self) -> bytes:
        common: dict[str, Any] = {
            "name": "Peer",
            "description": "d",
            "version": "1",
            "capabilities": {"streaming": True},
            "skills": [],
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
        }
        if self.legacy:
            card = {**common, "protocolVersion": "0.3.0", "url": self.url + "/a2a"}
        else:
            one = {
                "url": self.url + "/a2a",
                "protocolBinding": self.binding,
                "protocolVersion": "1.0",
            }
            card = {**common, "supportedInterfaces": [one]}
        return json.dumps(self.change(card)).encode()

    def result(self, value: Any) -> Answer:
        return Answer(200, JSON, self.wrapped(value))

    def wrapped(self, value: Any) -> bytes:
        if self.binding == "JSONRPC":
            value = {"jsonrpc": "2.0", "id": 1, "result": value}
        return json.dumps(value).encode()

    def events(self, *values: Any, kind: Headers = SSE) -> Answer:
        data = b""
        for value in values:
            data += value if isinstance(value, bytes) else b"data: %b\n\n" % self.wrapped(value)
        return Answer(200, kind, data)

    def respond(self, asked: Asked) -> Answer:
        if ".well-known" in asked.path:
            return self.card_answer(asked, self.card())
        return self.answer(asked)


@contextmanager
def serving(*agents: Agent) -> Iterator[None]:
    def handler(agent: Agent) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, dict(self.headers), body)
                agent.asked.append(asked)
                status, headers, out = agent.respond(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(out)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(out)

            do_POST = do_GET

        return Handler

    servers = []
    for agent in agents:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(agent))
        agent.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
    try:
        yield
    finally:
        for server, thread in servers:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    with serving(agent):
        yield agent


def says_hello(capsys: pytest.CaptureFixture[str], url: str, *more: str) -> str:
    assert main(["send", url, "hi", *more]) == 0
    written = capsys.readouterr()
    assert written.out == "hello\n"
    return written.err


def refuses(capsys: pytest.CaptureFixture[str], url: str, *more: str, code: int = 3) -> str:
    assert main(["send", url, "hi", *more]) == code
    return capsys.readouterr().err


# --- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"security": {"bearer": []}},
        {"security": "all", "securitySchemes": 7},
        {"securitySchemes": {"a": {"type": "bearer"}, "b": None, "c": []}},
        {"supportedInterfaces": None},
        {"supportedInterfaces": []},
        {"supportedInterfaces": [None]},
        {"capabilities": None, "skills": None, "provider": "me", "iconUrl": {}},
        {"skills": [None, {"id": 7}, "x"], "defaultInputModes": "text/plain"},
        {"preferredTransport": None, "additionalInterfaces": [None, {}, {"url": 7}]},
        {"protocolVersion": 0.3, "name": 7},
        {"additionalInterfaces": [{"url": "http://[::1", "transport": "JSONRPC"}, {"url": "//["}]},
        {"preferredTransport": "jsonrpc", "x-more": {"deep": [None]}},
        {"url": "/a2a"},
    ],
)
def test_an_odd_member_of_a_card(
    agent: Agent, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    agent.legacy = True
    agent.change = lambda card: {**card, **change}
    agent.answer = lambda asked: agent.result(TASK_03)
    says_hello(capsys, agent.url)


@pytest.mark.parametrize(
    "first",
    [
        Answer(200, {"Content-Type": "text/html"}, b"<!doctype html><title>Front</title>"),
        Answer(200, JSON, b"{}"),
        Answer(200, JSON, b"[]"),
        Answer(200, JSON, b""),
        Answer(200, {**JSON, "Content-Encoding": "br"}, b"\x0b"),
        Answer(302, {"Location": "http://127.0.0.2/login"}, b""),
        Answer(401, JSON, b'{"detail":"no"}'),
        Answer(500, JSON, b"oops"),
    ],
)
def test_what_is_no_card_is_passed_over(
    agent: Agent, first: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    def cards(asked: Asked, card: bytes) -> Answer:
        return first if asked.path.endswith("agent-card.json") else Answer(200, JSON, card)

    agent.card_answer = cards
    says_hello(capsys, agent.url)
    agent.card_answer = lambda asked, card: first
    assert "no agent card at" in refuses(capsys, agent.url)


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(agent: Agent, mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    agent.card_answer = lambda asked, card: Answer(200, JSON, card.decode().encode(mark))
    result = agent.wrapped({"task": TASK}).decode().encode(mark)
    agent.answer = lambda asked: Answer(200, JSON, result)
    says_hello(capsys, agent.url)


@pytest.mark.parametrize("binding", ["JSON-RPC", "jsonrpc", "REST", "http+json"])
def test_bindings_by_their_other_names(
    agent: Agent, binding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def named(card: dict[str, Any]) -> dict[str, Any]:
        card["supportedInterfaces"][0]["protocolBinding"] = binding
        return card

    agent.change = named
    agent.binding = "JSONRPC" if binding.lower().startswith("json") else "HTTP+JSON"
    says_hello(capsys, agent.url)


# --- answers --------------------------------------------------------------------------------------

EMPTY: list[Any] = [
    {},
    None,
    [],
    "done",
    {"task": None},
    {"task": {}},
    {"task": {"id": "t"}},
    {"task": {"id": "t", "status": {}}},
    {"kind": "task"},
    {"other": {"id": "t"}},
]


@pytest.mark.parametrize("result", EMPTY)
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_an_answer_that_holds_nothing(
    agent: Agent,
    result: Any,
    binding: str,
    legacy: bool,
    stream: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent.binding, agent.legacy = binding, legacy
    if legacy and binding == "HTTP+JSON":
        agent.change = lambda card: {**card, "preferredTransport": "HTTP+JSON"}
    agent.answer = lambda asked: agent.events(result) if stream else agent.result(result)
    told = refuses(capsys, agent.url, *stream)
    assert told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "result",
    [TASK, TASK_03, {"task": TASK}, {"task": {**TASK, "status": {"state": "completed"}}}],
)
def test_a_task_without_its_wrapper(
    agent: Agent, result: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.answer = lambda asked: agent.result(result)
    says_hello(capsys, agent.url)
    agent.answer = lambda asked: agent.events(result)
    says_hello(capsys, agent.url, "--stream")
    agent.answer = lambda asked: agent.result(result)  # no stream, but the whole answer
    says_hello(capsys, agent.url, "--stream")


def test_a_bare_message_and_one_without_content(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    message = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "hello"}]}
    for result in (message, {"message": message}):
        agent.answer = lambda asked, result=result: agent.result(result)  # type: ignore[misc]
        says_hello(capsys, agent.url)
    agent.answer = lambda asked: agent.result({"message": {**message, "parts": []}})
    assert main(["send", agent.url, "hi"]) in (0, 3)
    assert capsys.readouterr().err


def test_half_a_character(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    body = agent.wrapped({"task": TASK}).replace(b"hello", rb"hello \ud83d")
    for answer in (Answer(200, JSON, body), Answer(200, SSE, b"data: %b\n\n" % body)):
        agent.answer = lambda asked, answer=answer: answer  # type: ignore[misc]
        assert main(["send", agent.url, "hi", "--stream"]) == 0
        assert capsys.readouterr().out == "hello \ufffd\n"


@pytest.mark.parametrize(
    "remark",
    [
        b"event: ping\ndata: 2026-01-01 00:00:00+00:00\n\n",
        b'event: ping\ndata: {"time": 1}\n\n',
        b'event: heartbeat\ndata: {"status": "ok"}\n\n',
        b"data: [DONE]\n\n",
        b"data: keep-alive\n\n",
        b"data: {}\n\n",
        b"data: null\n\n",
        b"data\n\n",
        b": a remark\n\n",
        b"retry: 3000\nid: 7\n\n",
        b"event: task\n\n",
        b'data: {"jsonrpc":"2.0","id":1,"result":{"newKind":{"x":1}}}\n\n',
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_that_are_not_of_a2a(
    agent: Agent, remark: bytes, end: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = agent.events(remark, {"task": WORKING}, remark, {"task": TASK}, remark).body
    agent.answer = lambda asked: Answer(200, SSE, stream.replace(b"\n", end))
    says_hello(capsys, agent.url, "--stream")


@pytest.mark.parametrize("name", [b"message", b"task", b"status-update"])
def test_events_of_other_types_that_are_of_a2a(
    agent: Agent, name: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data = agent.wrapped({"task": TASK})
    agent.answer = lambda asked: agent.events(b"event: %b\ndata: %b\n\n" % (name, data))
    says_hello(capsys, agent.url, "--stream")


def test_the_media_type_in_capitals(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    kind = {"Content-Type": "Text/Event-Stream ; charset=UTF-8"}
    agent.answer = lambda asked: agent.events({"task": TASK}, kind=kind)
    says_hello(capsys, agent.url, "--stream")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "without an event"),
        (b": nothing\n\n", "without an event"),
        (b'event: error\ndata: {"detail":"out of paper"}\n\n', "out of paper"),
        (b"event: error\ndata: out of paper\n\n", "out of paper"),
        (b'data: {"jsonrpc":"2.0","error":{"code":-32001,"message":"gone"}}\n\n', "gone"),
        (b'data: {"jsonrpc":\n\n', "broken JSON"),
    ],
)
def test_a_stream_without_a_result(
    agent: Agent, body: bytes, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.answer = lambda asked: Answer(200, SSE, body)
    assert text in refuses(capsys, agent.url, "--stream")


def test_a_stream_that_is_cut(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    update = {"taskId": "t", "contextId": "c", "artifact": TASK["artifacts"][0]}  # type: ignore[index]
    whole = agent.events({"task": WORKING}, {"artifactUpdate": update})
    agent.answer = lambda asked: whole
    assert "ended before the task t did: it was working" in refuses(capsys, agent.url, "--stream")
    agent.answer = lambda asked: agent.events({"artifactUpdate": update})
    assert "its state is not known" in refuses(capsys, agent.url, "--stream")
    longer = {**SSE, "Content-Length": str(len(whole.body) + 9)}
    # The server closes where the client waits for nine bytes more.
    agent.answer = lambda asked: Answer(200, {**longer, "Connection": "close"}, whole.body)
    assert "broke off" in refuses(capsys, agent.url, "--stream")


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
@pytest.mark.parametrize("stream", [(), ("--stream",)])
@pytest.mark.parametrize(
    ("status", "kind", "body", "texts"),
    [
        (401, "application/json", b'{"detail":"Token expired at noon"}', ["401", "at noon"]),
        (
            422,
            "application/json",
            b'{"detail":[{"loc":["body","message"],"msg":"Field required","type":"missing"}]}',
            ["422", "body.message: Field required"],
        ),
        (502, "application/json", b'{"message":"upstream restarts"}', ["502", "upstream restarts"]),
        (
            403,
            "application/problem+json",
            b'{"type":"about:blank","title":"No credit","detail":"Balance is 30"}',
            ["403", "No credit", "Balance is 30"],
        ),
        (
            400,
            "application/json",
            b'{"error":"invalid_token","error_description":"It expired"}',
            ["400", "It expired", "invalid_token"],
        ),
        (500, "application/json", b'{"error":{"message":"boom"}}', ["500", "boom"]),
        (500, "application/json", b'{"errors":[{"message":"a"},{"message":"b"}]}', ["a; b"]),
        (500, "application/json", b'{"odd":"boom"}', ["500", "boom"]),
        (503, "text/plain", b"try later", ["503", "try later"]),
        (
            502,
            "text/html",
            b"<html><head><title>502 Bad&nbsp;Gateway</title></head><body>x</body></html>",
            ["status 502: 502 Bad Gateway"],
        ),
        (500, "text/html", b"<h1>Server&#39;s fault</h1>", ["Server's fault"]),
        (500, "text/html", b"<title" * 10_000 + b"<" * 10_000, ["500"]),
        (404, "text/plain", b"", ["404"]),
        (302, "text/plain", b"", ["302", "http://elsewhere.example/"]),
        (200, "text/html", b"<title>Please log in</title>", ["200", "Please log in"]),
        (200, "application/json", b"", ["200"]),
    ],
)
def test_errors_are_told_as_they_came(
    agent: Agent,
    binding: str,
    stream: tuple[str, ...],
    status: int,
    kind: str,
    body: bytes,
    texts: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent.binding = binding
    headers = {"Content-Type": kind}
    if status == 302:
        headers["Location"] = "http://elsewhere.example/"
    agent.answer = lambda asked: Answer(status, headers, body)
    told = refuses(capsys, agent.url, *stream)
    if status == 200 and binding == "HTTP+JSON":
        assert "not A2A" in told
    else:
        assert all(text in told for text in texts), told


def test_what_a_json_rpc_error_says_in_its_data(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"code": -32603, "message": "Internal error", "data": "the disk is full"}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()
    agent.answer = lambda asked: Answer(200, JSON, body)
    assert "Internal error: the disk is full" in refuses(capsys, agent.url)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)],
)
def test_answers_in_a_coding_that_nobody_asked_for(
    agent: Agent,
    coding: str,
    encode: Callable[[bytes], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    headers = {**JSON, "Content-Encoding": coding}
    agent.card_answer = lambda asked, card: Answer(200, headers, encode(card))
    body = agent.wrapped({"task": TASK})
    agent.answer = lambda asked: Answer(200, headers, encode(body))
    says_hello(capsys, agent.url)
    stream = agent.events({"task": WORKING}, {"task": TASK}).body
    agent.answer = lambda asked: Answer(200, {**headers, **SSE}, encode(stream))
    says_hello(capsys, agent.url, "--stream")
    assert all(asked.headers["Accept-Encoding"] == "identity" for asked in agent.asked)


def test_a_post_is_redirected_within_the_origin(
    agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    def slash(asked: Asked) -> Answer:
        if asked.path == "/a2a":
            return Answer(307, {"Location": "/a2a/"}, b"")
        return agent.result({"task": TASK})

    agent.answer = slash
    says_hello(capsys, agent.url, "--header", "X-Key: k")
    first, second = agent.asked[-2:]
    assert (second.method, second.path, second.body) == ("POST", "/a2a/", first.body)
    assert second.headers["X-Key"] == "k"


# --- credentials ----------------------------------------------------------------------------------


def test_credentials_stay_with_the_origin_that_the_user_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named, other = Agent(), Agent()
    with serving(named, other):
        there = other.url + "/a2a"
        named.change = lambda card: {
            **card,
            "supportedInterfaces": [{**card["supportedInterfaces"][0], "url": there}],
        }
        key = ["--header", "X-API-Key: k3y", "--header", "Authorization: Bearer s3cret"]
        told = says_hello(capsys, named.url, *key)
        assert "--header-origin" in told
        assert "k3y" not in told
        assert named.asked[0].headers["X-API-Key"] == "k3y"
        assert not {"X-API-Key", "Authorization"} & other.asked[0].headers.keys()
        told = says_hello(capsys, named.url, *key, "--header-origin", other.url)
        assert "header" not in told
        assert other.asked[1].headers["X-API-Key"] == "k3y"
        assert says_hello(capsys, named.url) == "[a]\n(completed)\n"  # nothing to say of headers
        # The user name and password of the address are credentials, too, and those of a card none.
        there = other.url.replace("://", "://card:pw@") + "/a2a"
        told = says_hello(capsys, named.url.replace("://", "://me:s3cret@"))
        assert "s3cret" not in told
        assert "Authorization" not in other.asked[3].headers
        # Another port is another origin for a redirect, too.
        named.change = lambda card: card
        named.answer = lambda asked: Answer(307, {"Location": there}, b"")
        assert "redirects to another server" in refuses(capsys, named.url, *key)
        assert len(other.asked) == 4


def test_the_users_name_in_the_address(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    says_hello(capsys, agent.url.replace("://", "://me:s%3Aecret@"))
    assert {one.headers["Authorization"] for one in agent.asked} == {"Basic bWU6czplY3JldA=="}
    waits = {**WORKING, "status": {"state": "TASK_STATE_INPUT_REQUIRED"}}
    agent.answer = lambda asked: agent.result({"task": waits})
    told = refuses(capsys, agent.url.replace("://", "://me:s3cret@"), code=4)
    assert "answer with: greenroom send" in told
    assert "s3cret" not in told


# --- arguments and terminals ----------------------------------------------------------------------


def test_paths_that_are_not_ascii(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/агент"

    def moved(card: dict[str, Any]) -> dict[str, Any]:
        card["supportedInterfaces"][0]["url"] = agent.url + path
        return card

    agent.change = moved
    says_hello(capsys, agent.url + path)
    assert agent.asked[-1].path == "/%D0%B0%D0%B3%D0%B5%D0%BD%D1%82"


def test_an_argument_and_a_terminal_that_are_not_utf8(agent: Agent) -> None:
    """As a process: the bytes of arguments and the encoding of the terminal are its own."""
    task = {**TASK, "artifacts": [{"artifactId": "a", "parts": [{"text": "hé → 日"}]}]}
    agent.answer = lambda asked: agent.result({"task": task})
    command = [sys.executable, "-m", "greenroom", "send", agent.url]
    environ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*command, "hi"], env=environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"h\\xe9 \\u2192 \\u65e5\n")
    wrong = subprocess.run([*command, b"caf\xe9"], capture_output=True, timeout=60)
    assert (wrong.returncode, wrong.stderr) == (2, b"greenroom: the text is not UTF-8\n")
    piped = subprocess.run([*command, "-"], input=b"\xff", capture_output=True, timeout=60)
    assert piped.returncode == 2
    assert b"standard input is not" in piped.stderr
    marked = subprocess.run([*command, "-"], input=b"\xef\xbb\xbfhi", timeout=60)
    assert marked.returncode == 0
    assert json.loads(agent.asked[-1].body)["params"]["message"]["parts"] == [{"text": "hi"}]


def test_the_time_of_the_whole_command(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    over = threading.Event()

    def wait(asked: Asked) -> Answer:
        over.wait(30)
        return agent.result({"task": TASK})

    agent.answer = wait
    told = refuses(capsys, agent.url, "--timeout", "0.3")
    over.set()
    assert "the task may still go on" in told
    assert "s3cret" not in refuses(capsys, agent.url, "--header", "s3cret", code=2)
    assert "s3cret" not in refuses(capsys, agent.url, "--header", "X:s3c\nret")
    assert "above 0" in refuses(capsys, agent.url, "--timeout", "0", code=2)
    assert "above 0" in refuses(capsys, agent.url, "--timeout", "nan", code=2)
