"""Request bodies: read at once and whole, within limits, before anything is answered.

Answering while a body is still on its way hurts: over HTTP/2 an unread body blocks, and an early
answer can kill, every other stream of the connection; over HTTP/1.1 the client may lose the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from types import coroutine
from typing import Any

import anyio

from ...protocol.errors import (
    ContentTypeNotSupportedError,
    InvalidRequestError,
    PayloadTooLargeError,
    RefusedError,
)
from ..errors import ClientGone
from .errors import BodyTimeoutError, ContentEncodingError
from .exchange import Exchange, Message


class _Body:
    """What has arrived so far; what goes beyond ``limit`` is counted and dropped."""

    __slots__ = ("chunks", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.limit = limit

    def add(self, message: Message) -> bool:
        """Take one ASGI message; return whether the body is complete."""
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        if chunk:
            self.size += len(chunk)
            if self.size <= self.limit:
                self.chunks.append(chunk)
            elif self.chunks:
                self.chunks.clear()
        return not message.get("more_body", False)


async def read(exchange: Exchange, *, keep: bool = True) -> bytes:
    """Return the whole body; without ``keep`` it passes by.

    Raises PayloadTooLargeError, BodyTimeoutError and ClientGone.
    """
    exchange.received = True
    limit = exchange.settings.max_body if keep else 0
    if _too_long(exchange, limit):
        if _asks_first(exchange):
            raise _too_large(exchange)
        limit = 0  # keep nothing of it
    body = _Body(limit)
    try:
        if not await _collect(exchange, body):
            await _drain(exchange, body)
    except TimeoutError:
        raise BodyTimeoutError(
            f"The request body did not arrive within {exchange.settings.body_timeout:g} seconds"
        ) from None
    if body.size > body.limit:
        raise _too_large(exchange)
    chunks = body.chunks
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def discard(exchange: Exchange) -> None:
    """Read and forget the body, unless it has been read, of a request answered without it.

    A client that asks before it sends its body keeps the body.
    """
    if exchange.received or _asks_first(exchange):
        return
    with contextlib.suppress(RefusedError):  # the other reason stands
        await read(exchange, keep=False)


def _too_long(exchange: Exchange, limit: int) -> bool:
    """Whether the header says that the body is longer than ``limit`` bytes."""
    declared = exchange.fields.get(b"content-length")
    if declared is None or not declared.isdigit():
        return False
    return len(declared) > 18 or int(declared) > limit


def _asks_first(exchange: Exchange) -> bool:
    """Whether the client sends no body before it is told to (RFC 9110 section 10.1.1).

    Over HTTP/2 this changes nothing: an answer in front of the body harms the other streams.
    """
    return (
        exchange.fields.get(b"expect", b"").lower() == b"100-continue"
        and exchange.scope.get("http_version", "1.1") == "1.1"
    )


def _too_large(exchange: Exchange) -> PayloadTooLargeError:
    limit = exchange.settings.max_body
    return PayloadTooLargeError(
        f"The request body is longer than {limit} bytes", maxBytes=str(limit)
    )


async def _collect(exchange: Exchange, body: _Body) -> bool:
    """Receive until the body is complete or too long; raise TimeoutError when its time is up.

    A small body is mostly here already, and then no clock is set up: only when the server has to
    wait for more. On asyncio the clock is asyncio's own: scopes of anyio must nest, and that of a
    host's middleware may be held open by ``receive`` while it waits.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        with anyio.fail_after(exchange.settings.body_timeout):
            while body.size <= body.limit:
                if body.add(await exchange.receive()):
                    return True
        return False
    deadline = 0.0
    while body.size <= body.limit:
        pending = exchange.receive().__await__()
        try:
            parked = next(pending)
        except StopIteration as done:
            message: Message = done.value
        else:
            deadline = deadline or loop.time() + exchange.settings.body_timeout
            async with asyncio.timeout_at(deadline):
                message = await _resume(pending, parked)
        if body.add(message):
            return True
    return False


async def _drain(exchange: Exchange, body: _Body) -> None:
    """Let a refused body pass by: all of it over HTTP/2, a bounded amount over HTTP/1.1."""
    whole = not exchange.scope.get("http_version", "1.1").startswith("1")
    enough = body.size + exchange.settings.drain
    with anyio.move_on_after(exchange.settings.body_timeout):
        while whole or body.size < enough:
            if body.add(await exchange.receive()):
                return


@coroutine
def _resume(pending: Generator[Any, Any, Message], parked: Any) -> Generator[Any, Any, Message]:
    """Await the rest of what was begun with ``next``: ``yield from``, from the middle on."""
    while True:
        try:
            try:
                value = yield parked
            except BaseException as error:
                parked = pending.throw(error)
            else:
                parked = next(pending) if value is None else pending.send(value)
        except StopIteration as done:
            message: Message = done.value
            return message


_JSON_TYPES = frozenset({b"application/json", b"application/a2a+json"})


def check_content(exchange: Exchange, body: bytes) -> None:
    """Refuse a body that is compressed, or that does not say it is JSON (a browser's plain forms
    cannot say so). Raises ContentEncodingError, ContentTypeNotSupportedError, InvalidRequestError.
    """
    if not body:
        return
    fields = exchange.fields
    encoding = fields.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        raise ContentEncodingError
    raw = fields.get(b"content-type", b"")
    if raw in _JSON_TYPES:
        return
    kind, _, parameters = raw.partition(b";")
    if kind.strip().lower() not in _JSON_TYPES:
        named = raw.decode("latin-1")[:64] or "none"
        raise ContentTypeNotSupportedError(
            f"Send Content-Type: application/json or application/a2a+json (this one was {named})"
        )
    charset = parameters.replace(b" ", b"").replace(b'"', b"").lower().partition(b"charset=")[2]
    if charset.partition(b";")[0] not in (b"", b"utf-8", b"utf8", b"us-ascii"):
        raise InvalidRequestError("JSON is UTF-8 here: leave the charset out or say charset=utf-8")
