"""Content codings of an answer: gzip and deflate, undone piece by piece.

The client asks for none. Some servers send one all the same (RFC 9110 section 12.5.3).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from .errors import UnusableAnswerError

_PIECE = 64 * 1024
"""Bytes that one step makes at most, however well the input was compressed."""
_MOST = 3
"""Codings that one answer may have."""


class Decoder(Protocol):
    """Undoes one coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` adds, in pieces. Raises UnusableAnswerError."""
        ...

    def end(self) -> None:
        """Raise UnusableAnswerError if the content was cut off."""


def decoders(header: str) -> list[Decoder]:
    """Return what undoes ``Content-Encoding``, in order.

    Raises UnusableAnswerError for a coding that this client cannot undo.
    """
    names = [name.strip().lower() for name in header.split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    unknown = [name for name in codings if name not in ("gzip", "x-gzip", "deflate")]
    if unknown or len(codings) > _MOST:
        raise UnusableAnswerError(
            f"the answer is encoded as {header[:64]!r}, though none was asked for; "
            "this client reads gzip and deflate"
        )
    return [_Deflate() if name == "deflate" else _Gzip() for name in reversed(codings)]


class _Inflater(Protocol):
    """What ``zlib.decompressobj`` makes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """One gzip member after the other (RFC 1952)."""

    def __init__(self) -> None:
        self._member: _Inflater = zlib.decompressobj(31)
        self._begun = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding between members
                if not data:
                    return
                self._member = zlib.decompressobj(31)
            self._begun = True
            yield from _inflate(self._member, data)
            data = self._member.unused_data

    def end(self) -> None:
        if self._begun and not self._member.eof:
            raise UnusableAnswerError("the answer broke off: its gzip content has no end")


class _Deflate:
    """zlib's format, or the bare one that some servers send (RFC 9110 section 8.4.1.2)."""

    def __init__(self) -> None:
        self._content: _Inflater | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._content is None and data:
            bare = data[0] & 0x0F != zlib.DEFLATED or data[0] >> 4 > 7
            self._content = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
        if self._content is not None:
            yield from _inflate(self._content, data)

    def end(self) -> None:
        if self._content is not None and not self._content.eof:
            raise UnusableAnswerError("the answer broke off: its deflate content has no end")


def _inflate(content: _Inflater, data: bytes) -> Iterator[bytes]:
    try:
        while True:
            piece = content.decompress(data, _PIECE)
            if piece:
                yield piece
            data = content.unconsumed_tail
            if content.eof or (not data and len(piece) < _PIECE):
                return
    except zlib.error as error:
        raise UnusableAnswerError(f"the answer's compressed content is damaged: {error}") from None
