"""The answer of a server: status, header fields, and a body that is read once and decoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Self

import anyio
import httpcore2

from .coding import Decoder, decoders
from .errors import UnusableAnswerError
from .failures import Limits, http_errors, time_limit

_SINGLE = frozenset({"content-length", "content-type", "location"})


class Response:
    """Status and header fields (names in lower case), and a body to read once."""

    def __init__(self, response: httpcore2.Response, limits: Limits, started: float) -> None:
        self.status = response.status
        self.headers = _fields(response.headers)
        self._response = response
        self._source: AsyncIterator[bytes] = response.aiter_stream()
        self._limits = limits
        self._started = started

    async def read(self) -> bytes:
        """Return the whole body, decoded. Raises HttpError if it is too long or breaks off."""
        limit = self._limits.body
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise UnusableAnswerError(f"the answer is longer than {limit} bytes")
        body = bytearray()
        async for chunk in self._decoded(self._limits.total):
            body += chunk
            if len(body) > limit:
                raise UnusableAnswerError(f"the answer is longer than {limit} bytes")
        return bytes(body)

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the decoded body as it comes.

        Raises HttpError when the body breaks off, is silent or lasts too long.
        """
        return self._decoded(self._limits.stream)

    def _decoded(self, seconds: float | None) -> _Chunks:
        coding = decoders(self.headers.get("content-encoding", ""))
        deadline = None if seconds is None else self._started + seconds
        return _Chunks(self._source, coding, self._limits, deadline)

    async def aclose(self) -> None:
        """End the body. A connection whose answer was not read to its end is closed."""
        with anyio.CancelScope(shield=True):
            if isinstance(self._source, AsyncGenerator):
                await self._source.aclose()
            await self._response.aclose()


class _Chunks:
    """An iterator and no generator: who stops in the middle leaves nothing to be closed."""

    def __init__(
        self,
        source: AsyncIterator[bytes],
        coding: Sequence[Decoder],
        limits: Limits,
        deadline: float | None,
    ) -> None:
        self._source = source
        self._coding = coding
        self._limits = limits
        self._deadline = deadline
        self._pieces: Iterator[bytes] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while (piece := next(self._pieces, None)) is None:
            data = await self._receive()
            if data is None:
                for decoder in self._coding:
                    decoder.end()
                raise StopAsyncIteration
            self._pieces = _through(self._coding, data)
        return piece

    async def _receive(self) -> bytes | None:
        with time_limit(self._deadline), http_errors(self._limits):
            return await anext(self._source, None)


def _fields(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the fields with names in lower case; of those that may be repeated, all values."""
    fields: dict[str, str] = {}
    for key, content in raw:
        name, value = key.decode("latin1").lower(), content.decode("latin1")
        if name not in fields:
            fields[name] = value
        elif name not in _SINGLE:
            fields[name] += f", {value}"
    return fields


def _through(coding: Sequence[Decoder], data: bytes) -> Iterator[bytes]:
    """Yield ``data`` decoded by every decoder in turn."""
    if not coding:
        yield data
        return
    for piece in coding[0].decode(data):
        yield from _through(coding[1:], piece)
