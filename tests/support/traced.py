"""A process with a real OpenTelemetry SDK: the provider is one per process, so it has its own."""

from __future__ import annotations

import asyncio
import io
import json
import logging

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from greenroom import Agent, TaskContext, asgi
from greenroom.logs import configure

from .asgi import Peer, message

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"

agent = Agent("Traced")


@agent.handler
async def handle(ctx: TaskContext) -> str:
    logging.getLogger("user").info("at work")
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


async def main() -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    lines = io.StringIO()
    configure("info", "json", lines)
    app = asgi(agent, store="memory://")
    async with app.lifespan():
        answer = await Peer(app).call(
            "SendMessage", message("hi"), headers=[("traceparent", f"00-{TRACE}-{CALLER}-01")]
        )
    print(
        json.dumps(
            {
                "answer": answer.json,
                "spans": [
                    {
                        "name": span.name,
                        "trace": trace.format_trace_id(span.context.trace_id),
                        "parent": trace.format_span_id(span.parent.span_id) if span.parent else "",
                        "id": trace.format_span_id(span.context.span_id),
                        "attributes": dict(span.attributes or {}),
                    }
                    for span in spans.get_finished_spans()
                ],
                "log": [json.loads(line) for line in lines.getvalue().splitlines()],
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
