"""A receiver of webhooks that keeps a ledger: all that came, in the order in which it came."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct


class Delivery(Struct, frozen=True):
    """One request, as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    status: int
    """What it was answered."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(Struct, frozen=True):
    """What to answer. Status 0: close the connection without an answer."""

    status: int = 204
    headers: Mapping[str, str] = {}
    cut: bool = False
    """End the answer before its body is whole."""


Answering = Callable[[str, Mapping[str, str], bytes], Reply]


def welcome(path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    return Reply()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders that die are what some tests are about."""


class Receiver:
    """Listens on a free port of this machine, in threads of its own."""

    def __init__(self, answer: Answering = welcome) -> None:
        self.answer = answer
        self.ledger: list[Delivery] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # the sender died half way
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = receiver.answer(self.path, headers, body)
                receiver.add(Delivery(self.path, headers, body, reply.status))
                self._reply(reply)

            do_GET = do_POST

            def _reply(self, reply: Reply) -> None:
                if not reply.status:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "10" if reply.cut else "0")
                self.end_headers()
                if reply.cut:
                    self.wfile.write(b"half")
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, delivery: Delivery) -> None:
        with self._changed:
            self.ledger.append(delivery)
            self._changed.notify_all()

    def of(self, path: str) -> list[Delivery]:
        """What came for one path and was accepted."""
        return [one for one in self.ledger if one.path == path and 200 <= one.status < 300]

    def wait_for(self, condition: Callable[[list[Delivery]], Any], within: float = 20.0) -> Any:
        """Wait until the ledger is so; return what ``condition`` returned."""
        with self._changed:
            found = self._changed.wait_for(lambda: condition(self.ledger), within)
        assert found, f"the receiver has {len(self.ledger)} deliveries"
        return found

    def once(self, path: str) -> list[Delivery]:
        """What came for a path without the repeats: of each id the first."""
        first: dict[str, Delivery] = {}
        for one in self.of(path):
            first.setdefault(one.id, one)
        return list(first.values())

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving(answer: Answering = welcome) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(answer)
    thread = threading.Thread(target=receiver.serve, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.close()
        thread.join()
