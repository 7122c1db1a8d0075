# mypy: ignore-errors
"""The floor: an ASGI application that reads 300 bytes of JSON and answers 400, and does nothing."""

from __future__ import annotations

from .serve import main

BODY = b'{"jsonrpc":"2.0","id":1,"result":{"task":"' + b"x" * 355 + b'"}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    main(lambda options: app)
