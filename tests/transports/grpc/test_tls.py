"""TLS and mutual TLS from files, and what happens when the files change."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from greenroom import Agent, TaskContext
from greenroom.transports.grpc.session import Session

from .serving import Serving, said, serving, stub


class Files:
    """A certificate authority and the files of a server."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authority = trustme.CA()
        self.ca = home / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.certfile, self.keyfile = home / "server.pem", home / "server.key"
        self.renew()

    def renew(self) -> bytes:
        """Put a new certificate in place, as certificate managers do; return it (DER)."""
        made = self.authority.issue_cert("localhost", "127.0.0.1")
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        for path, body in ((self.certfile, chain), (self.keyfile, made.private_key_pem.bytes())):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(body)
            fresh.replace(path)
        return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())

    def settings(self, **more: Any) -> dict[str, Any]:
        return {"certfile": str(self.certfile), "keyfile": str(self.keyfile), **more}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def call(running: Serving, files: Files, *pair: bytes) -> Any:
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes(), *pair)
    with grpc.secure_channel(f"localhost:{running.server.port}", credentials) as channel:
        return stub(channel).SendMessage(said("hello"), timeout=5)


def shown(running: Serving, files: Files) -> bytes | None:
    """The certificate that a new connection sees."""
    context = ssl.create_default_context(cafile=str(files.ca))
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", running.server.port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            return secure.getpeercert(binary_form=True)


def test_calls_over_tls(files: Files) -> None:
    with serving(**files.settings()) as running:
        assert call(running, files).task.id


def test_new_files_are_used_without_a_restart(files: Files) -> None:
    with serving(**files.settings(tls_reload=0.05)) as running:
        credentials = grpc.ssl_channel_credentials(files.ca.read_bytes())
        with grpc.secure_channel(f"localhost:{running.server.port}", credentials) as before:
            assert stub(before).SendMessage(said("hello"), timeout=5).task.id
            fresh = files.renew()
            running.until(
                lambda: running.server.listener.reloads == 1, "the new certificate is read"
            )
            assert shown(running, files) == fresh
            assert stub(before).SendMessage(said("hello"), timeout=5).task.id
            files.certfile.write_text("half of a certifi")
            running.until(
                lambda: running.server.listener.reload_failures > 0, "the bad file is noticed"
            )
            assert shown(running, files) == fresh
            fresh = files.renew()
            running.until(lambda: running.server.listener.reloads == 2, "the next one is read")
            assert shown(running, files) == fresh
        assert call(running, files).task.id


def test_a_certificate_that_comes_at_the_end_does_not_open_the_port_again(files: Files) -> None:
    with serving(**files.settings(tls_reload=0.01)) as running:
        files.renew()
        running.portal.call(running.server.drain, 0.0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.server.port))


def test_mutual_tls_needs_a_certificate_and_hands_it_to_the_runtime(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = files.authority.issue_cert("client@example.com")
    pair = (mine.private_key_pem.bytes(), b"".join(b.bytes() for b in mine.cert_chain_pems))
    agent = Agent("Echo", description="Says it back.")

    @agent.handler
    async def echo(ctx: TaskContext) -> str:
        return ctx.text

    with serving([agent], **files.settings(client_ca=str(files.ca))) as running:
        seen: list[bytes | None] = []
        made = Session.caller

        def spy(session: Session, metadata: Any, version: str) -> Any:
            caller = made(session, metadata, version)
            seen.append(caller.certificate)
            return caller

        monkeypatch.setattr(Session, "caller", spy)
        assert call(running, files, *pair).task.id
        assert seen == [ssl.PEM_cert_to_DER_cert(mine.cert_chain_pems[0].bytes().decode())]
        with pytest.raises(grpc.RpcError):
            call(running, files)


def test_peers_that_do_not_offer_http2_are_closed(files: Files) -> None:
    with serving(**files.settings()) as running:
        context = ssl.create_default_context(cafile=str(files.ca))
        with socket.create_connection(("127.0.0.1", running.server.port)) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.settimeout(5)
                with suppress(OSError):
                    assert secure.recv(1) == b""
        assert not running.sessions


def test_connections_count_from_before_their_handshake(files: Files) -> None:
    with serving(**files.settings(max_connections=1)) as running:
        address = ("127.0.0.1", running.server.port)
        with socket.create_connection(address) as silent:
            with socket.create_connection(address) as second:
                second.settimeout(10)
                assert second.recv(1) == b""
            silent.settimeout(0.1)
            with pytest.raises(TimeoutError):
                silent.recv(1)
