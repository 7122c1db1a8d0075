"""Frames of HTTP/2 over TLS against real processes: what is served, and what is bounded."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from h2.settings import SettingCodes
from hyperframe.frame import Frame, PingFrame, PriorityFrame, SettingsFrame, WindowUpdateFrame

from tests.support.processes import Process
from tests.support.servers import as_process

from .conftest import HEALTH, answered, connect_tls, until_closed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIELDS = [(":method", "GET"), (":scheme", "https"), (":authority", "127.0.0.1")]


@pytest.fixture(scope="module")
def server(loop: tuple[str, ...], certificate: Path) -> Iterator[Process]:
    tls = ("--certfile", str(certificate), "--keyfile", str(certificate), "--http2")
    more = ("--set", "http.write_timeout=1")
    with as_process("--store", "memory://", *loop, *tls, *more) as server:
        yield server


class Client:
    """h2's client; it checks nothing of what it sends."""

    def __init__(self, server: Process, authority: trustme.CA) -> None:
        self.socket = connect_tls(server, authority, "h2")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def request(self, *fields: tuple[str, str], path: str = "/health") -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*FIELDS, (":path", path), *fields], end_stream=True)
        self.flush()
        return stream

    def events(self) -> Iterator[h2.events.Event]:
        """What the server sends, until it closes."""
        try:
            while data := self.socket.recv(65536):
                yield from self.h2.receive_data(data)
        except (ConnectionError, ssl.SSLError):
            pass

    def status(self, stream: int) -> str:
        for event in self.events():
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                return str(dict(event.headers or ())[b":status"].decode())
        raise AssertionError("no answer")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def serves(server: Process, authority: trustme.CA) -> None:
    assert server.process.poll() is None
    with Client(server, authority) as client:
        assert client.status(client.request()) == "200"


def test_it_is_served_where_alpn_chose_it(server: Process, authority: trustme.CA) -> None:
    serves(server, authority)


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
def test_and_nowhere_else(server: Process, authority: trustme.CA, alpn: tuple[str, ...]) -> None:
    with connect_tls(server, authority, *alpn) as connection:
        connection.sendall(PREFACE + SettingsFrame(0).serialize())
        assert until_closed(connection).startswith(b"HTTP/1.1 505 ")
    with connect_tls(server, authority, *alpn) as connection:
        connection.sendall(HEALTH + b"\r\n")
        answered(connection)


FLOODS: dict[str, Frame] = {
    "ping": PingFrame(0, bytes(8)),
    "settings": SettingsFrame(0, {SettingCodes.MAX_FRAME_SIZE: 16_384}),
    "priority": PriorityFrame(3, depends_on=0, stream_weight=3),
    "window": WindowUpdateFrame(0, window_increment=1),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_control_frames_ends_its_connection(
    server: Process, authority: trustme.CA, frame: Frame
) -> None:
    with Client(server, authority) as client:
        try:
            for _ in range(40):
                client.socket.sendall(frame.serialize() * 200)
        except (ConnectionError, ssl.SSLError):
            pass
        list(client.events())  # it ends
    serves(server, authority)


def test_a_flood_of_requests_that_are_taken_back_ends_its_connection(
    server: Process, authority: trustme.CA
) -> None:
    with Client(server, authority) as client:
        try:
            for _ in range(3000):
                client.h2.reset_stream(client.request())
        except (ConnectionError, ssl.SSLError):
            pass
        list(client.events())
    serves(server, authority)


def test_answers_without_a_window_do_not_wait_for_ever(
    server: Process, authority: trustme.CA
) -> None:
    with Client(server, authority) as client:
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        for _ in range(50):
            client.request(path="/.well-known/agent-card.json")
        list(client.events())  # it ends
    serves(server, authority)


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), (":path", "/h\u00e9alth")],
        [(":method", "G\u00c9T"), (":path", "/health")],
        [(":method", "CONNECT"), (":authority", "127.0.0.1")],
        [(":method", "GET")],
        [(":path", "/health")],
        [(":method", "GET"), (":path", "/ /health")],
        [(":method", "GET"), (":path", "health")],
    ],
)
def test_a_header_that_http1_could_not_carry_is_refused(
    server: Process, authority: trustme.CA, fields: list[tuple[str, str]]
) -> None:
    with Client(server, authority) as client:
        client.h2.send_headers(1, [(":scheme", "https"), *fields], end_stream=True)
        client.flush()
        for event in client.events():
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                break
            assert not isinstance(event, h2.events.ResponseReceived)
    serves(server, authority)


def test_nothing_of_it_gets_into_the_log(server: Process) -> None:
    """The last test of this module: what the others sent leaves no traceback behind."""
    assert server.stop() == 0
    assert "Traceback" not in server.log, server.log
