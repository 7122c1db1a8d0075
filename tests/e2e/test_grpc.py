"""`greenroom serve --grpc-port`: one process, both servers, one end."""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from a2a.types import a2a_pb2 as pb
from a2a.types import a2a_pb2_grpc as stubs

from tests.support.interpreters import pythons
from tests.support.processes import AGENTS, cli
from tests.support.servers import as_process


def said(text: str) -> pb.SendMessageRequest:
    message = pb.Message(message_id=text, role="ROLE_USER", parts=[pb.Part(text=text)])
    return pb.SendMessageRequest(message=message)


@pytest.mark.parametrize("python", pythons())
def test_a_stop_sends_grpc_streams_elsewhere_within_the_deadline(
    python: str, tmp_path: Path
) -> None:
    options = ("--store", f"sqlite:///{tmp_path}/tasks.db", "--grace", "1", "--deadline", "12")
    with as_process("--grpc-port", "0", *options, python=python) as server:
        address = server.ready["grpc"]
        with urllib.request.urlopen(server.ready["card"]) as response:
            assert f'"{address}"'.encode() in response.read()
        with grpc.insecure_channel(address) as channel:
            client: Any = stubs.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            done = client.SendMessage(said("echo hello"), timeout=10).task
            assert done.status.state == pb.TASK_STATE_COMPLETED
            assert server.send("echo hello")["task"]["id"] != done.id
            events = client.SendStreamingMessage(said("forever"), timeout=60)
            next(events)
            short = client.SendStreamingMessage(said("count 10"), timeout=60)
            next(short)
            ended: list[grpc.RpcError] = []

            def rest() -> None:
                try:
                    list(events)
                except grpc.RpcError as error:
                    ended.append(error)

            reading = threading.Thread(target=rest)
            reading.start()
            assert server.stop() == 0
            reading.join(timeout=10)
            *_, last = short  # what ends within the grace is told its end
            assert last.status_update.status.state == pb.TASK_STATE_COMPLETED
    assert [error.code() for error in ended] == [grpc.StatusCode.UNAVAILABLE]
    assert "Traceback" not in server.log


def test_both_servers_have_the_same_words_for_certificates(tmp_path: Path) -> None:
    """What is set for HTTP goes for gRPC: which proxies vouch, who needs a certificate."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    files = {"certfile": made.cert_chain_pems[0], "keyfile": made.private_key_pem}
    options = ["--grpc-port", "0", "--store", "memory://", "--client-certificate", "optional"]
    for name, pem in {**files, "client-ca": authority.cert_pem}.items():
        pem.write_to_path(str(tmp_path / name))
        options += [f"--{name}", str(tmp_path / name)]
    options += ["--set", "auth.mtls=forwarded", "--set", "http.trusted_proxies=127.0.0.1"]
    told = ("x-forwarded-client-cert", "URI=spiffe://example.org/ada")
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with (
        as_process(*options) as server,
        grpc.secure_channel(server.ready["grpc"], credentials) as channel,
    ):
        client: Any = stubs.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        assert client.SendMessage(said("echo hello"), timeout=10, metadata=[told]).task.id
        with pytest.raises(grpc.RpcError) as refused:
            client.SendMessage(said("echo again"), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_grpc_is_refused_under_trio_with_what_works_there() -> None:
    ran = cli("serve", f"{AGENTS}:agent", "--backend", "trio", "--grpc-port", "0")
    assert ran.returncode == 2
    assert "grpc_port needs backend = asyncio" in ran.stderr


def test_the_cards_of_http_may_leave_grpc_out() -> None:
    options = ("--store", "memory://", "--grpc-port", "0", "--set", "grpc.on_card=false")
    with as_process(*options) as server:
        with urllib.request.urlopen(server.ready["card"]) as response:
            assert b"GRPC" not in response.read()
        with grpc.insecure_channel(server.ready["grpc"]) as channel:
            client: Any = stubs.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            done = client.SendMessage(said("echo hello"), timeout=10).task
            assert done.status.state == pb.TASK_STATE_COMPLETED
