"""Spans leave a server as the standard variables of OpenTelemetry say."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from greenroom.exporting import wanted
from tests.support.servers import as_process


class Collector(ThreadingHTTPServer):
    """Takes spans as an OpenTelemetry collector does (OTLP over HTTP)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_spans_reach_the_collector_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever).start()
        port = collector.server_address[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        with as_process("--store", "memory://") as server:
            server.send("echo hello")
            assert server.stop() == 0
        collector.shutdown()
    [(path, _), *_] = collector.requests
    assert path == "/v1/traces"
    resources = [one for _, request in collector.requests for one in request.resource_spans]
    names = [s.name for one in resources for scope in one.scope_spans for s in scope.spans]
    assert sorted(names) == ["a2a.SendMessage", "handle e2e"]
    said = {item.key: item.value.string_value for item in resources[0].resource.attributes}
    assert said["service.name"] == "shop"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with as_process("--store", "memory://") as server:
        server.send("echo hello")
        assert server.stop() == 0
    [warned] = [
        line
        for line in map(json.loads, server.log.splitlines())
        if line.get("event") == "telemetry_missing"
    ]
    assert "'zipkin'" in warned["message"]
    assert "pip install" in warned["message"]


def test_the_sdk_that_is_missing_is_named(tmp_path: Path) -> None:
    """In a process in which ``opentelemetry`` cannot be imported."""
    script = (
        "import sys, logging, anyio\n"
        "sys.modules['opentelemetry'] = None\n"
        "logging.basicConfig()\n"
        "from greenroom.exporting import exporting\n"
        "async def main():\n"
        "    async with exporting({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'}):\n"
        "        pass\n"
        "anyio.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "pip install 'greenroom[telemetry]'" in done.stderr


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, ""),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp_proto_http"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "otlp_proto_grpc",
        ),
    ],
)
def test_which_exporter_the_environment_asks_for(environ: dict[str, str], name: str) -> None:
    assert wanted(environ) == name
