"""Log lines of a server: stdlib logging, plain or JSON, with what the runtime says in ``extra``."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from .runtime.handler.telemetry import TaskFields
from .runtime.printable import printable_json, printable_line

FIELDS = ("event", "task", "context", "generation", "node", "agent", "error_id", "trace_id")
"""What a record may carry in ``extra``; everything else of ours is in the message."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str = "info", form: str = "console", stream: TextIO | None = None) -> None:
    """Send the log of this process to ``stream`` (standard error), replacing what was set up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else ConsoleFormatter())
    handler.addFilter(TaskFields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their own narration is ours already, or of no use below a warning.
    for name in ("hypercorn", "asyncio", "hpack"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _time(record: logging.LogRecord) -> str:
    stamp = datetime.fromtimestamp(record.created, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JSONFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the extra fields, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return printable_json(msgspec.json.encode(line, enc_hook=str).decode())


class ConsoleFormatter(logging.Formatter):
    """For people: the time of day, the level, the message, and the known fields after it.

    Control characters are escaped; only the lines of a traceback are lines, and indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(
            f"{name}={getattr(record, name)}"
            for name in FIELDS[1:]
            if getattr(record, name, None) is not None
        )
        text = f"{_time(record)[11:23]} {record.levelname.lower():<7} {record.getMessage()}"
        if fields:
            text += f"  {fields}"
        lines = [text]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return "\n  ".join(map(printable_line, lines))
