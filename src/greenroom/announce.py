"""What a server says when it is ready: for people, or one JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .runtime.handler.agent import Agent
    from .settings.settings import Settings

CARD = "/.well-known/agent-card.json"


def announce(
    url: str, agents: Sequence[Agent], settings: Settings, *, grpc: str | None = None
) -> None:
    """Write to standard output where the server is; ``url`` is the address bound.

    In JSON: ``{"event": "ready", "url", "card", "store", "backend", "version", "agents": [{"slug",
    "name", "url", "card"}], "grpc"}`` on one line; ``grpc`` is ``host:port``, where it is served.
    """
    base = (settings.public_url or url).rstrip("/")
    listed = [
        {
            "slug": agent.slug,
            "name": agent.name,
            # The first one is the default agent: at the root as well as below its own prefix.
            "url": f"{base}/a2a" if index == 0 else f"{base}/a2a/agents/{agent.slug}/a2a",
            "card": base + CARD if index == 0 else f"{base}/a2a/agents/{agent.slug}{CARD}",
        }
        for index, agent in enumerate(agents)
    ]
    if settings.log_format == "json":
        line = {
            "event": "ready",
            "url": url,
            "card": base + CARD,
            "store": settings.store,
            "backend": settings.backend,
            "version": version("greenroom"),
            "agents": listed,
        }
        if grpc is not None:
            line["grpc"] = grpc
        text = msgspec.json.encode(line).decode()
    else:
        rows = "".join(f"\n  agent  {row['name']}: {row['card']}" for row in listed)
        gc = "tuned (frozen after start)" if settings.tune_gc else "as Python has it"
        text = (
            f"Greenroom {version('greenroom')} listens on {url}{rows}"
            + (f"\n  gRPC   {grpc}" if grpc is not None else "")
            + f"\n  store  {settings.store}\n  loop   {settings.backend}, garbage collector {gc}"
        )
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
