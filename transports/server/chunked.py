"""Where a chunked body ends, by the letter of RFC 9112 section 7.1.

h11 takes an LF alone, and a folded line, in the trailer section. A proxy that does not sees the end
of the body at another place, and with it another next request. So this reader follows the same
bytes, keeps none of them, and tells when a line does not end with CRLF or begins with white space.
What else may be wrong with a chunk, h11 refuses.
"""

from __future__ import annotations

from enum import Enum, auto


class _At(Enum):
    SIZE = auto()
    """In the line before a chunk."""
    DATA = auto()
    """In a chunk, or in the CRLF behind it."""
    TRAILER = auto()
    """In a line behind the last chunk."""
    END = auto()


class ChunkedBody:
    """Follows one body."""

    def __init__(self) -> None:
        self._at = _At.SIZE
        self._line = b""
        """What has arrived of a line; h11 bounds its length."""
        self._left = 0
        """Bytes of the chunk, and of the CRLF behind it, that are still to come."""

    def well_formed(self, data: bytes) -> bool:
        """Take the next bytes, which may reach beyond the body; return whether all is well."""
        at = 0
        while at < len(data) and self._at is not _At.END:
            if self._at is _At.DATA:
                skipped = min(self._left, len(data) - at)
                self._left -= skipped
                at += skipped
                if not self._left:
                    self._at = _At.SIZE
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            if not end:
                return True
            at = end
            line, self._line = self._line, b""
            if not self._take(line):
                return False
        return True

    def _take(self, line: bytes) -> bool:
        """Take a whole line; return whether it is well formed."""
        if not line.endswith(b"\r\n") or line.count(b"\r") > 1 or line[:1] in (b" ", b"\t"):
            return False
        if self._at is _At.TRAILER:
            if line == b"\r\n":
                self._at = _At.END
            return True
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return False
        if size < 0:
            return False
        self._at = _At.DATA if size else _At.TRAILER
        self._left = size + 2
        return True
