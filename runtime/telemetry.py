"""Spans and log fields. OpenTelemetry is used where it is installed, and costs nothing elsewhere.

W3C trace context comes in with the call (``traceparent``, ``tracestate``). A handler runs in the
context of the operation that started it, so what it calls carries the trace on.
"""

from __future__ import annotations

# pyright: reportPossiblyUnboundVariable=false
# Every use of what the extra installs is behind TRACING.
from collections.abc import Generator
from contextlib import contextmanager

from ..protocol.errors import A2AError
from .call import Call

try:
    from opentelemetry import propagate as propagate
    from opentelemetry import trace as trace
except ImportError:  # the extra `telemetry` is not installed
    TRACING = False
else:
    TRACING = True


@contextmanager
def operation_span(call: Call, name: str, agent: str) -> Generator[None, None, None]:
    """The server's span of one operation, a child of the caller's trace."""
    carrier: dict[str, str] = {}
    if call.traceparent:
        carrier["traceparent"] = call.traceparent
        if call.tracestate:
            carrier["tracestate"] = call.tracestate
    tracer = trace.get_tracer("greenroom")
    with tracer.start_as_current_span(
        f"a2a.{name}",
        context=propagate.extract(carrier) if carrier else None,
        kind=trace.SpanKind.SERVER,
        attributes={
            "rpc.system": "a2a",
            "rpc.method": name,
            "a2a.binding": call.binding,
            "a2a.version": call.version,
            "a2a.agent": agent,
        },
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except A2AError as error:
            span.set_attribute("a2a.error", type(error).__name__)
            raise


def tracing() -> bool:
    """Whether somebody collects spans: with the bare API there is nothing to do."""
    if not TRACING:
        return False
    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
