"""Takes the webhooks of an A2A server, each of them once, and prints what they tell.

python examples/webhook_receiver.py
"""

from __future__ import annotations

import os

import anyio
from hypercorn.asyncio import serve
from hypercorn.config import Config

from greenroom.protocol.types import StreamResponse
from greenroom.webhooks import Delivery, receiver

TOKEN = os.environ.get("WEBHOOK_TOKEN", "a-token-of-mine")


def told(delivery: Delivery) -> None:
    event = delivery.event
    if not isinstance(event, StreamResponse):
        print(event.status.state.name.lower(), flush=True)
    elif event.status_update is not None:
        print(event.status_update.status.state.name.lower(), flush=True)
    elif event.artifact_update is not None:
        for part in event.artifact_update.artifact.parts:
            print(part.text or "", end="", flush=True)


app = receiver(told, token=TOKEN)

if __name__ == "__main__":
    config = Config()
    config.bind = ["127.0.0.1:9000"]
    anyio.run(serve, app, config)
