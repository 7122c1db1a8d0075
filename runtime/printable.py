"""Text of others, made safe to show.

A caller, an agent or a card may hold control characters that move the cursor of a terminal, rename
its window or begin a line of their own, and bidirectional signs that make text read as what it is
not. Whoever prints such text, or logs it, passes it through this module. Sections 2.6 and 5.3 of
Unicode Standard Annex 9 list the bidirectional signs.
"""

from __future__ import annotations

import re

# C0, delete, C1; the bidirectional signs and their deprecated kin; the separators of lines and
# paragraphs; the byte order mark and annotations; halves of surrogate pairs, which no stream takes.
_OTHERS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
_LINE = re.compile(f"[\x00-\x1f{_OTHERS}]")
_TEXT = re.compile(f"[\x00-\x08\x0b-\x1f{_OTHERS}]")


def printable_line(text: str) -> str:
    """Return ``text`` with every such sign escaped (``\\\\x1b``): it stays one line."""
    return _LINE.sub(_escaped, text)


def printable_text(text: str) -> str:
    """Return ``text`` with every such sign left out, but for its line ends and tabs."""
    return _TEXT.sub("", text)


def printable_json(text: str) -> str:
    """Return JSON that says the same, its line ends between members included, with such signs
    escaped as JSON does (``\\\\u001b``)."""
    return _TEXT.sub(_unicode, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _unicode(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
