"""Send the spans of a server where the standard ``OTEL_...`` variables say.

A program that sets a tracer provider of its own, or `opentelemetry-instrument`, comes first: then
this module does nothing. Without one of the variables nothing of OpenTelemetry is loaded here.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from typing import Any

import anyio

from .runtime.telemetry import tracing

log = logging.getLogger("greenroom.telemetry")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_FLUSH = 5.0
"""Seconds that the last spans get to reach the collector when the server stops."""


@asynccontextmanager
async def exporting(environ: Mapping[str, str]) -> AsyncGenerator[None, None]:
    """Export spans while the block runs, if ``environ`` asks for it; send the last at its end."""
    provider = _provider(environ)
    yield
    if provider is not None:
        with anyio.move_on_after(_FLUSH, shield=True):
            await anyio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def wanted(environ: Mapping[str, str]) -> str:
    """Return the name of the exporter that ``environ`` asks for, as OpenTelemetry registers it;
    empty: none."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    named = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if named == "none" or not (named or any(environ.get(name) for name in _ENDPOINTS)):
        return ""
    if named not in ("", "otlp"):
        return named
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


def _provider(environ: Mapping[str, str]) -> Any:
    """Set the tracer provider of this process and return it; ``None``: nobody asked, somebody else
    set one, or a package is missing, which a warning tells."""
    name = wanted(environ)
    if not name or tracing():
        return None
    exporter: Any = None
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        [entry_point] = entry_points(group="opentelemetry_traces_exporter", name=name)
        exporter = entry_point.load()()
    except (ImportError, ValueError) as error:
        package = {
            "otlp_proto_grpc": "opentelemetry-exporter-otlp-proto-grpc",
            "otlp_proto_http": "greenroom[telemetry]",
            "console": "greenroom[telemetry]",
        }.get(name, "the package that has it")
        log.warning(
            "no spans are exported: the environment asks for the exporter %r, which is not "
            "installed (%s). Install it (pip install '%s'), or set OTEL_TRACES_EXPORTER=none",
            name, error, package,
            extra={"event": "telemetry_missing"},
        )  # fmt: skip
        return None
    service = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME") or "greenroom"})
    provider = TracerProvider(resource=service)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider
