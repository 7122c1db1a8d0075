"""Spans and log fields. OpenTelemetry is used where it is installed, and costs nothing elsewhere.

W3C trace context comes in with the call (``traceparent``, ``tracestate``). A handler runs in the
context of the operation that started it, so what it calls carries the trace on.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..protocol.errors import A2AError
from .call import Call

if TYPE_CHECKING:
    from .actor.actor import Actor

try:
    from opentelemetry import propagate, trace
except ImportError:  # the extra `telemetry` is not installed
    TRACING = False
else:
    TRACING = True

current_actor: ContextVar[Actor | None] = ContextVar("greenroom_actor", default=None)
"""The actor whose handler runs."""


class TaskFields(logging.Filter):
    """Adds the task, its generation, its agent and the node to records of a running handler, and
    the trace id to those of a traced operation. Put it on a logging handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        actor = current_actor.get()
        if actor is not None:
            record.task = record.__dict__.get("task") or actor.id
            record.context = actor.context_id
            record.generation = actor.generation
            record.agent = actor.agent.slug
            record.node = actor.system.node
        if TRACING:
            span = trace.get_current_span().get_span_context()
            if span.is_valid:
                record.trace_id = trace.format_trace_id(span.trace_id)
        return True


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


@contextmanager
def handler_span(actor: Actor) -> Generator[None, None, None]:
    """The span of one run of a handler."""
    attributes: dict[str, Any] = {
        "a2a.task.id": actor.id,
        "a2a.context.id": actor.context_id,
        "a2a.agent": actor.agent.slug,
        "a2a.run": actor.run,
        "a2a.attempt": actor.attempts,
    }
    tracer = trace.get_tracer("greenroom")
    with tracer.start_as_current_span(f"handle {actor.agent.slug}", attributes=attributes):
        yield


def tracing() -> bool:
    """Whether somebody collects spans: with the bare API there is nothing to do."""
    if not TRACING:
        return False
    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
