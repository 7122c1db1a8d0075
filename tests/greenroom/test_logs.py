"""Log lines: one JSON object each for machines, one readable line for people."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from greenroom import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], level = before
    logger.setLevel(level)


def test_json_lines_carry_the_extra_fields_and_the_traceback(root: logging.Logger) -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    log = logging.getLogger("greenroom.test")
    log.info("committed %d", 3, extra={"task": "t-1", "generation": 7, "node": "n-1"})
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("broken", extra={"error_id": "e-1"})
    log.debug("not shown")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["message"] == "committed 3"
    assert (first["task"], first["generation"], first["node"]) == ("t-1", 7, "n-1")
    assert first["time"].endswith("Z")
    assert second["error_id"] == "e-1"
    assert "ValueError: why" in second["traceback"]


def test_console_lines_show_the_fields_behind_the_message(root: logging.Logger) -> None:
    out = io.StringIO()
    logs.configure("debug", "console", out)
    logging.getLogger("greenroom.test").warning("slow", extra={"task": "t-1"})
    assert out.getvalue().rstrip().endswith("warning slow  task=t-1")


def test_what_cannot_be_json_is_written_as_text(root: logging.Logger) -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    logging.getLogger("greenroom.test").info("odd", extra={"agent": object})
    assert json.loads(out.getvalue())["agent"] == "<class 'object'>"


def test_what_callers_write_stays_in_the_line_it_is_written_in(root: logging.Logger) -> None:
    out = io.StringIO()
    logs.configure("info", "console", out)
    forged = "c\n17:29:47.000 warning forged\r\x1b[2J\x85\u2028\u2029é"
    log = logging.getLogger("greenroom.test")
    log.info("refused %s", forged, extra={"context": forged})
    try:
        raise ValueError(forged)
    except ValueError:
        log.exception("broken")
    first, second, *trace = out.getvalue().splitlines()
    escaped = r"c\n17:29:47.000 warning forged\r\x1b[2J\x85\u2028\u2029é"
    assert first.endswith(f"refused {escaped}  context={escaped}")
    assert second.endswith("broken")
    assert trace[0] == "  Traceback (most recent call last):"
    # The error's own text may have lines; none looks like one of the log.
    assert r"  17:29:47.000 warning forged\r\x1b[2J\x85\u2028\u2029é" in trace
    assert all(line.startswith("  ") for line in trace)
