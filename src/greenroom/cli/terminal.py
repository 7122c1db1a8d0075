"""What the commands write: the one place that writes to standard output and standard error.

Text of callers, agents and cards passes through ``runtime.printable``, and a sign that the terminal
has no code for is escaped.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TextIO

from ..runtime.printable import printable_json, printable_line, printable_text

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def say(line: str = "") -> None:
    """Write one line to standard output."""
    _write(sys.stdout, printable_line(line) + "\n")


def note(text: str) -> None:
    """Write a remark to standard error. Its lines but the first are indented, so that none looks
    like a remark of its own."""
    _write(sys.stderr, "\n  ".join(map(printable_line, text.split("\n"))) + "\n")
    sys.stderr.flush()


def complain(message: str, code: int = 2) -> int:
    """Write to standard error what went wrong; return the exit code of the command."""
    note(f"greenroom: {message}")
    return code


def show(text: str) -> None:
    """Write text of any number of lines, or a piece of it, to standard output."""
    _write(sys.stdout, printable_text(text))


def show_json(text: str) -> None:
    """Write a JSON document to standard output."""
    text = printable_json(text)
    try:
        text.encode(_encoding(sys.stdout))
    except UnicodeEncodeError:
        text = _BEYOND_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text)
    _write(sys.stdout, text + "\n")


def _write(stream: TextIO, text: str) -> None:
    encoding = _encoding(stream)
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "utf-8"
