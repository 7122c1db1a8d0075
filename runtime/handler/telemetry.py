"""Spans and log fields of a handler that runs."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .. import telemetry
from ..actor.actor import Actor

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
        if telemetry.TRACING:
            span = telemetry.trace.get_current_span().get_span_context()
            if span.is_valid:
                record.trace_id = telemetry.trace.format_trace_id(span.trace_id)
        return True


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
    tracer = telemetry.trace.get_tracer("greenroom")
    with tracer.start_as_current_span(f"handle {actor.agent.slug}", attributes=attributes):
        yield
